"""The parts that take an audit's time, beside work of plain PyTorch that never changes.

All other groups compare two ways of trapmid, so both sides may become slower together. Here one side has no line of
trapmid. `python -m benchmarks --check` holds the ratios against `limits.json`.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.layouts import gan_step
from benchmarks.stage import Stage
from benchmarks.steps import Step
from benchmarks.timing import CLASSES, Bench, Comparison, Work
from trapmid.attacks import PLGMI
from trapmid.attacks.search import top_n
from trapmid.augment import NoAugmentation, WarpAugmentation
from trapmid.metrics.distance import nearest_of_identity
from trapmid.models import Tiny
from trapmid.priors import CGAN, Strided


def hot_paths(bench: Bench) -> Iterator[Comparison]:
    """Steps of trainings and searches, and what a measurement does to every image."""
    step, reference, augment = Step(bench, Tiny()), _reference(bench), WarpAugmentation().build(bench.size)
    # other programs on the machine do not count; on a GPU, the processor only waits
    clock = time.process_time if bench.device.type == "cpu" else time.perf_counter
    paths: dict[str, tuple[str, Work]] = {
        "trapdoor": ("Trap-MID step of the tiny classifier", step.trapmid),
        "onepass": ("one-pass step of the tiny classifier", step.onepass),
        "gan": ("step of the strided GAN, generator and discriminator", gan_step(bench, torch.channels_last)),
        "search": ("PLG-MI search of 3 identities x 2 restarts, 3 steps", _search(bench)),
        "augmentation": ("warping the images", lambda: augment(bench.images)),
        "top-n": ("top 30 of 20,000 images for 60 classes", _top_n(bench)),
        "distance": ("KNN distance of 300 images to 1,200 private ones, 512 features", _distance(bench)),
    }
    for name, (what, work) in paths.items():
        text = f"step of a plain convolutional network on {bench.batch} images -> {what}"
        yield replace(bench.compare(f"hot-{name}", text, reference, work), clock=clock)


def _reference(bench: Bench) -> Work:
    layers: list[nn.Module] = []
    for before, width in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))
    network = network.to(bench.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(bench.images), bench.labels).backward()
        optimizer.step()

    return step


def _search(bench: Bench) -> Work:
    stage = Stage(bench).attacking(torch.arange(3))
    stage.each, stage.steps = 2, 3
    attack = PLGMI(
        images_per_identity=stage.each,
        candidates=stage.each,
        search_steps=stage.steps,
        search_augmentation=NoAugmentation(),
    )
    return stage.ours(attack.invert, stage.prior(CGAN(networks=Strided())))


def _top_n(bench: Bench) -> Work:
    scores = bench.uniform("hot scores", 20_000, CLASSES)
    return lambda: top_n(scores, 30)


def _distance(bench: Bench) -> Work:
    found, private = bench.uniform("found", 300, 512).cpu(), bench.uniform("private", 1200, 512).cpu()
    labels, of_private = torch.arange(300) % CLASSES, torch.arange(1200) % CLASSES
    return lambda: nearest_of_identity(found, labels, private, of_private)
