"""Common parts of searches: initial latents, objectives, joint optimisation of identities, selection of results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Found, Run
from trapmid.attacks.memory import bytes_per_image, fitting_chunk
from trapmid.augment import Augment
from trapmid.config import ordered
from trapmid.data.images import ImageSet, to_pixels, to_unit
from trapmid.engine import Loop, generator, randomness
from trapmid.priors import Prior
from trapmid.targets import ScoreTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, Logits, Pixels, Prediction, Stateful

IdentityLoss = Callable[[Images, Labels], Tensor]
"""A loss of each image (n,) that falls as the image shows its label; differentiable in the images."""


_Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Box: TypeAlias = Annotated[tuple[_Coordinate, _Coordinate], AfterValidator(ordered)]
"""The lowest and the highest value that a coordinate of a latent may take."""


@dataclass(frozen=True)
class Descent:
    """The search that an attack holds: gradient descent on the latents of all identities at once.

    Attributes:
        kind: kind of the attack, which names the random stream.
        steps: number of steps of the optimiser.
        rate: learning rate of the optimiser.
        chunk: number of images that are decoded at once. It bounds memory.
    """

    kind: str
    steps: int
    rate: float
    chunk: int

    def descend(
        self,
        latents: Tensor,
        loss: Callable[[Tensor, slice], Tensor],
        identities: Labels,
        target: WhiteBoxTarget,
        run: Run,
        *,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        project: Callable[[Tensor], Tensor] = lambda latents: latents,
    ) -> Tensor:
        """`optimise` with these settings.

        The checkpoint is named after the first of the identities and holds the count of queries.
        """
        return optimise(
            latents,
            loss,
            steps=self.steps,
            rate=self.rate,
            run=run,
            name=f"{self.kind} search",
            chunk=self.chunk,
            folder=run.folder / f"search-{int(identities[0])}",
            also={"target": target},
            optimizer=optimizer,
            project=project,
        )


def score_public(target: ScoreTarget, public: ImageSet, run: Run) -> Tensor:
    """The target's probabilities (images, num_classes) for every public image, on the CPU."""
    return _ask(lambda images: (target.scores(images),), target, public, run)[0]


