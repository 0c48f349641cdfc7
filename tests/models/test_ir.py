"""FaceNet64 and IR-152 (Trap-MID, App. C.3): sizes counted by hand, and a forward pass written out again."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.models import IR152, FaceNet64, ModelConfig

UNITS = {FaceNet64: (3, 4, 14, 3), IR152: (3, 8, 36, 3)}
CLASSES = 10

every_depth = pytest.mark.parametrize("kind", UNITS, ids=lambda kind: kind.model_fields["kind"].default)


def on_meta(kind: type[ModelConfig], size: int = 64, classes: int = CLASSES) -> nn.Module:
    with torch.device("meta"):
        return kind().build(classes, size, 3).eval()


def weights_by_hand(units: tuple[int, ...], size: int, classes: int) -> int:
    """Scale and shift for each norm, one slope a channel for each PReLU, no biases but the two linear layers'."""

    def norm(width: int) -> int:
        return 2 * width

    total = 3 * 64 * 9 + norm(64) + 64
    before = 64
    for width, count in zip((64, 128, 256, 512), units, strict=True):
        for _ in range(count):
            total += norm(before) + before * width * 9 + width + width * width * 9 + norm(width)
            if before != width:
                total += before * width + norm(width)
            before = width
    side = size // 16
    return total + norm(512) + 512 * side**2 * 512 + 512 + norm(512) + 512 * classes + classes


@every_depth
@pytest.mark.parametrize("size", [64, 112])
def test_weights_are_as_many_as_the_reference_says(kind: type[ModelConfig], size: int) -> None:
    counted = sum(parameter.numel() for parameter in on_meta(kind, size).parameters())
    assert counted == weights_by_hand(UNITS[kind], size, CLASSES)


def test_ir50_has_the_43_57_million_weights_of_face_evolve() -> None:
    model = on_meta(FaceNet64, 112, classes=1)
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head.")) == 43_574_976


@every_depth
@pytest.mark.parametrize(("size", "sides"), [(64, (32, 16, 8, 4)), (50, (25, 13, 7, 4))])
def test_shapes(kind: type[ModelConfig], size: int, sides: tuple[int, ...]) -> None:
    with torch.no_grad():
        prediction = kind().build(CLASSES, size, 3).eval()(torch.rand(2, 3, size, size))
    maps = [(2, width, side, side) for width, side in zip((64, 128, 256, 512), sides, strict=True)]
    assert [tuple(hidden.shape) for hidden in prediction.hidden] == maps
    assert prediction.features.shape == (2, 512)
    assert prediction.logits.shape == (2, CLASSES)


def forward_by_hand(state: dict[str, Tensor], units: tuple[int, ...], images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The network of Trap-MID, App. C.3, in functional calls: the map of each stage, and the embedding."""

    def norm(x: Tensor, name: str) -> Tensor:
        get = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *get)

    x = F.conv2d(images, state["input_layer.0.weight"], padding=1)
    x = F.prelu(norm(x, "input_layer.1"), state["input_layer.2.weight"])
    maps, number = [], 0
    for count in units:
        for i in range(count):
            stride, unit = (2 if i == 0 else 1), f"body.{number}"
            y = F.conv2d(norm(x, f"{unit}.res_layer.0"), state[f"{unit}.res_layer.1.weight"], padding=1)
            y = F.prelu(y, state[f"{unit}.res_layer.2.weight"])
            y = F.conv2d(y, state[f"{unit}.res_layer.3.weight"], stride=stride, padding=1)
            y = norm(y, f"{unit}.res_layer.4")
            if y.shape[1] == x.shape[1]:
                x = y + x[:, :, ::stride, ::stride]
            else:
                skipped = F.conv2d(x, state[f"{unit}.shortcut.0.weight"], stride=stride)
                x = y + norm(skipped, f"{unit}.shortcut.1")
            number += 1
        maps.append(x)
    embedded = norm(x, "output_layer.0").flatten(1)
    embedded = F.linear(embedded, state["output_layer.3.weight"], state["output_layer.3.bias"])
    return maps, norm(embedded, "output_layer.4")


def test_forward_is_the_reference_written_out_and_inputs_are_not_normalised() -> None:
    model = FaceNet64().build(CLASSES, 32, 3)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        prediction = model.eval()(images)
        maps, features = forward_by_hand(dict(model.state_dict()), UNITS[FaceNet64], images)
    for ours, expected in zip(prediction.hidden, maps, strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(prediction.features, features)
    torch.testing.assert_close(prediction.logits, model.head(features))  # type: ignore[operator]


def test_half_of_the_last_map_is_dropped_in_training() -> None:
    layers = list(on_meta(FaceNet64).output_layer)  # type: ignore[arg-type]
    assert [type(layer) for layer in layers] == [nn.BatchNorm2d, nn.Dropout, nn.Flatten, nn.Linear, nn.BatchNorm1d]
    assert layers[1].p == 0.5
