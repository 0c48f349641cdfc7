"""What costs time, measured as ratios within one run: absolute seconds differ between machines, ratios much less.

Whatever is compared runs in turns, so that a busy machine slows both sides alike; the ratio is the median over the turns.
"""

import heapq
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks import PLGMI, Run
from trapmid.attacks.search import top_n
from trapmid.augment import Augmentation, KorniaAugmentation, WarpAugmentation
from trapmid.engine import Compute, Progress, no_progress, randomness
from trapmid.models import VGG16, ModelConfig, Tiny
from trapmid.priors import CGAN, Strided
from trapmid.priors.cgan import hinge_loss
from trapmid.targets import WhiteBoxTarget
from trapmid.trapdoor import Trapdoor
from trapmid.trapdoor.naturalness import discriminator_loss, naturalness_loss
from trapmid.trapdoor.triggers import blend, signed_step, stratified_labels
from trapmid.types import Images, Labels, logits_of

CLASSES, SIZE, BATCH = 60, 64, 64
Work = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """Two ways of doing something, timed in turns.

    Attributes:
        name: short and unique.
        what: the two ways, in words.
        baseline_seconds: median of the way that is compared with.
        seconds: median of the other.
        ratio: median over the turns of seconds / baseline_seconds; below 1, the other way is faster.
        note: what to make of it.
    """

    name: str
    what: str
    baseline_seconds: float
    seconds: float
    ratio: float
    note: str = ""


