"""Defenses that change the network before it is trained: frozen layers, removed skip connections."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.faces import CPU, TINY, quick_training, tiny_private
from helpers.settings import context_for, network_of
from trapmid.defenses import TL, RoLSS, open_model, train
from trapmid.models import VGG16, FaceNet64, SmallResNet, Zoo
from trapmid.models.residual import residual_stages
from trapmid.types import UserError


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    defense = TL(statistics="frozen")
    untrained = network_of(defense, TINY.build(5, 32, 3)).state_dict()
    for epochs in (1, 2):
        manifest = train(
            tmp_path / str(epochs),
            tiny_private(),
            model=TINY,
            defense=defense,
            training=quick_training(epochs),
            compute=CPU,
        )
        assert manifest.facts["frozen_layers"] == ["body.0", "body.3"]
        assert any("not pretrained" in warning for warning in manifest.facts["warnings"])
    one, two = (open_model(tmp_path / name, CPU).classifier.state_dict() for name in ("1", "2"))
    assert one.keys() == untrained.keys()
    moved = {name.rpartition(".")[0] for name in one if not torch.equal(one[name], two[name])}
    assert moved == {"body.6", "body.7", "head"}  # neither the frozen convolutions nor the batch norms after them


def test_of_vgg16_it_trains_as_many_parameters_as_published() -> None:
    net = VGG16().build(1000, 64, 3)
    total = sum(p.numel() for p in net.parameters())
    network_of(TL(), net)
    assert total / 1e6 == pytest.approx(16.8, abs=0.05)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6 == pytest.approx(13.9, abs=0.05)
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.requires_grad for layer in convolutions] == [False] * 8 + [True] * 5


def test_random_weights_of_either_kind_are_told() -> None:
    context = replace(context_for(TL()), architecture=FaceNet64(convolutions="torch"))
    assert any("not pretrained" in warning for warning in TL().findings(context, {}).warnings)


def test_nothing_to_freeze() -> None:
    with pytest.raises(UserError, match=r"the first layer of TinyNet has more than 1% of its 8,6\d\d parameters"):
        network_of(TL(share=0.01), TINY.build(5, 32, 3))


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (SmallResNet(width=8), [1, 1, 1, 1]),
        (Zoo(name="resnet18"), [2, 2, 2, 2]),
        (Zoo(name="resnet50"), [3, 4, 6, 3]),
        (Zoo(name="resnest14d"), [1, 1, 1, 1]),
    ],
)
def test_stages_and_what_is_left_without_skips(network: SmallResNet | Zoo, blocks: list[int]) -> None:
    net = network.build(5, 32, 3).eval()
    assert [len(stage) for stage in residual_stages(net)] == blocks
    seen: dict[str, torch.Tensor] = {}
    network_of(RoLSS(stages=2), net)
    for name, stage in (("kept", -3), ("removed", -2)):
        residual_stages_before = _blocks(net, blocks, stage)
        for block in residual_stages_before:
            _silence(block)
            block.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    net(torch.rand(2, 3, 32, 32))
    assert seen["kept"].any()  # its skip still carries the image
    assert not seen["removed"].any()


def _blocks(net: nn.Module, blocks: list[int], stage: int) -> list[nn.Module]:
    found = [block for stage in residual_stages(net) for block in stage]
    start = sum(blocks[:stage])
    return found[start : start + blocks[stage]]


def _silence(block: nn.Module) -> None:
    """Make a block's own computation zero."""
    last = [layer for layer in block.children() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


def test_networks_without_skips() -> None:
    with pytest.raises(
        UserError, match=r"TinyNet has 0 with skip connections that it can weaken\. Use a residual network"
    ):
        network_of(RoLSS(), TINY.build(5, 32, 3))
    with pytest.raises(UserError, match=r"of 5 stage\(s\); SmallResNetwork has 4"):
        network_of(RoLSS(stages=5), SmallResNet().build(5, 32, 3))
