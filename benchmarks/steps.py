"""Training steps: the cost of Trap-MID over a plain step, its parts, and the authors' order of updates and ours."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import CLASSES, Bench, Comparison
from trapmid.augment import WarpAugmentation
from trapmid.models import VGG16, ModelConfig, Tiny
from trapmid.objective import CROSS_ENTROPY
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR
from trapmid.trapdoor import OnePassSettings, OnePassTrapdoor, Trapdoor, TrapdoorSettings
from trapmid.trapdoor.anonymity import ENOUGH
from trapmid.trapdoor.naturalness import discriminator_loss, naturalness_loss
from trapmid.trapdoor.triggers import blend, signed_step, stratified_labels
from trapmid.types import logits_of


def steps(bench: Bench) -> Iterator[Comparison]:
    """Whole steps of two networks, and the shares of the parts of a step."""
    few = max(2, bench.batch // 4) if bench.device.type == "cpu" else bench.batch
    yield from _whole(bench, "tiny", Tiny(), bench.batch, 1)
    yield from _whole(bench, "vgg16", VGG16(), few, 5)
    step = Step(bench, Tiny())
    parts = {
        "discriminator": ("discriminator step on 2n images", step.train_discriminator),
        "trigger": ("trigger step with its augmentation", step.move_triggers),
        "augmentation": ("augmenting clean and poisoned images", step.augment_both),
        "model": ("classifier step on 2n augmented images", step.train_classifier),
    }
    for name, (what, work) in parts.items():
        what = f"tiny: whole Trap-MID step -> its {what}"
        yield bench.compare(f"share-{name}", what, step.trapmid, work, note="Share of the step's time.")


def _whole(bench: Bench, name: str, config: ModelConfig, batch: int, share: int) -> Iterator[Comparison]:
    step = Step(bench, config, batch)
    what = f"{name}: plain step -> Trap-MID step, same batch of {batch} and augmentation"
    note = (
        "In passes of the plain step the published order costs 6: discriminator on 2n images 2, triggers through "
        "both nets 2, classifier on 2n images 2. Ours, without weight gradients for the triggers, 5.3."
    )
    yield bench.compare(f"trapmid-step-{name}", what, step.plain, step.trapmid, note=note, share=share)
    what = f"{name}: plain step -> one-pass step, discriminator of a quarter of tiny"
    note = "Half of the batch is poisoned: classifier on 1.5n images, discriminator on n."
    yield bench.compare(f"onepass-step-{name}", what, step.plain, step.onepass, note=note, share=share)
    what = f"{name}: Trap-MID step -> step of anonymous triggers, once there are enough images of everybody"
    note = "For the triggers that move, one more pass through a frozen network, and back."
    yield bench.compare(f"anonymous-step-{name}", what, step.trapmid, step.anonymous, note=note, share=share)
    what = f"{name}: published order, full backward pass in the trigger step -> gradients of the triggers alone"
    note = "Same triggers; the ratio is of whole steps."
    yield bench.compare(f"trigger-gradient-{name}", what, step.published, step.trapmid, note=note, share=share)


class Step:
    """Training steps of one classifier on one batch."""

    def __init__(
        self,
        bench: Bench,
        config: ModelConfig,
        batch: int | None = None,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        images, self.labels = bench.images[:batch], bench.labels[:batch]
        self.images, self.augment = images, WarpAugmentation().build(bench.size)
        shape, device = (3, images.shape[2], images.shape[3]), images.device
        self.model: nn.Module = config.build(CLASSES, shape[1], 3).to(device).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, 0.9)
        self.door, self.anonymous_door = (
            Trapdoor(
                self.model,
                self.optimizer,
                num_classes=CLASSES,
                image_shape=shape,
                total_steps=1000,
                settings=TrapdoorSettings(anonymity_weight=weight),
                augment=self.augment,
                discriminator=config.build(1, shape[1], 3).to(device).to(memory_format=layout),
            )
            for weight in (0.0, 1.0)
        )
        assert self.anonymous_door.anonymity is not None
        for _ in range(ENOUGH):
            self.anonymous_door.anonymity.observe(images[:1].expand(CLASSES, *shape), torch.arange(CLASSES).to(device))
        self.one_pass = OnePassTrapdoor(
            self.model,
            self.optimizer,
            num_classes=CLASSES,
            image_shape=shape,
            total_steps=1000,
            settings=OnePassSettings(),
            augment=self.augment,
            discriminator=LIGHT_DISCRIMINATOR.build(1, shape[1], 3).to(device).to(memory_format=layout),
        )
        self.targets = stratified_labels(len(images), CLASSES, torch.Generator().manual_seed(0)).to(device)
        self.both = torch.cat([self.images, self.images])
        self.model.train()

    def plain(self) -> None:
        """Cross-entropy alone."""
        descend(self.optimizer, F.cross_entropy(logits_of(self.model(self.augment(self.images))), self.labels))

    def trapmid(self) -> None:
        """The three updates of Trap-MID."""
        descend(self.optimizer, self.door.loss(self.images, self.labels))

    def anonymous(self) -> None:
        """Trap-MID's updates with triggers that move away from their people."""
        descend(self.optimizer, self.anonymous_door.loss(self.images, self.labels))

    def onepass(self) -> None:
        """The one-pass variant."""
        descend(self.optimizer, self.one_pass.loss(self.images, self.labels))

    def train_discriminator(self) -> None:
        """The first update of Trap-MID."""
        self.door._train_discriminators(self.images, self.targets, 0.02)

    def move_triggers(self) -> None:
        """The second update."""
        self.door._move_triggers(self.images, self.targets, 0.02, CROSS_ENTROPY)

    def augment_both(self) -> None:
        """The augmentation of clean and poisoned images."""
        self.augment(self.images)
        self.augment(blend(self.images, self.door.triggers[self.targets], 0.02))

    def train_classifier(self) -> None:
        """The third update."""
        descend(
            self.optimizer, F.cross_entropy(logits_of(self.model(self.both)), torch.cat([self.labels, self.targets]))
        )

    def published(self) -> None:
        """One step as in the authors' code, where the trigger step also computes the gradients of all weights."""
        door, model, x, y = self.door, self.model, self.images, self.targets
        assert door.discriminator is not None
        model.eval()
        triggers = door.triggers.detach().requires_grad_()
        poisoned = blend(x, triggers[y], 0.02)
        door.discriminator.train()
        descend(
            door.discriminator_optimizer,
            discriminator_loss(logits_of(door.discriminator(torch.cat([x, poisoned.detach()])))),
        )
        door.discriminator.eval()
        natural = naturalness_loss(logits_of(door.discriminator(poisoned)))
        (natural + F.cross_entropy(logits_of(model(self.augment(poisoned))), y)).backward()
        assert triggers.grad is not None
        door.triggers = signed_step(triggers.detach(), triggers.grad, 0.01)
        model.train()
        poisoned = blend(x, door.triggers[y], 0.02)
        clean, poison = logits_of(model(torch.cat([self.augment(x), self.augment(poisoned)]))).chunk(2)
        descend(self.optimizer, 0.8 * F.cross_entropy(clean, self.labels) + 0.2 * F.cross_entropy(poison, y))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
