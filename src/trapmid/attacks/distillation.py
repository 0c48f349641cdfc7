"""Distillation (Hinton et al. 2015): a student learns on public images to answer as the target does, without ever seeing a trigger."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Run
from trapmid.config import BatchSize, BelowOne, Config, Count, NonNegative, Rate
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Loop, generator, randomness
from trapmid.models import ModelConfig
from trapmid.targets import LabelTarget
from trapmid.types import Logits, logits_of


class Distillation(Config):
    """How students learn; the defaults are the published constants (LOMMA, Nguyen et al., CVPR 2023).

    The published rate is halved every 20 epochs, which 20 epochs do not reach.

    Attributes:
        epochs: passes over the public images; an incomplete last batch is left out.
        batch_size: images a step.
        rate: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
    """

    epochs: Count = 20
    batch_size: BatchSize = 64
    rate: Rate = 0.02
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 1e-4

    def teach(
        self, student: ModelConfig, name: str, public: ImageSet, answers: Tensor, target: LabelTarget, run: Run
    ) -> nn.Module:
        """Train a student on what the target said; in eval mode and frozen.

        Args:
            student: its architecture.
            name: tells students of one run apart; part of the random stream's purpose.
            public: images (n).
            answers: (n, num_classes), the target's probabilities on them. Asked for once: images are not augmented.
            target: whose count of queries a checkpoint holds.
            run: seed, compute, folder, progress.
        """
        device, batch = run.compute.torch_device, min(self.batch_size, len(public))
        pixels, answers = public.pixels.to(device), answers.to(device)
        with randomness(run.seed, name, "weights", device=device):
            network = run.compute.place(student.build(answers.shape[1], public.image_size, public.channels))
        descent = torch.optim.SGD(network.parameters(), self.rate, self.momentum, weight_decay=self.weight_decay)
        per_epoch = len(public) // batch

        def step(number: int) -> dict[str, Tensor]:
            epoch, position = divmod(number, per_epoch)
            order = torch.randperm(len(public), generator=generator(run.seed, name, "order", epoch))
            rows = order[position * batch : (position + 1) * batch].to(device)
            network.train()
            loss = divergence(answers[rows], logits_of(network(to_unit(pixels[rows]))))
            descent.zero_grad()
            loss.backward()
            descent.step()
            return {"divergence": loss}

        Loop(
            name,
            self.epochs * per_epoch,
            run.seed,
            run.compute,
            {"student": network, "optimizer": descent, "target": target},
            run.folder / name.replace(" ", "-"),
            per_epoch,
            progress=run.progress,
        ).run(step)
        return network.eval().requires_grad_(False)


def divergence(scores: Tensor, logits: Logits) -> Tensor:
    """Mean over the batch of KL(scores || softmax(logits)): how far a student (n, classes) is from its teacher's probabilities, at temperature 1."""
    return F.kl_div(logits.log_softmax(1), scores, reduction="batchmean")
