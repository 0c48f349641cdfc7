"""Without an extra, what needs it ends in one sentence that names it, and everything else works."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trapmid.defenses import RoLSS
from trapmid.engine import Compute
from trapmid.metrics.inception import TorchvisionInception
from trapmid.models import VGG16, SmallResNet, Zoo
from trapmid.models.residual import residual_stages
from trapmid.reach import OnnxModel
from trapmid.subjects.timm_model import TimmModel
from trapmid.targets import WhiteBoxTarget
from trapmid.types import UserError


@pytest.fixture(autouse=True)
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("timm", "torchvision", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(
    ("what", "extra"),
    [
        (lambda: Zoo().build(5, 64, 3), r"zoo:resnet18 needs the package timm, .*\[zoo\]"),
        (
            lambda: TimmModel(path="timm:resnet18").load(WhiteBoxTarget),
            r"timm:resnet18 needs the package timm, .*\[zoo\]",
        ),
        (
            lambda: VGG16(pretrained=True).build(5, 64, 3),
            r"pretrained of vgg16 needs the package torchvision, .*\[zoo\]",
        ),
        (
            lambda: TorchvisionInception().build(Compute("cpu")),
            r"inception-torchvision needs .* torchvision, .*\[zoo\]",
        ),
        (lambda: OnnxModel(Path("model.onnx")), r"An ONNX file needs the package onnxruntime, .*\[onnx\]"),
    ],
    ids=["zoo", "timm", "vgg16", "inception", "onnx"],
)
def test_the_extra_is_named(what: Callable[[], object], extra: str) -> None:
    with pytest.raises(UserError, match=extra):
        what()


def test_own_networks_need_none() -> None:
    model = RoLSS().with_weak_skips(SmallResNet(width=8).build(5, 32, 3))
    assert torch.isfinite(model(torch.rand(2, 3, 32, 32)).logits).all()
    assert [len(stage) for stage in residual_stages(model)] == [1, 1, 1, 1]
    assert VGG16().build(5, 32, 3)(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)
