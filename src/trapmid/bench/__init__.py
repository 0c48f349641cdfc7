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
from trapmid.augment import Augment, Augmentation, KorniaAugmentation, WarpAugmentation
from trapmid.bench.searches import Searches
from trapmid.bench.selection import initial_selection, repulsion
from trapmid.bench.watching import watched
from trapmid.engine import Compute, Progress, no_progress, randomness
from trapmid.models import VGG16, ModelConfig, Tiny
from trapmid.objective import CROSS_ENTROPY
from trapmid.priors import CGAN, Strided
from trapmid.priors.cgan import hinge_loss
from trapmid.targets import WhiteBoxTarget
from trapmid.trapdoor import OnePassSettings, OnePassTrapdoor, Trapdoor
from trapmid.trapdoor.naturalness import discriminator_loss, naturalness_loss
from trapmid.trapdoor.triggers import blend, signed_step, stratified_labels
from trapmid.types import Images, Labels, logits_of

CLASSES = 60
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
        quick: seconds instead of minutes; its numbers are rough.
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
        self.repeats, self.batch, self.size = (1, 4, 32) if quick else (15, 64, 64)
        self.images = torch.rand(self.batch, 3, self.size, self.size, device=self.device)
        self.labels = torch.randint(CLASSES, (self.batch,), device=self.device)
        self.found: list[Measurement] = []

    def run(self) -> list[Measurement]:
        few = max(2, self.batch // 4) if self.device.type == "cpu" else self.batch
        parts: dict[str, Work] = {
            "training step, tiny": lambda: self.training_step("tiny", Tiny(), self.batch, self.repeats),
            "training step, vgg16": lambda: self.training_step("vgg16", VGG16(), few, max(1, self.repeats // 5)),
            "shares of a Trap-MID step": self.shares_of_a_step,
            "search": self.search,
            "order of searches": self.orders,
            "top-n": self.selection,
            "label-only search": self.repulsion,
            "initial selection": self.initial_selection,
            "watching": self.watching,
            "memory format and precision": self.formats,
            "augmentation": self.augmentation,
        }
        for done, (name, part) in enumerate(parts.items()):
            self.progress("bench", done, len(parts), name)
            part()
        self.progress("bench", len(parts), len(parts), "")
        return self.found

    def compare(self, name: str, what: str, note: str, baseline: Work, other: Work, repeats: int | None = None) -> None:
        """Time both in turns, after a turn that does not count."""
        times = [(self.time(baseline), self.time(other)) for _ in range((repeats or self.repeats) + 1)][1:]
        first, second = (statistics.median(column) for column in zip(*times, strict=True))
        self.found.append(Measurement(name, what, first, second, statistics.median(b / a for a, b in times), note))

    def time(self, work: Work) -> float:
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def step(
        self, config: ModelConfig, layout: torch.memory_format = torch.channels_last, batch: int | None = None
    ) -> "_Step":
        images, labels = self.images[:batch], self.labels[:batch]
        return _Step(config, images, labels, WarpAugmentation().build(self.size), layout)

    def training_step(self, name: str, config: ModelConfig, batch: int, repeats: int) -> None:
        step = self.step(config, batch=batch)
        what = f"{name}: plain step -> Trap-MID step, same batch of {batch} and augmentation"
        note = (
            "In passes of the plain step the published order costs 6: discriminator on 2n images 2, triggers through "
            "both nets 2, classifier on 2n images 2. Ours, without weight gradients for the triggers, 5.3."
        )
        self.compare(f"trapmid-step-{name}", what, note, step.plain, step.trapmid, repeats)
        what = f"{name}: plain step -> one-pass step, discriminator of a quarter of tiny"
        note = "Half of the batch is poisoned: classifier on 1.5n images, discriminator on n."
        self.compare(f"onepass-step-{name}", what, note, step.plain, step.onepass, repeats)
        what = f"{name}: published order, full backward pass in the trigger step -> gradients of the triggers alone"
        note = "Same triggers; the ratio is of whole steps."
        self.compare(f"trigger-gradient-{name}", what, note, step.published, step.trapmid, repeats)

    def shares_of_a_step(self) -> None:
        step = self.step(Tiny())
        parts: dict[str, tuple[str, Work]] = {
            "discriminator": ("discriminator step on 2n images", step.train_discriminator),
            "trigger": ("trigger step with its augmentation", step.move_triggers),
            "augmentation": ("augmenting clean and poisoned images", step.augment_both),
            "model": ("classifier step on 2n augmented images", step.train_classifier),
        }
        for name, (what, work) in parts.items():
            what = f"tiny: whole Trap-MID step -> its {what}"
            self.compare(f"share-{name}", what, "Share of the step's time.", step.trapmid, work)

    def search(self) -> None:
        count = 4 if self.quick else 20
        prior = CGAN(networks=Strided()).build(CLASSES, self.size, 3, self.compute)
        model = self.compute.place(Tiny().build(CLASSES, self.size, 3))
        target = WhiteBoxTarget(model, CLASSES, (3, self.size, self.size))
        method = PLGMI(search_steps=2 if self.quick else 10, search_augmentation=WarpAugmentation())
        everyone = torch.arange(count)

        def search(*batches: Tensor) -> None:
            with TemporaryDirectory() as folder:
                for batch in batches:
                    method.invert(target, prior, batch, Run(0, self.compute, Path(folder)))

        each = method.images_per_identity
        what = (
            f"PLG-MI search of {count} identities x {each} images, {method.search_steps} steps: one by one -> one batch"
        )
        note = "A CPU saves overhead only (a checkpoint per search included); a GPU is mostly idle without batches."
        one_by_one, together = lambda: search(*everyone.split(1)), lambda: search(everyone)
        self.compare("batched-search", what, note, one_by_one, together, max(1, self.repeats // 3))

    def orders(self) -> None:
        searches = Searches(self.compute, self.size, CLASSES, quick=self.quick)
        for name, (what, theirs, ours) in searches.orders().items():
            self.compare(name, what, "Same results.", theirs, ours, max(1, self.repeats // 3))

    def selection(self) -> None:
        images, classes = (500, 10) if self.quick else (10_000, 100)
        scores = torch.rand(images, classes, device=self.device).softmax(1)
        what = f"top 30 of {images:,} images for {classes} classes: loop over a priority queue -> tensor.topk"
        queue, topk = lambda: _queue_top_n(scores, 30), lambda: top_n(scores, 30)
        self.compare("top-n", what, "Same rows.", queue, topk, max(1, self.repeats // 5))

    def repulsion(self) -> None:
        count, steps = (3, 1) if self.quick else (20, 3)
        what = f"{steps} steps of BREP-MI for {count} identities, 33 images each: one by one -> one batch"
        note = "Same answers. A GPU is mostly idle without batches."
        self.compare("batched-brep", what, note, *repulsion(count, steps, self.size, self.compute), repeats=1)

    def initial_selection(self) -> None:
        count, candidates = (2, 4) if self.quick else (10, 100)
        what = f"{candidates} candidates of PPA for {count} identities: shown for each -> shown once for all"
        pair = initial_selection(count, candidates, self.size, self.compute)
        self.compare("shared-selection", what, "Same choice, and as many times fewer queries.", *pair, repeats=1)

    def watching(self) -> None:
        few = max(2, self.batch // 4) if self.device.type == "cpu" else self.batch
        for name, config, batch in (("tiny", Tiny(), self.batch), ("tiny-single", Tiny(), 1), ("vgg16", VGG16(), few)):
            what = f"forward pass of {name.partition('-')[0]} on {batch} images: unwatched -> watched by a detector"
            pair = watched(config, CLASSES, self.images[:batch], self.compute)
            self.compare(f"watch-{name}", what, "The features are there already.", *pair)

    def formats(self) -> None:
        nets: dict[str, tuple[str, Callable[[torch.memory_format], Work]]] = {
            "tiny": ("plain step of the tiny classifier", lambda layout: self.step(Tiny(), layout).plain),
            "trapmid": ("Trap-MID step of the tiny classifier", lambda layout: self.step(Tiny(), layout).trapmid),
            "gan": ("step of the strided GAN, generator and discriminator", self.gan_step),
        }
        for name, (what, make) in nets.items():
            plain, last = make(torch.contiguous_format), make(torch.channels_last)
            self.compare(f"channels-last-{name}", f"{what}: contiguous -> channels_last", "", plain, last)
            mixed = torch.autocast(self.device.type, torch.bfloat16)(last)
            self.compare(f"bf16-{name}", f"{what}: float32 -> bf16 autocast", "", last, mixed)

    def gan_step(self, layout: torch.memory_format) -> Work:
        generator, discriminator = Strided().build(CLASSES, self.size, 3)
        generator, discriminator = (net.to(self.device).to(memory_format=layout) for net in (generator, discriminator))
        of_generator, of_discriminator = (torch.optim.Adam(n.parameters(), 2e-4) for n in (generator, discriminator))
        latents = torch.randn(self.batch, Strided().latent_size, device=self.device)
        real, labels = self.images, self.labels

        def step() -> None:
            _descend(of_generator, -discriminator(generator(latents, labels), labels).mean())
            with torch.no_grad():
                generated = generator(latents, labels)
            _descend(of_discriminator, hinge_loss(discriminator(real, labels), discriminator(generated, labels)))

        return step

    def augmentation(self) -> None:
        def forward(config: Augmentation) -> Work:
            augment = config.build(self.size)
            return lambda: augment(self.images)

        def backward(config: Augmentation) -> Work:
            augment, images = config.build(self.size), self.images.clone().requires_grad_()
            return lambda: augment(images).sum().backward()

        note = "The same changes, resampled once instead of up to three times."
        for name, way in (("forward", forward), ("backward", backward)):
            what = f"augmenting {self.batch} images, {name}: kornia, as published -> warp"
            self.compare(f"warp-{name}", what, note, way(KorniaAugmentation()), way(WarpAugmentation()))


class _Step:
    """Training steps of one classifier on one batch."""

    def __init__(
        self, config: ModelConfig, images: Images, labels: Labels, augment: Augment, layout: torch.memory_format
    ) -> None:
        self.images, self.labels, self.augment = images, labels, augment
        shape, device = (3, images.shape[2], images.shape[3]), images.device
        self.model: nn.Module = config.build(CLASSES, shape[1], 3).to(device).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, 0.9)
        self.door = Trapdoor(
            self.model,
            self.optimizer,
            num_classes=CLASSES,
            image_shape=shape,
            total_steps=1000,
            augment=augment,
            discriminator=config.build(1, shape[1], 3).to(device).to(memory_format=layout),
        )
        self.one_pass = OnePassTrapdoor(
            self.model,
            self.optimizer,
            num_classes=CLASSES,
            image_shape=shape,
            total_steps=1000,
            settings=OnePassSettings(),
            augment=augment,
            discriminator=Tiny(widths=(16, 32, 64, 64)).build(1, shape[1], 3).to(device).to(memory_format=layout),
        )
        self.targets = stratified_labels(len(images), CLASSES, torch.Generator().manual_seed(0)).to(device)
        self.both = torch.cat([self.images, self.images])
        self.model.train()

    def plain(self) -> None:
        _descend(self.optimizer, F.cross_entropy(logits_of(self.model(self.augment(self.images))), self.labels))

    def trapmid(self) -> None:
        _descend(self.optimizer, self.door.loss(self.images, self.labels))

    def onepass(self) -> None:
        _descend(self.optimizer, self.one_pass.loss(self.images, self.labels))

    def train_discriminator(self) -> None:
        self.door._train_discriminators(self.images, self.targets, 0.02)

    def move_triggers(self) -> None:
        self.door._move_triggers(self.images, self.targets, 0.02, CROSS_ENTROPY)

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
        assert door.discriminator is not None
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
