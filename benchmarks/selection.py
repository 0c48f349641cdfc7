"""Queries and selections before a search: PLG-MI's pseudo-labelled images, and the soft labels of KED-MI's GAN."""

import heapq
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.stage import Stage
from benchmarks.timing import CLASSES, Bench, Comparison
from trapmid import priors
from trapmid.attacks.search import top_n
from trapmid.data.images import ImageSet, to_pixels, to_unit
from trapmid.priors import GAN, SemiGAN
from trapmid.priors.semigan import SemiGANFit
from trapmid.targets import ScoreTarget
from trapmid.types import Pixels


def selection(bench: Bench) -> Iterator[Comparison]:
    """PLG-MI's pseudo-labels and KED-MI's soft labels."""
    images, classes = (500, 10) if bench.quick else (10_000, 100)
    scores = bench.uniform("scores", images, classes).softmax(1)
    what = f"top 30 of {images:,} images for {classes} classes: loop over a priority queue, as published -> tensor.topk"
    queue, topk = lambda: queue_top_n(scores, 30), lambda: top_n(scores, 30)
    yield bench.compare("top-n", what, queue, topk, share=5, same=0.0)
    yield _soft_labels(bench)


def _soft_labels(bench: Bench) -> Comparison:
    """Both sides query the target in eval mode, unlike the authors' code, so that they get the same answers."""
    target, iterations = Stage(bench).target, 2 if bench.quick else 20
    pixels = to_pixels(bench.uniform("public", 64, *target.image_shape))
    public = ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("unknown",), ("noise",) * len(pixels))
    config = SemiGAN(width=16, iterations=iterations)
    of_training = priors.PriorTraining(public, CLASSES, 0, bench.compute)

    def asked_once() -> Tensor:
        return _weights(SemiGANFit(config, of_training, target.scores(to_unit(pixels))).run())

    def asked_at_every_step() -> Tensor:
        fit = SemiGANFit(config, of_training, torch.empty(0, CLASSES))
        fit.soft_labels = _Asking(target, pixels)  # type: ignore[assignment]
        return _weights(fit.run())

    what = (
        f"{iterations} iterations of KED-MI's GAN: the target asked at every step, as published -> once for each image"
    )
    return bench.compare("soft-labels", what, asked_at_every_step, asked_once, share=5, same=1e-4)


class _Asking:
    """Soft labels for which the target is queried at every look-up."""

    def __init__(self, target: ScoreTarget, pixels: Pixels) -> None:
        self.target, self.pixels = target, pixels

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.target.scores(to_unit(self.pixels[rows]))


def _weights(gan: GAN) -> Tensor:
    return torch.cat([weights.detach().flatten().cpu() for weights in gan.generator.parameters()])


def queue_top_n(scores: Tensor, n: int) -> Tensor:
    """The selection of the authors' code: image by image, with a queue of bounded length for each class."""
    queues: list[list[tuple[float, int]]] = [[] for _ in range(scores.shape[1])]
    for row, values in enumerate(scores.tolist()):
        for queue, value in zip(queues, values, strict=True):
            if len(queue) < n:
                heapq.heappush(queue, (value, row))
            else:
                heapq.heappushpop(queue, (value, row))
    return torch.tensor([[row for _, row in sorted(queue, reverse=True)] for queue in queues])
