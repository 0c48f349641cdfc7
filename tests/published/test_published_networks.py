"""First weights, input sizes and ranges of networks, and which of their layers two defenses touch."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trapmid.defenses import TL, RoLSS
from trapmid.engine import randomness
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import IR152, FaceNet64, SmallResNet, Zoo
from trapmid.models.residual import dense_stages, residual_stages
from trapmid.types import UserError


@pytest.fixture(scope="module")
def facenet() -> nn.Module:
    with randomness(0, "facenet"):
        return FaceNet64().build(3, 64, 3)


def test_ir_convolutions_start_with_xavier_and_the_rest_as_torch_does(facenet: nn.Module) -> None:
    for name, layer in facenet.named_modules():
        if isinstance(layer, nn.Conv2d):
            field = layer.kernel_size[0] * layer.kernel_size[1]
            bound = math.sqrt(6 / ((layer.in_channels + layer.out_channels) * field))
            assert 0.9 * bound < float(layer.weight.abs().max()) <= bound * (1 + 1e-6), name
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            assert 0.9 * bound < float(layer.weight.abs().max()) <= bound * (1 + 1e-6), name
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            assert (layer.weight == 1).all(), name
            assert (layer.bias == 0).all(), name


def test_the_papers_judge_is_an_ir_50_for_112_px_that_sees_images_of_64() -> None:
    network = FaceNet64(input_size=112).build(3, 64, 3).eval()
    assert network.get_submodule("output_layer.3").in_features == 512 * 7 * 7
    images = torch.rand(2, 3, 64, 64)
    large = F.interpolate(images, size=(112, 112), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(network(images).logits, network(large).logits)


def test_a_backbone_can_be_shown_larger_images_in_the_range_of_its_authors() -> None:
    with randomness(0, "zoo"):
        network = Zoo(name="resnet18", input_size=64, pixels="unit").build(3, 32, 3).eval()
    images = torch.rand(2, 3, 32, 32)
    large = F.interpolate(images, size=(64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(network(images).features, network.backbone(large))
        network.symmetric = True
        torch.testing.assert_close(network(images).features, network.backbone(large * 2 - 1))


def test_lokts_surrogates_flatten_the_last_map() -> None:
    network = Zoo(name="densenet121", pooling="none").build(3, 64, 3).eval()
    with torch.no_grad():
        seen = network(torch.rand(1, 3, 64, 64))
    assert seen.features.shape == (1, 1024 * 2 * 2)


def frozen_layers(network: nn.Module) -> set[str]:
    return {
        name
        for name, layer in network.named_modules()
        if any(True for _ in layer.parameters(recurse=False))
        and not any(p.requires_grad for p in layer.parameters(recurse=False))
    }


def test_tl_freezes_six_units_of_24_and_leaves_the_stem(facenet: nn.Module) -> None:
    with randomness(0, "tl"):
        network = TL().freeze(FaceNet64().build(3, 32, 3))
    frozen = frozen_layers(network)
    assert {name.split(".")[1] for name in frozen} == set(map(str, range(6)))
    assert all(name.startswith("body.") for name in frozen)
    assert all(p.requires_grad for p in network.input_layer.parameters())
    norm = network.get_submodule("body.0.res_layer.0")
    before = norm.running_mean.clone()
    network.train()(torch.rand(4, 3, 32, 32))
    assert not torch.equal(before, norm.running_mean)  # statistics move


@pytest.mark.slow
def test_tl_freezes_47_units_of_50() -> None:
    with torch.device("meta"):
        network = TL().freeze(IR152().build(3, 32, 3))
    assert {int(name.split(".")[1]) for name in frozen_layers(network)} == set(range(47))


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("resnet18", [1, 1, 1, 0.6]),
        ("resnet34", [1, 1, 1, 0]),
        ("resnet50", [1, 1, 1, 0]),
        ("convnext_tiny", [0, 0, 1, 1]),
    ],
)
def test_rolss_scales_the_published_stages(name: str, factors: list[float]) -> None:
    """out = F(x) + factor * skip(x): where the block computes nothing, the factor of the skip is left."""
    with randomness(0, name):
        network = Zoo(name=name).build(3, 32, 3).eval()
    stages = residual_stages(network)
    plain = [[_skip(block) for block in stage] for stage in stages]
    RoLSS().with_weak_skips(network)
    for stage, kept, factor in zip(stages, plain, factors, strict=True):
        for block, skip in zip(stage, kept, strict=True):
            x = torch.rand(1, _channels(block), 4, 4)
            with torch.no_grad():
                before, after = skip(x), _skip(block)(x)
            torch.testing.assert_close(after.expand_as(before), factor * before)


def _skip(block: nn.Module) -> nn.Module:
    found = block.shortcut if hasattr(block, "shortcut") else block.downsample
    return nn.Identity() if found is None else found  # type: ignore[return-value]


def _channels(block: nn.Module) -> int:
    return next(layer.in_channels for layer in block.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(("name", "stage"), [("densenet121", 1), ("densenet169", 0)])
def test_rolss_gives_layers_of_a_dense_block_only_the_map_before(name: str, stage: int) -> None:
    with randomness(0, name):
        network = Zoo(name=name).build(3, 32, 3).eval()
    RoLSS().with_weak_skips(network)
    for number, (block, reader) in enumerate(dense_stages(network)):
        layers = list(block.children())
        scaled = hasattr(layers[1].norm1, "kept")
        assert scaled == (number == stage)
        if not scaled:
            continue
        growth, first = layers[0].conv2.out_channels, layers[0].conv1.in_channels
        for place, layer in enumerate(layers):
            kept = layer.norm1.kept.flatten()
            assert len(kept) == first + place * growth
            new = first if place == 0 else growth
            assert kept[-new:].all()
            assert not kept[:-new].any()
        assert int(reader.norm.kept.sum()) == growth
    assert network(torch.rand(2, 3, 32, 32)).logits.isfinite().all()


def test_rolss_of_a_share_keeps_the_first_channels() -> None:
    with randomness(0, "dense"):
        network = Zoo(name="densenet121").build(3, 32, 3).eval()
    RoLSS(factors=(0.5, 1, 1, 1)).with_weak_skips(network)
    layers = list(dense_stages(network)[0][0].children())
    kept = layers[2].norm1.kept.flatten().tolist()  # the input of 64 channels, then two maps of 32
    assert kept == [True] * 32 + [False] * 32 + [True] * 16 + [False] * 16 + [True] * 32


def test_rolss_refuses_networks_whose_skips_it_does_not_know() -> None:
    with pytest.raises(UserError, match="has 0 with skip connections that it can weaken"):
        RoLSS().with_weak_skips(Zoo(name="vit_tiny_patch16_224").build(2, 32, 3))


def test_two_input_sizes_are_two_architectures_and_two_starts_are_one() -> None:
    assert FaceNet64(convolutions="torch").without_pretraining() == FaceNet64().without_pretraining()
    assert FaceNet64(input_size=112).without_pretraining() != FaceNet64().without_pretraining()
    assert EvaluationClassifier.model_fields["model"].is_required()
    assert len(residual_stages(SmallResNet(width=8).build(2, 32, 3))) == 4
