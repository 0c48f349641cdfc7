"""Surrogates: networks that learn from the target on public images, and are inverted in its place."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from trapmid.attacks.attack import Run, named_by
from trapmid.attacks.wrapping import S, StandIn
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import BatchSize, Count, Member, Rate
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Loop, generator, randomness
from trapmid.models import ModelConfig
from trapmid.modes import evaluating
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, logits_of

HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 1000
"""Public images on which agreement with the target is measured, and which the surrogate does not learn from."""

PERIOD = 100
"""Steps between two rows of a surrogate's log."""


class Lesson(NamedTuple):
    """A surrogate that is about to learn.

    Attributes:
        network: on the device, in the mode in which it is to be trained.
        losses: of a batch of public images, by name; their sum is back-propagated into `network`.
    """

    network: nn.Module
    losses: Callable[[Images], Mapping[str, Tensor]]


Begin: TypeAlias = Callable[[S, ImageSet, Run], Lesson]


class SurrogateTraining(Member):
    """The settings of an attack on a surrogate, and how the surrogate is trained.

    The target is asked while the surrogate learns, and about the results; never during the search.

    Attributes:
        augmentation: of the public images that the surrogate learns from.
        steps: number of training steps.
        batch_size: public images in each step.
        rate: peak learning rate of AdamW in a one-cycle schedule.
    """

    augmentation: AnyAugmentation = KorniaAugmentation()
    steps: Count = 9_400
    batch_size: BatchSize = 64
    rate: Rate = 1e-3

    def train(self, target: S, public: ImageSet, run: Run, begin: Begin[S]) -> StandIn:
        """Train a surrogate; its checkpoints are in `run.folder`.

        Args:
            target: answers about public images.
            public: the attacker's images. The surrogate learns from some, and its agreement with the target is
                measured on the rest.
            run: seed, compute, folder, progress.
            begin: called with the target, the images to learn from and the run, inside a random stream of its own.
                Returns the network before its first step, and what it is to learn.
        """
        device = run.compute.torch_device
        order = torch.randperm(len(public), generator=generator(run.seed, self.kind, "held out"))
        held = max(1, min(HELD_OUT_MOST, int(HELD_OUT_SHARE * len(public))))
        held_out, studied = public.pixels[order[:held]], public.subset(order[held:])
        with randomness(run.seed, self.kind, "begin", device=device):
            network, losses = begin(target, studied, run)
        optimizer = torch.optim.AdamW(network.parameters(), self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps)
        pixels, told = studied.pixels.to(device), named_by(target, held_out).to(device)

        def step(number: int) -> Mapping[str, Tensor]:
            del number
            terms = losses(to_unit(pixels[torch.randint(len(pixels), (self.batch_size,), device=device)]))
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            schedule.step()
            return terms

        def at_period(done: int) -> Mapping[str, float]:
            del done
            return {"agreement": agreement(network, held_out.to(device), told)}

        rows = Loop(
            f"{self.kind} surrogate",
            self.steps,
            run.seed,
            run.compute,
            {"network": network, "optimizer": optimizer, "schedule": schedule, "target": target},
            run.folder / "surrogate",
            PERIOD,
            progress=run.progress,
        ).run(step, at_period)
        shown = WhiteBoxTarget(network, target.num_classes, target.image_shape)
        return StandIn(shown, {"surrogate_agreement": rows[-1]["agreement"]})


def build_student(model: ModelConfig, target: LabelTarget, run: Run) -> nn.Module:
    """A network for the target's images and classes, with random weights, on the device, in training mode."""
    channels, size, _ = target.image_shape
    return run.compute.place(model.build(target.num_classes, size, channels)).train()


@torch.no_grad()
def agreement(network: nn.Module, pixels: Tensor, labels: Labels) -> float:
    """Share of images (n, c, h, w), uint8, that the network, in eval mode, gives these labels."""
    with evaluating(network):
        said = torch.cat([logits_of(network(to_unit(part))).argmax(1) for part in pixels.split(256)])
    return float((said == labels).double().mean())
