"""The initial selection of attacks on a style prior: random styles, shown to the target once (PPA, Sec. 3.2)."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from trapmid.attacks.attack import Run
from trapmid.engine import generator
from trapmid.files import write_atomic
from trapmid.priors import StylePrior
from trapmid.targets import ScoreTarget
from trapmid.types import Labels, UserError

FILE = "candidates.safetensors"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Random styles and what the target says about them.

    Attributes:
        styles: (n, style_size).
        scores: (n, num_classes), mean probability over a picture and its mirror image.
    """

    styles: Tensor
    scores: Tensor

    def best(self, identities: Labels, keep: int) -> Tensor:
        """(k, keep, style_size): for each identity the styles with the target's highest confidence, best first."""
        return self.styles[self.scores[:, identities].topk(keep, dim=0).indices.T]


def style_prior(run: Run, attack: str) -> StylePrior:
    """The run's prior, which has to have styles.

    Raises:
        UserError: it has none.
    """
    if not isinstance(run.prior, StylePrior):
        raise UserError(f"{attack} searches the styles of a stylegan2 prior; it was given {type(run.prior).__name__}.")
    return run.prior


@torch.no_grad()
def show_candidates(
    prior: StylePrior,
    target: ScoreTarget,
    count: int,
    truncation: float,
    chunk: int,
    run: Run,
    *,
    cutoff: int | None = None,
) -> None:
    """Show the target `count` random pictures and their mirror images, unless `run.folder` has its answers already.

    Args:
        prior: makes the pictures.
        target: is shown them.
        count: how many.
        truncation: of the styles that are kept.
        chunk: pictures that are made at once.
        run: seed, folder, progress.
        cutoff: how many of the first layers take the truncated style; the others take the style as it was drawn. None
            for all. The style that is kept is the truncated one in any case, as in the authors' code of PPA.
    """
    file = run.folder / FILE
    if file.exists():
        target.queries = int(load_file(file)["queries"])
        return
    latents = torch.randn(count, prior.latent_size, generator=generator(run.seed, "candidates"))
    styles, scores = [], []
    for part in latents.split(chunk):
        styles.append(prior.map(part.to(prior.device), truncation))
        images = prior.synthesise(_truncated(part, styles[-1], prior, cutoff)).clamp(0, 1)
        scores.append((target.scores(images) + target.scores(images.flip(3))).cpu() / 2)
        run.progress("initial selection", sum(map(len, scores)), count, "")
    run.folder.mkdir(parents=True, exist_ok=True)
    tensors = {"styles": torch.cat(styles).cpu(), "scores": torch.cat(scores), "queries": torch.tensor(target.queries)}
    write_atomic(file, save(tensors))


def _truncated(latents: Tensor, low: Tensor, prior: StylePrior, cutoff: int | None) -> Tensor:
    """The styles that make the picture of a candidate: `low` for all layers, or for those before `cutoff`."""
    if cutoff is None:
        return low
    layers = torch.arange(2 * prior.blocks, device=prior.device)[None, :, None]
    return torch.where(layers < cutoff, low[:, None], prior.map(latents.to(prior.device))[:, None])


def shown_candidates(run: Run) -> Candidates:
    """What `show_candidates` left in `run.folder`."""
    tensors = load_file(run.folder / FILE)
    return Candidates(tensors["styles"], tensors["scores"])


def searchable(prior: StylePrior) -> StylePrior:
    """The prior that `prepare` returned, with its weights frozen."""
    prior.generator.requires_grad_(False)
    return prior
