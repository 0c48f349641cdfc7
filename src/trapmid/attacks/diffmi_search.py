"""The third step of Diff-MI: pixels descend the diffusion model's loss and the target's in turn (Graikos et al. 2022).

What they become is denoised, and then moved a little towards its identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Found, Run
from trapmid.attacks.diffmi_likeness import Likeness
from trapmid.attacks.memory import bytes_per_image, fitting_chunk
from trapmid.attacks.search import cross_entropy, found_of, initial_latents
from trapmid.augment import Augment
from trapmid.data.images import to_pixels
from trapmid.engine import Loop, randomness
from trapmid.priors import DiffusionPrior
from trapmid.priors.diffusion import from_symmetric
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The iterative reconstruction of images, as a part of an attack.

    Attributes:
        kind: kind of the attack, which names the random stream.
        images_per_identity: number of searches per identity.
        rounds: number of rounds. Each has a step by the diffusion model and a step by the target.
        rate: learning rate of Adamax.
        augmentations: independent draws of the augmentation that a step by the target averages over.
        clipping: largest norm of an image's gradient by the target, relative to the mean norm in earlier rounds.
        denoise_from: time of the noise that is added at the end, as a share of the schedule.
        denoise_steps: number of steps of DDIM in which it is removed.
        radius: L2 radius of the perturbation at the very end.
        perturbation_step: length of one of its steps.
        perturbation_steps: number of its steps.
        chunk: number of images that are computed at once. It bounds memory.
    """

    kind: str
    images_per_identity: int
    rounds: int
    rate: float
    augmentations: int
    clipping: float
    denoise_from: float
    denoise_steps: int
    radius: float
    perturbation_step: float
    perturbation_steps: int
    chunk: int

    def run(
        self,
        target: WhiteBoxTarget,
        prior: DiffusionPrior,
        likeness: Likeness,
        augment: Augment,
        identities: Labels,
        run: Run,
    ) -> Found:
        """Search for pictures of the identities (k,)."""
        device = run.compute.torch_device
        first = initial_latents(identities, target.num_classes, self.images_per_identity, prior.latent_size, run.seed)
        labels = identities.repeat_interleave(self.images_per_identity)
        found = self.descend(first.flatten(0, 1), target, prior, likeness, augment, labels.to(device), run)
        finished = []
        with randomness(run.seed, self.kind, "finish", int(identities[0]), device=device):
            for part, y in zip(found.split(self.chunk), labels.to(device).split(self.chunk), strict=True):
                images = from_symmetric(self.denoised(part.unflatten(1, prior.image_shape), y, prior))
                finished.append(to_pixels(self.perturbed(images, y, target)).cpu())
                run.progress(f"{self.kind} denoising", sum(map(len, finished)), len(labels), "")
        return found_of(torch.cat(finished), labels, target, self.chunk)

    def descend(
        self,
        start: Tensor,
        target: WhiteBoxTarget,
        prior: DiffusionPrior,
        likeness: Likeness,
        augment: Augment,
        labels: Labels,
        run: Run,
    ) -> Tensor:
        """Pixels (n, c * h * w), in [-1, 1] or near it, after all rounds, from those at the start."""
        device = run.compute.torch_device
        held = nn.ParameterDict({"pixels": nn.Parameter(start.to(device, copy=True))})
        moving, norms = held["pixels"], Norms(len(start)).to(device)
        descent = torch.optim.Adamax([moving], self.rate)

        def by_prior(pixels: Tensor, part: slice, time: int) -> Tensor:
            images, y = pixels.unflatten(1, prior.image_shape), labels[part]
            noise, times = torch.randn_like(images), prior.at(time, y)
            predicted = prior.noise(prior.schedule.noised(images, times, noise), times, y)
            return (predicted - noise).square().flatten(1).mean(1)

        def by_target(pixels: Tensor, part: slice) -> Tensor:
            images = from_symmetric(pixels.unflatten(1, prior.image_shape))
            draws = [likeness(target.predict(augment(images)), labels[part]) for _ in range(self.augmentations)]
            return torch.stack(draws).mean(0)

        chunk = self.chunk
        if run.compute.max_memory is not None and len(start) > 1:
            with randomness(run.seed, self.kind, "memory", device=device):
                by_both = (lambda pixels, part: by_prior(pixels, part, 0), by_target)
                each = max(bytes_per_image(loss, moving) for loss in by_both)
            chunk = fitting_chunk(chunk, each, run.compute.max_memory, device)
        parts = [slice(begin, begin + chunk) for begin in range(0, len(start), chunk)]

        def step(number: int) -> Mapping[str, Tensor]:
            time, seen = self.time(number, prior.steps), torch.zeros(2, device=device)
            descent.zero_grad()
            for part in parts:
                losses = by_prior(moving[part], part, time)
                losses.sum().backward()
                seen[0] += losses.detach().sum()
            descent.step()
            descent.zero_grad()
            for part in parts:
                for _ in range(run.evaluations):
                    losses = by_target(moving[part], part) / run.evaluations
                    losses.sum().backward()
                    seen[1] += losses.detach().sum()
            assert moving.grad is not None
            norms.limit(moving.grad, self.clipping)
            descent.step()
            return {"denoising": seen[0] / len(start), "likeness": seen[1] / len(start)}

        Loop(
            f"{self.kind} search",
            self.rounds,
            run.seed,
            run.compute,
            {"pixels": held, "optimizer": descent, "norms": norms, "target": target},
            run.folder / f"search-{int(labels[0])}",
            period=5,
            progress=run.progress,
        ).run(step)
        return moving.detach()

    def time(self, number: int, steps: int) -> int:
        """The time step of a round. It falls evenly from the last one of the schedule."""
        return round((steps - 1) * (1 - number / self.rounds))

    @torch.no_grad()
    def denoised(self, images: Images, labels: Labels, prior: DiffusionPrior) -> Images:
        """Images in [-1, 1], with noise added and removed."""
        time = round(self.denoise_from * (prior.steps - 1))
        noisy = prior.schedule.noised(images, prior.at(time, labels), torch.randn_like(images))
        return prior.denoise(noisy, labels, time, self.denoise_steps)

    def perturbed(self, images: Images, labels: Labels, target: WhiteBoxTarget) -> Images:
        """Images in [0, 1] after targeted projected gradient descent within the radius (Madry et al. 2018)."""
        loss, moved = cross_entropy(target), images
        for _ in range(self.perturbation_steps):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(moved, labels).sum(), moved)
            shift = moved.detach() - self.perturbation_step * F.normalize(gradient.flatten(1)).view_as(moved) - images
            shift = shift.flatten(1).renorm(2, 0, self.radius).view_as(shift)
            moved = (images + shift).clamp(0, 1)
        return moved.detach()


@final
class Norms(nn.Module):
    """The mean norm of the gradients of each image so far."""

    mean: Tensor
    rounds: Tensor

    def __init__(self, images: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(images))
        self.register_buffer("rounds", torch.zeros(()))

    def limit(self, gradients: Tensor, factor: float) -> None:
        """Shorten gradients (n, d), in place, to `factor` times the mean norm of their image in earlier rounds.

        The first ones stay as they are. The mean is that of the shortened gradients.
        """
        norms = gradients.norm(dim=1)
        limits = norms if self.rounds == 0 else torch.minimum(norms, factor * self.mean)
        gradients *= (limits / norms.clamp_min(1e-12))[:, None]
        self.rounds += 1
        self.mean += (limits - self.mean) / self.rounds
