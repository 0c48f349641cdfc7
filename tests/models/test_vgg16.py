"""VGG-16 as the paper uses it (Trap-MID, App. C.3)."""

import pytest
import torch
from torch import nn

from trapmid.models import VGG16, Classifier
from trapmid.models.vgg16 import _random_features
from trapmid.types import UserError


@pytest.fixture(scope="module")
def vgg() -> Classifier:
    return VGG16().build(10, 64, 3).eval()


def test_layers_are_torchvisions(vgg: Classifier) -> None:
    layers = [layer for block in vgg.blocks for layer in block]  # type: ignore[union-attr, attr-defined]
    kinds = [type(layer) for layer in layers]
    assert len(layers) == 44
    assert [kinds.count(kind) for kind in (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)] == [13, 13, 13, 5]
    widths = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)]
    assert widths == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [len(block) for block in vgg.blocks] == [7, 7, 10, 10, 10]  # type: ignore[union-attr, arg-type]


def test_first_weights_are_those_of_torchvisions_layers() -> None:
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    theirs = make_layers(cfgs["D"], batch_norm=True)
    for layer in theirs:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    torch.manual_seed(0)
    ours = _random_features().state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours[name], weight), name


def test_features_hidden_and_head(vgg: Classifier) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        prediction = vgg(images)
        maps, x = [], images  # no mean and standard deviation in between, as published
        for block in vgg.blocks:  # type: ignore[union-attr]
            x = block(x)
            maps.append(x)
    assert [tuple(m.shape) for m in prediction.hidden] == [
        (2, 64, 32, 32),
        (2, 128, 16, 16),
        (2, 256, 8, 8),
        (2, 512, 4, 4),
        (2, 2048),
    ]
    for ours, expected in zip(prediction.hidden[:4], maps, strict=False):
        assert torch.equal(ours, expected)
    assert torch.equal(prediction.hidden[4], prediction.features)
    assert prediction.features.shape == (2, 2048)
    torch.testing.assert_close(prediction.features, vgg.norm(maps[-1].flatten(1)))  # type: ignore[operator]
    assert vgg.head.weight.shape == (10, 2048)  # type: ignore[union-attr]


def test_bias_of_the_last_norm_is_frozen_at_zero(vgg: Classifier) -> None:
    frozen = [name for name, parameter in vgg.named_parameters() if not parameter.requires_grad]
    assert frozen == ["norm.bias"]
    assert not vgg.norm.bias.any()  # type: ignore[union-attr, operator]


def test_too_small_an_image() -> None:
    with pytest.raises(UserError, match=r"needs at least 32 px; image_size is 31\. Use another model, such as tiny"):
        VGG16().build(10, 31, 3)