def run(device: str = "cpu", quick: bool = False, progress: Progress = no_progress) -> list[Measurement]:
    """Measure everything, on one thread unless OMP_NUM_THREADS says otherwise; quick mode shrinks repeats and sizes.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        quick: a few seconds instead of a few minutes; its numbers are rough.
        progress: who is told how far it is.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))
    try:
        with randomness(0, "bench", device=Compute(device).target):
            bench = _Bench(Compute(device), quick, progress)
            return bench.run()
    finally:
        torch.set_num_threads(threads)


class _Bench:
    def __init__(self, compute: Compute, quick: bool, progress: Progress) -> None:
        self.device, self.quick, self.progress, self.compute = compute.target, quick, progress, compute
        self.repeats, self.batch = (2, 8) if quick else (15, BATCH)
        self.images = torch.rand(self.batch, 3, SIZE, SIZE, device=self.device)
        self.labels = torch.randint(CLASSES, (self.batch,), device=self.device)

    def run(self) -> list[Measurement]:
        parts: list[tuple[str, Callable[[], list[Measurement]]]] = [
            ("training step, tiny", lambda: self.training_step("tiny", Tiny(), self.repeats)),
            ("training step, vgg16", lambda: self.training_step("vgg16", VGG16(), max(1, self.repeats // 5))),
            ("shares of a Trap-MID step", self.shares_of_a_step),
            ("search", self.search),
            ("top-n", self.selection),
            ("memory format and precision", self.formats),
            ("augmentation", self.augmentation),
        ]
        found: list[Measurement] = []
        for done, (name, part) in enumerate(parts):
            self.progress("bench", done, len(parts), name)
            found += part()
        self.progress("bench", len(parts), len(parts), "")
        return found

    def compare(
        self, name: str, what: str, baseline: Work, other: Work, note: str = "", repeats: int | None = None
    ) -> Measurement:
        """Time both in turns, after a turn that does not count."""
        times = [self.turn(baseline, other) for _ in range((repeats or self.repeats) + 1)][1:]
        first, second = (statistics.median(column) for column in zip(*times, strict=True))
        return Measurement(name, what, first, second, statistics.median(b / a for a, b in times), note)

    def turn(self, *works: Work) -> list[float]:
        seconds = []
        for work in works:
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - started)
        return seconds

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def training_step(self, name: str, config: ModelConfig, repeats: int) -> list[Measurement]:
        """Plain against Trap-MID, and Trap-MID against its published order written down literally."""
        step = _Step(config, self.images, self.labels, WarpAugmentation().build(SIZE))
        trapmid = f"trapmid-step-{name}"
        return [
            self.compare(
                trapmid,
                f"{name}: plain step -> Trap-MID step, same batch of {self.batch} and augmentation",
                step.plain,
                step.trapmid,
                "In passes of the plain step: published order 6 (discriminator on 2n images 2, triggers through classifier and discriminator "
                "with all weight gradients 2, classifier on 2n images 2); gradients of the triggers alone leave about 5.3.",
                repeats,
            ),
            self.compare(
                f"trigger-gradient-{name}",
                f"{name}: published order with a full backward pass in the trigger step -> gradients of the triggers alone",
                step.published,
                step.trapmid,
                "Same numbers; what freezing the weights during the trigger step saves of the whole step.",
                repeats,
            ),
        ]

    def shares_of_a_step(self) -> list[Measurement]:
        """The whole Trap-MID step against each of its parts, for the tiny classifier."""
        step = _Step(Tiny(), self.images, self.labels, WarpAugmentation().build(SIZE))
        parts: dict[str, tuple[str, Work]] = {
            "discriminator": ("discriminator step on 2n images", step.train_discriminator),
            "trigger": ("trigger step, its augmentation included", step.move_triggers),
            "augmentation": ("augmenting clean and poisoned images for the classifier", step.augment_both),
            "model": ("classifier step on 2n augmented images", step.train_classifier),
        }
        return [
            self.compare(
                f"share-{name}", f"tiny: whole Trap-MID step -> {what}", step.trapmid, work, "Share of the step's time."
            )
            for name, (what, work) in parts.items()
        ]

    def search(self) -> list[Measurement]:
        """The same few steps of PLG-MI's search for all identities, in one batch and one by one."""
        count = 4 if self.quick else 20
        prior = CGAN(networks=Strided()).build(CLASSES, SIZE, 3, self.compute)
        target = WhiteBoxTarget(Tiny().build(CLASSES, SIZE, 3).to(self.device), CLASSES, (3, SIZE, SIZE))
        method = PLGMI(search_steps=2, augmentations=2, search_augmentation=WarpAugmentation(), chunk=100)
        everyone = torch.arange(count)

        def search(*batches: Tensor) -> None:
            with TemporaryDirectory() as folder:
                for batch in batches:
                    method.invert(target, prior, batch, Run(0, self.compute, Path(folder)))

        what = f"PLG-MI search of {count} identities x {method.images_per_identity} images, {method.search_steps} steps: one by one -> in one batch"
        note = "On a CPU a batch saves overhead only; a GPU is idle without it. Checkpoints included."
        return [
            self.compare(
                "batched-search",
                what,
                lambda: search(*everyone.split(1)),
                lambda: search(everyone),
                note,
                max(1, self.repeats // 3),
            )
        ]

    def selection(self) -> list[Measurement]:
        """Thirty of the public images for every class."""
        images, classes = (500, 10) if self.quick else (10_000, 100)
        scores = torch.rand(images, classes, device=self.device).softmax(1)
        what = f"top 30 of {images:,} images for {classes} classes: loop over a priority queue -> tensor.topk"
        return [
            self.compare(
                "top-n",
                what,
                lambda: _queue_top_n(scores, 30),
                lambda: top_n(scores, 30),
                "Same rows.",
                max(1, self.repeats // 5),
            )
        ]

    def formats(self) -> list[Measurement]:
        """channels_last and bfloat16, for a plain step of the tiny classifier and for a step of the strided GAN."""
        found = []
        augment = WarpAugmentation().build(SIZE)
        for name, make in {
            "tiny": lambda: _Step(Tiny(), self.images, self.labels, augment).plain,
            "gan": self.gan_step,
        }.items():
            with randomness(0, "formats", device=self.device):
                plain, last = (
                    make(),
                    make(memory_format=torch.channels_last) if name == "gan" else self._channels_last_step(),
                )
            what = (
                "plain step of the tiny classifier"
                if name == "tiny"
                else "generator and discriminator step of the strided GAN"
            )
            found.append(self.compare(f"channels-last-{name}", f"{what}: contiguous -> channels_last", plain, last))
            found.append(
                self.compare(f"bf16-{name}", f"{what}: float32 -> bf16-mixed", plain, self._in_bfloat16(plain))
            )
        return found

    def _channels_last_step(self) -> Work:
        return _Step(Tiny(), self.images, self.labels, WarpAugmentation().build(SIZE), torch.channels_last).plain

    def _in_bfloat16(self, work: Work) -> Work:
        def mixed() -> None:
            with torch.autocast(self.device.type, torch.bfloat16):
                work()

        return mixed

    def gan_step(self, memory_format: torch.memory_format = torch.contiguous_format) -> Work:
        generator, discriminator = (
            module.to(self.device, memory_format=memory_format) for module in Strided().build(CLASSES, SIZE, 3)
        )  # type: ignore[call-overload]
        optimizers = [torch.optim.Adam(module.parameters(), 2e-4, (0.0, 0.9)) for module in (generator, discriminator)]
        latents = torch.randn(self.batch, 128, device=self.device)
        real = self.images.contiguous(memory_format=memory_format)

        def step() -> None:
            _descend(optimizers[0], -discriminator(generator(latents, self.labels), self.labels).mean())
            with torch.no_grad():
                generated = generator(latents, self.labels)
            _descend(optimizers[1], hinge_loss(discriminator(real, self.labels), discriminator(generated, self.labels)))

        return step

    def augmentation(self) -> list[Measurement]:
        """Forward, and forward with the gradient to the images, as the searches need it."""

        def change(config: Augmentation, *, backward: bool) -> Work:
            augment = config.build(SIZE)
            images = self.images.clone().requires_grad_(backward)
            return (lambda: augment(images).sum().backward()) if backward else (lambda: augment(images))

        return [
            self.compare(
                f"warp-{'backward' if backward else 'forward'}",
                f"augmenting {self.batch} images, {'with gradient' if backward else 'forward only'}: kornia, as published -> warp",
                change(KorniaAugmentation(), backward=backward),
                change(WarpAugmentation(), backward=backward),
                "The same changes, resampled once instead of up to three times.",
            )
            for backward in (False, True)
        ]


class _Step:
    """Training steps of one classifier on one batch."""

    def __init__(
        self,
        config: ModelConfig,
        images: Images,
        labels: Labels,
        augment: Callable[[Tensor], Tensor],
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        device = images.device
        self.images, self.labels, self.augment = images.contiguous(memory_format=memory_format), labels, augment
        self.model: nn.Module = config.build(CLASSES, SIZE, 3).to(device, memory_format=memory_format)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, 0.9)
        self.door = Trapdoor(
            self.model,
            self.optimizer,
            num_classes=CLASSES,
            image_shape=(3, SIZE, SIZE),
            total_steps=1000,
            augment=augment,
            discriminator=config.build(1, SIZE, 3).to(device),
        )
        self.targets = stratified_labels(len(images), CLASSES, torch.Generator().manual_seed(0)).to(device)
        self.both = torch.cat([self.images, self.images])
        self.model.train()

    def plain(self) -> None:
        _descend(self.optimizer, F.cross_entropy(logits_of(self.model(self.augment(self.images))), self.labels))

    def trapmid(self) -> None:
        _descend(self.optimizer, self.door.loss(self.images, self.labels))

    def train_discriminator(self) -> None:
        self.door._train_discriminator(self.images, self.targets, 0.02)

    def move_triggers(self) -> None:
        self.door._move_triggers(self.images, self.targets, 0.02)

    def augment_both(self) -> None:
        self.augment(self.images)
        self.augment(blend(self.images, self.door.triggers[self.targets], 0.02))

    def train_classifier(self) -> None:
        _descend(
            self.optimizer, F.cross_entropy(logits_of(self.model(self.both)), torch.cat([self.labels, self.targets]))
        )

    def published(self) -> None:
        """The authors' order (reference 2.2): the trigger step's backward pass fills the gradients of every weight too."""
        door, model, x, y = self.door, self.model, self.images, self.targets
        model.eval()
        triggers = door.triggers.detach().requires_grad_()
        poisoned = blend(x, triggers[y], 0.02)
        door.discriminator.train()
        _descend(
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
        _descend(self.optimizer, 0.8 * F.cross_entropy(clean, self.labels) + 0.2 * F.cross_entropy(poison, y))


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _queue_top_n(scores: Tensor, n: int) -> list[list[int]]:
    """As the authors' code does it: image by image, a queue of bounded length for each class."""
    queues: list[list[tuple[float, int]]] = [[] for _ in range(scores.shape[1])]
    for row, values in enumerate(scores.tolist()):
        for queue, value in zip(queues, values, strict=True):
            if len(queue) < n:
                heapq.heappush(queue, (value, row))
            else:
                heapq.heappushpop(queue, (value, row))
    return [[row for _, row in sorted(queue, reverse=True)] for queue in queues]
