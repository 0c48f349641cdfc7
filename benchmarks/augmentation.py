"""The time of the published augmentation, compared with the one that resamples only once."""

from collections.abc import Iterator

from benchmarks.timing import Bench, Comparison, Work
from trapmid.augment import Augmentation, KorniaAugmentation, WarpAugmentation


def augmentation(bench: Bench) -> Iterator[Comparison]:
    """The forward pass alone, and with the gradient."""

    def forward(config: Augmentation) -> Work:
        augment = config.build(bench.size)
        return lambda: augment(bench.images)

    def backward(config: Augmentation) -> Work:
        augment, images = config.build(bench.size), bench.images.clone().requires_grad_()
        return lambda: augment(images).sum().backward()

    note = "The same changes, resampled once instead of up to three times."
    for name, way in (("forward", forward), ("backward", backward)):
        what = f"augmenting {bench.batch} images, {name}: kornia, as published -> warp"
        yield bench.compare(f"warp-{name}", what, way(KorniaAugmentation()), way(WarpAugmentation()), note=note)
