"""FID in torchvision's features, with the quirk of PLG-MI's code, and the names that keep both FIDs apart."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from helpers.faces import CPU
from trapmid.metrics.inception import Inception, TorchvisionInception, as_plgmi_scales


def test_pixels_are_scaled_as_if_they_had_been_standardised() -> None:
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    expected = torch.stack(
        [
            x[:, 0] * (0.229 / 0.5) + (0.485 - 0.5) / 0.5,
            x[:, 1] * (0.224 / 0.5) + (0.456 - 0.5) / 0.5,
            x[:, 2] * (0.225 / 0.5) + (0.406 - 0.5) / 0.5,
        ],
        1,
    )
    torch.testing.assert_close(as_plgmi_scales(x), expected)


@pytest.mark.slow
def test_features_are_torchvisions_pooled_2048(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, transform_input=False).eval()
    file = tmp_path / "inception.safetensors"
    save_file(network.state_dict(), file)
    features = TorchvisionInception(weights=file).build(CPU)
    assert features.name == "inception-torchvision" != Inception().kind
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    pooled: list[torch.Tensor] = []
    network.avgpool.register_forward_hook(lambda module, args, out: pooled.append(out.flatten(1)))
    network.fc = nn.Identity()
    large = F.interpolate(pixels.float() / 255, size=(299, 299), mode="bilinear", align_corners=False)
    with torch.no_grad():
        network(as_plgmi_scales(large))
    found = features.features(pixels)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, pooled[0], rtol=1e-3, atol=1e-4)
