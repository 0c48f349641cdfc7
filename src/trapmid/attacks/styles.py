"""The initial selection of attacks on a style prior: the target is queried once with random styles (PPA, Sec. 3.2)."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from trapmid.attacks.attack import Effort, Run
from trapmid.config import Count, Member, PositiveShare
from trapmid.data.images import ImageSet
from trapmid.engine import generator
from trapmid.files import write_atomic
from trapmid.priors import AnyStylePrior, PriorConfig, StyleGAN2, StylePrior
from trapmid.targets import ScoreTarget
from trapmid.types import Labels, UserError

FILE = "candidates.safetensors"


class InitialSelection(Effort, Member):
    """The settings of an attack that searches the styles of a generator and starts from the best of random styles.

    Attributes:
        prior: the generator.
        candidates: number of random styles with which the target is queried once, for all identities.
        truncation: truncation of the candidates.
        cutoff: number of first layers with the truncated style when the target is queried with the candidates; None for
            all. A search begins with the truncated style in all layers, so its first pictures are not those of the
            queries.
    """

    prior: AnyStylePrior = StyleGAN2()
    candidates: Count = 5_000
    truncation: PositiveShare
    cutoff: Count | None = 8

    def public_prior(self) -> PriorConfig | None:
        """The generator. The attack itself trains nothing."""
        return self.prior

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> StylePrior:
        """Query the target with the pictures of the candidates, once for all identities."""
        del public
        prior = style_prior(run, self.name)
        show_candidates(prior, target, self.candidates, self.truncation, self.chunk, run, cutoff=self.cutoff)
        return prior


@dataclass(frozen=True, eq=False)
class Candidates:
    """Random styles and the target's scores of their pictures.

    Attributes:
        styles: (n, style_size), on the CPU.
        scores: (n, num_classes), the mean probability of a picture and its mirror image.
    """

    styles: Tensor
    scores: Tensor

    def best(self, identities: Labels, keep: int) -> Tensor:
        """(k, keep, style_size): for each identity the styles with the target's highest confidence, best first."""
        return self.styles[self.scores[:, identities].topk(keep, dim=0).indices.T]


def style_prior(run: Run, attack: str) -> StylePrior:
    """The prior of the run, which has to have styles.

    Raises:
        UserError: it has no styles.
    """
    if not isinstance(run.prior, StylePrior):
        raise UserError(
            f"{attack} searches the styles of a prior such as stylegan2; it was given {type(run.prior).__name__}."
        )
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
    """Query the target with random pictures and their mirror images, unless `run.folder` has its answers already.

    Args:
        prior: the generator of the pictures.
        target: the target.
        count: number of pictures, without mirror images.
        truncation: truncation of the styles that are stored.
        chunk: number of pictures that are generated at once.
        run: seed, folder and progress.
        cutoff: number of first layers with the truncated style. The other layers have the style as it was drawn. None
            for all layers. The truncated style is stored in any case, as in the authors' code of PPA.
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
    """The styles of a candidate's picture: `low` for all layers, or for those before `cutoff`."""
    if cutoff is None:
        return low
    layers = torch.arange(2 * prior.blocks, device=prior.device)[None, :, None]
    return torch.where(layers < cutoff, low[:, None], prior.map(latents.to(prior.device))[:, None])


def shown_candidates(run: Run) -> Candidates:
    """The candidates that `show_candidates` stored in `run.folder`."""
    tensors = load_file(run.folder / FILE)
    return Candidates(tensors["styles"], tensors["scores"])


def searchable(prior: StylePrior) -> StylePrior:
    """The prior that `prepare` returned, with its weights frozen."""
    prior.generator.requires_grad_(False)
    return prior
