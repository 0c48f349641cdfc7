"""Distillation (Hinton et al. 2015): a student learns to reproduce the target's answers on public images."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Run
from trapmid.augment import AnyAugmentation
from trapmid.config import BatchSize, BelowOne, Config, Count, NonNegative, Rate
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Loop, generator, randomness
from trapmid.models import ModelConfig
from trapmid.targets import LabelTarget
from trapmid.types import Logits, Stateful, logits_of


class Distillation(Config):
    """How students learn; the defaults are the published constants (LOMMA, Nguyen et al., CVPR 2023).

    The published rate is halved every 20 epochs, which 20 epochs do not reach.

    Attributes:
        epochs: number of passes over the images. An incomplete last batch is left out.
        batches: the largest number of batches in a pass; None for all.
        batch_size: number of images in a step.
        rate: learning rate of SGD.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        schedule: schedule of the learning rate: `constant`, or `cosine`, which falls to 0.
        augmentation: augmentation of images; None for none. Half of the loss is on original and half on augmented
            images.
    """

    epochs: Count = 20
    batches: Count | None = None
    batch_size: BatchSize = 64
    rate: Rate = 0.02
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    augmentation: AnyAugmentation | None = None

    def teach(
        self, student: ModelConfig, name: str, public: ImageSet, answers: Tensor, target: LabelTarget, run: Run
    ) -> nn.Module:
        """Train a student on the target's answers. The result is frozen and in eval mode.

        Args:
            student: the architecture of the student.
            name: the name of the student within a run. It is also part of the purpose of the random stream.
            public: the n public images.
            answers: (n, num_classes), the target's probabilities for the images without augmentation, queried once.
            target: the target. A checkpoint stores its number of queries.
            run: seed, compute, folder, progress.
        """
        device, batch = run.compute.torch_device, min(self.batch_size, len(public))
        pixels, answers = public.pixels.to(device), answers.to(device)
        with randomness(run.seed, name, "weights", device=device):
            network = run.compute.place(student.build(answers.shape[1], public.image_size, public.channels))
        descent = torch.optim.SGD(network.parameters(), self.rate, self.momentum, weight_decay=self.weight_decay)
        per_epoch = min(len(public) // batch, self.batches or len(public))
        steps = self.epochs * per_epoch
        augment = None if self.augmentation is None else self.augmentation.build(public.image_size)
        state: dict[str, Stateful] = {"student": network, "optimizer": descent, "target": target}
        schedule = None
        if self.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
            state["schedule"] = schedule

        def step(number: int) -> dict[str, Tensor]:
            epoch, position = divmod(number, per_epoch)
            order = torch.randperm(len(public), generator=generator(run.seed, name, "order", epoch))
            rows = order[position * batch : (position + 1) * batch].to(device)
            network.train()
            images = to_unit(pixels[rows])
            loss = divergence(answers[rows], logits_of(network(images)))
            if augment is not None:
                loss = 0.5 * loss + 0.5 * divergence(answers[rows], logits_of(network(augment(images))))
            descent.zero_grad()
            loss.backward()
            descent.step()
            if schedule is not None:
                schedule.step()
            return {"divergence": loss}

        Loop(
            name,
            steps,
            run.seed,
            run.compute,
            state,
            run.folder / name.replace(" ", "-"),
            per_epoch,
            progress=run.progress,
        ).run(step)
        return network.eval().requires_grad_(False)


def divergence(scores: Tensor, logits: Logits) -> Tensor:
    """Mean of KL(scores || softmax(logits)) over a batch: the distance of student and teacher at temperature 1."""
    return F.kl_div(logits.log_softmax(1), scores, reduction="batchmean")