@torch.no_grad()
def survey(target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prediction:
    """Logits and features of every public image, on the CPU."""
    logits, features = _ask(lambda images: target.predict(images)[:2], target, public, run)
    return Prediction(logits, features)


def _ask(
    question: Callable[[Images], tuple[Tensor, ...]], target: ScoreTarget, public: ImageSet, run: Run
) -> list[Tensor]:
    answers = []
    for number, pixels in enumerate(public.pixels.split(256)):
        answers.append([answer.cpu() for answer in question(to_unit(pixels.to(target.device)))])
        run.progress("show the target public images", min(256 * (number + 1), len(public)), len(public), "")
    return [torch.cat(column) for column in zip(*answers, strict=True)]


def cross_entropy(target: WhiteBoxTarget) -> IdentityLoss:
    """The negative log-probability of the label."""
    return lambda images, labels: F.cross_entropy(target.predict(images).logits, labels, reduction="none")


def max_margin(logits: Logits, labels: Labels, k: int = 1) -> Tensor:
    """The margins (n,): the mean of the `k` largest other logits minus the logit of the label.

    With one other logit it is the loss of PLG-MI (Eq. 5), with 20 that of Diff-MI. Unlike that of cross-entropy, its
    gradient does not vanish when the label wins.
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(k, logits.shape[1] - 1), dim=1).values.mean(1) - own


def top_n(scores: Tensor, n: int) -> Tensor:
    """(num_classes, n): for each class the rows of `scores` (images, num_classes) with the highest score, best first.

    An image may stand for several classes, as published.
    """
    return scores.topk(min(n, len(scores)), dim=0).indices.T.contiguous()


def initial_latents(identities: Labels, num_classes: int, per_identity: int, latent_size: int, seed: int) -> Tensor:
    """(k, per_identity, latent_size), normal.

    The latents of an identity depend on the seed alone, not on the batch that it is in.
    """
    everyone = torch.randn(num_classes, per_identity, latent_size, generator=generator(seed, "latents"))
    return everyone[identities]


def within(box: tuple[float, float] | None) -> Callable[[Tensor], Tensor]:
    """A projection that clamps every entry into `box`, or the identity if there is no box."""
    return (lambda latents: latents) if box is None else (lambda latents: latents.clamp(*box))


def optimise(
    latents: Tensor,
    loss: Callable[[Tensor, slice], Tensor],
    *,
    steps: int,
    rate: float,
    run: Run,
    name: str,
    chunk: int,
    folder: Path | None = None,
    also: Mapping[str, Stateful] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    project: Callable[[Tensor], Tensor] = lambda latents: latents,
) -> Tensor:
    """Gradient descent on all latents at once.

    Args:
        latents: (n, ...), the initial latents.
        loss: returns the loss of each latent (m,) for the latents of a slice. The loss of a latent depends only on this
            latent, so the result for an identity does not depend on the others in the batch.
        steps: number of steps of the optimiser.
        rate: learning rate of the optimiser.
        run: seed, compute, progress.
        name: name for progress, which is also the purpose of the random stream.
        chunk: how many latents are decoded at once; bounds memory, changes no result but the draws of augmentation.
            Where the run has a `max_memory` it is lowered to what fits.
        folder: for a checkpoint.
        also: further state for the checkpoint.
        optimizer: called with the latents and `lr`; one that treats every entry by itself, as Adam and SGD do.
        project: from latents (n, ...) that a step left to those that are allowed.

    Returns:
        (n, ...), detached.
    """
    device = run.compute.torch_device
    held = torch.nn.ParameterDict({"latents": torch.nn.Parameter(latents.to(device, copy=True))})
    moving = held["latents"]
    descent = optimizer([moving], lr=rate)
    if run.compute.max_memory is not None and len(latents) > 1:
        with randomness(run.seed, name, "memory", device=device):
            each = bytes_per_image(loss, moving)
        chunk = fitting_chunk(chunk, each, run.compute.max_memory, device)

    def step(number: int) -> Mapping[str, Tensor]:
        del number
        descent.zero_grad()
        total = torch.zeros((), device=device)
        for start in range(0, len(latents), chunk):
            part = slice(start, start + chunk)
            for _ in range(run.evaluations):
                losses = loss(moving[part], part)
                (losses.sum() / run.evaluations).backward()
                total += losses.detach().sum() / run.evaluations
        descent.step()
        with torch.no_grad():
            moving.copy_(project(moving))
        return {"loss": total / len(latents)}

    Loop(
        name,
        steps,
        run.seed,
        run.compute,
        {"latents": held, "optimizer": descent, **(also or {})},
        folder,
        period=10,
        progress=run.progress,
    ).run(step)
    return moving.detach()


@torch.no_grad()
def best_latents(
    latents: Tensor,
    identities: Labels,
    keep: int,
    prior: Prior,
    target: WhiteBoxTarget,
    augment: Callable[[Images], Images],
    chunk: int,
) -> Tensor:
    """(k, keep, latent_size): of each identity's latents (k, m, latent_size) those with the highest confidence.

    The confidence is the target's in two augmentations of the decoded image.
    """
    k, m, size = latents.shape
    labels = identities.repeat_interleave(m)
    sure = []
    for z, y in zip(latents.reshape(-1, size).split(chunk), labels.split(chunk), strict=True):
        z, y = z.to(prior.device), y.to(prior.device)
        images = prior.decode(z, y)
        losses = [F.cross_entropy(target.predict(augment(images)).logits, y, reduction="none") for _ in range(2)]
        sure.append(-torch.stack(losses).sum(0).cpu())
    order = torch.cat(sure).view(k, m).topk(keep, dim=1).indices
    return latents.gather(1, order[:, :, None].expand(-1, -1, size))


@torch.no_grad()
def decode_found(latents: Tensor, labels: Labels, prior: Prior, target: WhiteBoxTarget, chunk: int) -> Found:
    """Decode the final latents (n, latent_size), with the target's confidence in the images as they are saved."""
    pixels, confidence = [], []
    for z, y in zip(latents.split(chunk), labels.split(chunk), strict=True):
        saved = to_pixels(prior.decode(z, y.to(z.device)))
        scores = target.scores(saved.float() / 255)
        pixels.append(saved.cpu())
        confidence.append(scores.gather(1, y.to(scores.device)[:, None]).squeeze(1).cpu())
    return Found(torch.cat(pixels), labels.cpu(), torch.cat(confidence))


@torch.no_grad()
def robust_confidence(pixels: Pixels, labels: Labels, target: ScoreTarget, augment: Augment, draws: int) -> Tensor:
    """(n,): the target's mean probability of the label over `draws` random changes of each picture (PPA, Sec. 3.4).

    What only fools the target does not survive the changes.
    """
    images, total = to_unit(pixels), torch.zeros(len(pixels), device=pixels.device)
    for _ in range(draws):
        total += target.scores(augment(images)).gather(1, labels[:, None]).squeeze(1)
    return total / draws


def most_confident(pixels: Pixels, labels: Labels, sure: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` pictures of each identity with the highest confidence `sure` (n,).

    Identities have equally many pictures and follow one another.
    """
    per_identity = len(labels) // len(labels.unique())
    best = sure.view(-1, per_identity).topk(keep, dim=1).indices
    rows = (best + torch.arange(len(best), device=best.device)[:, None] * per_identity).flatten().to(pixels.device)
    return pixels[rows], labels[rows]


@torch.no_grad()
def found_of(pixels: Pixels, labels: Labels, target: ScoreTarget, chunk: int) -> Found:
    """Pictures, with how sure the target is of each."""
    confidence = [
        target.scores(to_unit(part.to(target.device))).cpu().gather(1, y.cpu()[:, None]).squeeze(1)
        for part, y in zip(pixels.split(chunk), labels.split(chunk), strict=True)
    ]
    return Found(pixels.cpu(), labels.cpu(), torch.cat(confidence))
