"""timm backbones by name: features as timm gives them, hidden maps out of the same pass."""

import pytest
import torch
from torch import Tensor, nn

from trapmid.models import Zoo, parse_model
from trapmid.types import UserError


def test_a_backbone_and_an_unknown_name() -> None:
    model = parse_model("zoo:resnet18").build(6, 32, 1).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        prediction = model(images)
        expected = model.backbone(images.repeat(1, 3, 1, 1) * 2 - 1)  # type: ignore[operator]
    torch.testing.assert_close(prediction.features, expected)
    assert prediction.features.shape == (2, 512)
    assert prediction.logits.shape == (2, 6)
    with pytest.raises(UserError, match=r"zoo:resnet18_x is not a timm model\. Did you mean .*resnet18"):
        parse_model("zoo:resnet18_x").build(6, 32, 3)
    with pytest.raises(UserError, match=r"zoo:qqq is not a timm model\. See timm\.list_models\(\)"):
        parse_model("zoo:qqq").build(6, 32, 3)


class Counted(nn.Module):
    """How often a layer is passed."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.passes = layer, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.layer(x)


def stages_by_hand(backbone: nn.Module, name: str, images: Tensor) -> list[Tensor]:
    """What the stages' modules put out, read off by torch's own hooks during timm's own forward pass."""
    stages = {
        "resnest14d": ["layer1", "layer2", "layer3", "layer4"],  # the small siblings of the paper's three
        "resnet26": ["layer1", "layer2", "layer3", "layer4"],
        "densenet121": ["features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"],
        "convnext_atto": ["stages.0", "stages.1", "stages.2", "stages.3"],
    }[name]
    seen: list[Tensor] = []
    for stage in stages:
        backbone.get_submodule(stage).register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    backbone(images)
    return list(seen)  # the hooks stay


@pytest.mark.parametrize("name", ["resnet26", "resnest14d", "densenet121", "convnext_atto"])
def test_hidden_maps_are_the_stages_of_one_pass(name: str) -> None:
    model = Zoo(name=name).build(3, 64, 3).eval()
    images = torch.rand(2, 3, 64, 64)
    first_name, first = next((n, m) for n, m in model.backbone.named_modules() if isinstance(m, nn.Conv2d))  # type: ignore[union-attr, operator]
    counted = Counted(first)
    with torch.no_grad():
        expected = stages_by_hand(model.backbone, name, images * 2 - 1)  # type: ignore[arg-type]
        features = model.backbone(images * 2 - 1)  # type: ignore[operator]
        model.backbone.set_submodule(first_name, counted)  # type: ignore[union-attr, operator]
        prediction = model(images)
    assert counted.passes == 1
    assert torch.equal(prediction.features, features)
    assert [tuple(map_.shape[2:]) for map_ in prediction.hidden] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    for ours, theirs in zip(prediction.hidden, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_the_papers_three_have_their_stages() -> None:
    """Built without memory; their small siblings above stand for the pass itself."""
    for name, widths in (
        ("resnest101e", [256, 512, 1024, 2048]),
        ("resnet152", [256, 512, 1024, 2048]),
        ("densenet169", [256, 512, 1280, 1664]),
    ):
        with torch.device("meta"):
            model = Zoo(name=name).build(3, 64, 3)
        stages = [model.backbone.feature_info[i] for i in model.stages]  # type: ignore[union-attr, index]
        assert [stage["num_chs"] for stage in stages] == widths
        assert [stage["reduction"] for stage in stages] == [4, 8, 16, 32]


def test_hidden_maps_carry_gradients() -> None:
    model = Zoo(name="test_resnet").build(3, 64, 3)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    torch.stack([map_.square().mean() for map_ in model(images).hidden]).sum().backward()
    assert images.grad is not None
    assert images.grad.any()


def test_backbones_without_stages_have_no_hidden_maps() -> None:
    model = Zoo(name="test_vit").build(3, 64, 3).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        prediction = model(images)
        assert torch.equal(prediction.features, model.backbone(images * 2 - 1))  # type: ignore[operator]
    assert prediction.hidden == ()


def test_heads_with_a_hidden_layer() -> None:
    """Their width is the head's, not the last map's."""
    model = Zoo(name="mobilenetv3_small_050").build(3, 64, 3).eval()
    with torch.no_grad():
        prediction = model(torch.rand(2, 3, 64, 64))
    assert prediction.features.shape == (2, 1024)
    assert prediction.hidden[-1].shape == (2, 288, 2, 2)
    assert prediction.logits.shape == (2, 3)
