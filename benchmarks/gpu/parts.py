"""The parts of the benchmark of a GPU. Each is a function of the setting that yields lines of text as it goes."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.peaks import Arithmetic, peak_of
from trapmid.attacks import PLGMI, Run
from trapmid.augment import Augment, KorniaAugmentation
from trapmid.data import ImageSet
from trapmid.engine import Compute, Precision, generator, randomness
from trapmid.models import VGG16, ModelConfig, Tiny
from trapmid.targets import WhiteBoxTarget
from trapmid.trapdoor import Trapdoor

CLASSES = 1000
"""The number of identities in the paper."""
NETWORKS: dict[str, ModelConfig] = {"vgg16": VGG16(), "tiny": Tiny(widths=(8, 16), strides=(2, 2))}
Mode = Literal["eager", "compiled", "graphs"]


@dataclass(frozen=True)
class Setting:
    """What the parts work on.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        steps: number of training steps that are timed.
        batch: images in a step.
        size: height and width of images in pixels.
        network: the classifier: `vgg16`, or `tiny` for tests.
        backend: backend of `torch.compile`.
    """

    device: str = "cuda"
    steps: int = 300
    batch: int = 64
    size: int = 64
    network: Literal["vgg16", "tiny"] = "vgg16"
    backend: str = "inductor"

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)

    def memory(self) -> str:
        """The peak memory of tensors so far, in words."""
        if self.device == "cpu":
            return "memory not measured on a CPU"
        return f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.2f} GiB at the peak"

    def speed(self, operations: float, seconds: float, arithmetic: Arithmetic) -> str:
        """Throughput in words, with its share of the card's peak if that is known."""
        achieved = operations / seconds / 1e12
        peak = None if self.device == "cpu" else peak_of(torch.cuda.get_device_name(self.device), arithmetic)
        share = "" if peak is None else f", {achieved / peak:.0%} of the peak of {peak:g} in {arithmetic}"
        return f"{achieved:.3g} TFLOP/s{share}"


