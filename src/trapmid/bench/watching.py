"""What it costs to watch a served model: the same forward pass with the detector's eye on it."""

from collections.abc import Callable

import torch

from trapmid.detection import Detector
from trapmid.engine import Compute
from trapmid.models import ModelConfig
from trapmid.types import Images


def watched(
    config: ModelConfig, classes: int, images: Images, compute: Compute
) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward pass of a network of random weights on `images` (n, c, s, s), unwatched and watched.

    The detector's signatures are random, too; windows of 1,000 images are weighed as they fill.
    """
    size = images.shape[-1]
    model = compute.place(config.build(classes, size, images.shape[1])).eval()
    with torch.no_grad():
        features = model(images[:1]).features.shape[1]
    signatures = torch.nn.functional.normalize(torch.randn(classes, features, device=images.device), dim=1)
    eye = Detector(signatures, torch.linspace(-0.2, 0.4, 1000)).watch(model)

    def forward(served: torch.nn.Module) -> Callable[[], object]:
        def answer() -> object:
            with torch.no_grad():
                return served(images)

        return answer

    return forward(model), forward(eye)
