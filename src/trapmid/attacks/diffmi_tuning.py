"""The second step of Diff-MI: a small part of the diffusion model learns from what the target says about its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from trapmid.attacks.attack import Run
from trapmid.attacks.diffmi_likeness import Likeness
from trapmid.engine import Loop, generator
from trapmid.priors import DiffusionPrior
from trapmid.targets import WhiteBoxTarget


@final
@dataclass(frozen=True)
class Tuning:
    """The fine-tuning of label embeddings and middle blocks, as a part of an attack.

    Attributes:
        kind: kind of the attack, which names the random stream.
        epochs: largest number of epochs. In an epoch, one image of each class is generated.
        batch_size: number of images in a step.
        rate: learning rate of AdamW.
        enough: share of images that the target recognises in an epoch, after which the training ends.
    """

    kind: str
    epochs: int
    batch_size: int
    rate: float
    enough: float

    def run(self, prior: DiffusionPrior, target: WhiteBoxTarget, likeness: Likeness, run: Run) -> DiffusionPrior:
        """A fine-tuned copy of the prior, and the share recognised in its last epoch as a note of the run."""
        tuned, device, classes = prior.copy(), run.compute.torch_device, target.num_classes
        network, epoch = tuned.generator.requires_grad_(False), Epoch()
        parts = nn.ModuleList([network.label, network.middle]).requires_grad_(True)
        optimizer = torch.optim.AdamW(parts.parameters(), self.rate)
        per_epoch = -(-classes // self.batch_size)

        def step(number: int) -> Mapping[str, Tensor]:
            of_epoch, place = divmod(number, per_epoch)
            order = torch.randperm(classes, generator=generator(run.seed, self.kind, "order", of_epoch))
            labels = order[place * self.batch_size : (place + 1) * self.batch_size].to(device)
            latents = torch.randn(len(labels), tuned.latent_size, device=device)
            seen = target.predict(tuned.decode(latents, labels))
            loss = likeness(seen, labels).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch.count(seen.logits.argmax(1) == labels, last=place == per_epoch - 1)
            return {"likeness": loss}

        Loop(
            f"{self.kind} fine-tuning",
            self.epochs * per_epoch,
            run.seed,
            run.compute,
            {"parts": parts, "optimizer": optimizer, "epoch": epoch, "target": target},
            run.folder / "tuning",
            per_epoch,
            progress=run.progress,
        ).run(step, stop=lambda: float(epoch.recognised) >= self.enough)
        run.note(recognised=float(epoch.recognised))
        network.requires_grad_(False)
        return tuned


@final
class Epoch(nn.Module):
    """Counts the images of an epoch that the target recognises.

    Attributes:
        recognised: their share in the last complete epoch; -1 before that.
    """

    hits: Tensor
    images: Tensor
    recognised: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, start in (("hits", 0.0), ("images", 0.0), ("recognised", -1.0)):
            self.register_buffer(name, torch.tensor(start))

    def count(self, hits: Tensor, *, last: bool) -> None:
        """Count a batch (n,), which may be the last of its epoch."""
        self.hits += float(hits.sum())
        self.images += len(hits)
        if last:
            self.recognised.copy_(self.hits / self.images)
            self.hits.zero_()
            self.images.zero_()
