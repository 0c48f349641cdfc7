"""The cost of a detector that watches a served model: forward passes with and without it."""

from collections.abc import Iterator

import torch

from benchmarks.timing import CLASSES, Bench, Comparison, Work
from trapmid.detection import Detector
from trapmid.models import VGG16, ModelConfig, Tiny
from trapmid.types import Images


def watching(bench: Bench) -> Iterator[Comparison]:
    """A batch and a single image in a small network, and a batch in a large one, with and without a detector."""
    few = max(2, bench.batch // 4) if bench.device.type == "cpu" else bench.batch
    for name, config, batch in (("tiny", Tiny(), bench.batch), ("tiny-single", Tiny(), 1), ("vgg16", VGG16(), few)):
        what = f"forward pass of {config.kind} on {batch} images: without -> with a detector that watches"
        plain, seen = _forward_passes(bench, config, bench.images[:batch])
        yield bench.compare(
            f"watch-{name}", what, plain, seen, note="The detector uses features that the forward pass computes anyway."
        )


def _forward_passes(bench: Bench, config: ModelConfig, images: Images) -> tuple[Work, Work]:
    """Without and with a detector. Weights and signatures are random, and a window holds 1,000 images."""
    model = bench.compute.place(config.build(CLASSES, bench.size, images.shape[1])).eval()
    with torch.no_grad():
        features = model(images[:1]).features.shape[1]
    signatures = torch.nn.functional.normalize(bench.uniform("signatures", CLASSES, features) - 0.5, dim=1)
    eye = Detector(signatures, torch.linspace(-0.2, 0.4, 1000)).watch(model)

    def forward(served: torch.nn.Module) -> Work:
        def answer() -> object:
            with torch.no_grad():
                return served(images)

        return answer

    return forward(model), forward(eye)