class TrapdoorSteps:
    """Steps of a Trap-MID training on random images."""

    def __init__(self, setting: Setting, precision: Precision = "32-true", augment: Augment | None = None) -> None:
        compute = Compute(setting.device, precision)
        shape = (3, setting.size, setting.size)
        with randomness(0, "gpu benchmark", device=compute.torch_device):
            config = NETWORKS[setting.network]
            self.model = compute.place(config.build(CLASSES, setting.size, 3))
            self.discriminator = compute.place(config.build(1, setting.size, 3))
        rng = generator(0, "gpu benchmark images")
        self.images = torch.rand(setting.batch, *shape, generator=rng).to(compute.torch_device)
        self.labels = torch.randint(CLASSES, (setting.batch,), generator=rng).to(compute.torch_device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9)
        self.trapdoor = Trapdoor(
            self.model,
            self.optimizer,
            num_classes=CLASSES,
            image_shape=shape,
            total_steps=100_000,
            augment=augment or KorniaAugmentation().build(setting.size),
            discriminator=self.discriminator,
        )

    def take(self) -> Tensor:
        """One step, as `trapmid.train` takes it. Returns the loss."""
        self.model.train()
        losses, _ = self.trapdoor.unchecked_losses(self.images, self.labels)
        loss = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def tests(setting: Setting) -> Iterator[str]:
    """The tests that are marked `cuda`."""
    del setting
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "cuda", "--durations=0", "tests/test_cuda.py"]
    with subprocess.Popen(  # noqa: S603
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.strip() and "durations" not in line:
                yield line.rstrip()


def numbers(setting: Setting) -> Iterator[str]:
    """The first losses from the same seed as the CPU has them, in float32 and without augmentation."""
    few = replace(setting, batch=min(setting.batch, 8))

    def losses(device: str) -> list[float]:
        steps = TrapdoorSteps(replace(few, device=device), augment=lambda images: images)
        return [float(steps.take()) for _ in range(min(3, setting.steps))]

    here, there = losses("cpu"), losses(setting.device)
    for step, (one, other) in enumerate(zip(here, there, strict=True)):
        yield f"loss of step {step}: {one:.6f} on the CPU, {other:.6f} on {setting.device} ({other / one - 1:+.1e})"


def training(precision: Precision, mode: Mode, setting: Setting) -> Iterator[str]:
    """The time of training steps, after steps that warm up. Operations are those of a step without compilation."""
    steps = TrapdoorSteps(setting, precision)
    with FlopCounterMode(display=False) as counter:
        steps.take()
    if mode != "eager":
        began = time.perf_counter()
        for network in (steps.model, steps.discriminator):
            network.compile(mode="reduce-overhead" if mode == "graphs" else None, backend=setting.backend)
    losses = [_marked(steps, mode) for _ in range(min(5, setting.steps))]
    setting.wait()
    if mode != "eager":
        yield f"compiled in {time.perf_counter() - began:.0f} s"
    began = time.perf_counter()
    losses += [_marked(steps, mode) for _ in range(setting.steps)]
    setting.wait()
    seconds = (time.perf_counter() - began) / setting.steps
    arithmetic: Arithmetic = "bfloat16" if precision == "bf16-mixed" else "float32"
    if arithmetic == "float32" and torch.backends.cudnn.allow_tf32:
        arithmetic = "tf32"
    finite = bool(torch.stack(losses).isfinite().all())
    yield (
        f"{setting.steps} steps of {setting.batch} images of {setting.size} px: {1000 * seconds:.2f} ms a step, "
        f"{setting.batch / seconds:.0f} images/s, {setting.speed(counter.get_total_flops(), seconds, arithmetic)}, "
        f"{setting.memory()}, loss {float(losses[0]):.3f} to {float(losses[-1]):.3f}"
        f"{'' if finite else ', NOT FINITE'}"
    )


def _marked(steps: TrapdoorSteps, mode: Mode) -> Tensor:
    if mode == "graphs":
        torch.compiler.cudagraph_mark_step_begin()
    return steps.take().clone()


def attack(setting: Setting) -> Iterator[str]:
    """PLG-MI's GAN with the published networks, and its search."""
    iterations, identities, tries = max(1, setting.steps // 10), min(60, setting.batch), max(1, setting.steps // 5)
    compute = Compute(setting.device)
    plgmi = PLGMI(images_per_identity=1, candidates=1, search_steps=tries)
    prior = plgmi.prior.model_copy(update={"iterations": iterations, "batch_size": setting.batch})
    plgmi = plgmi.model_copy(update={"prior": prior, "identities_per_batch": identities})
    pixels = torch.randint(256, (2048 if setting.steps > 20 else 64, 3, setting.size, setting.size), dtype=torch.uint8)
    names = tuple("noise" for _ in pixels)
    public = ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("nobody",), names)
    with randomness(0, "gpu benchmark", device=compute.torch_device), TemporaryDirectory() as folder:
        model = compute.place(NETWORKS[setting.network].build(CLASSES, setting.size, 3)).eval()
        target, run = WhiteBoxTarget(model, CLASSES, (3, setting.size, setting.size)), Run(0, compute, Path(folder))
        began = time.perf_counter()
        gan = plgmi.prepare(target, public, run)
        setting.wait()
        taken = time.perf_counter() - began
        yield (
            f"GAN: {iterations} iterations with batches of {setting.batch}, and {len(public)} pseudo-labels: "
            f"{taken / iterations:.3f} s an iteration, {setting.memory()}"
        )
        began = time.perf_counter()
        found = plgmi.invert(target, gan, torch.arange(identities), run)
        setting.wait()
        taken = time.perf_counter() - began
        yield (
            f"search: {tries} steps for {identities} identities: {1000 * taken / tries:.1f} ms a step, "
            f"{setting.memory()}, confidence {float(found.confidence.mean()):.3f}"
        )


Part = Callable[[Setting], Iterator[str]]
PARTS: dict[str, tuple[Part, float]] = {
    "tests": (tests, 0.24),
    "numbers": (numbers, 0.06),
    "float32": (partial(training, "32-true", "eager"), 0.08),
    "bf16": (partial(training, "bf16-mixed", "eager"), 0.08),
    "compiled": (partial(training, "bf16-mixed", "compiled"), 0.18),
    "graphs": (partial(training, "bf16-mixed", "graphs"), 0.18),
    "attack": (attack, 0.18),
}
"""Every part with its share of the time."""
