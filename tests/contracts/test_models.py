"""What every architecture promises. A member of MODELS is covered by being listed."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from helpers.faces import CPU
from trapmid.engine import randomness
from trapmid.models import IR152, MODELS, AnyModel, Classifier, ModelConfig, parse_model
from trapmid.types import UserError

SIZE, CLASSES = 32, 7  # the smallest size that every member takes

every_model = pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.model_fields["kind"].default)
every_class_of_network = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind is IR152 else ()) for kind in MODELS],  # a deeper FaceNet64
    ids=lambda kind: kind.model_fields["kind"].default,
)
any_model: TypeAdapter[ModelConfig] = TypeAdapter(AnyModel)


def fresh(kind: type[ModelConfig], channels: int = 3) -> Classifier:
    with randomness(channels, "weights"):  # the network for grey images has another seed
        return kind().build(CLASSES, SIZE, channels)


built = cache(fresh)  # VGG-16 takes a second


@cache
def twin(kind: type[ModelConfig]) -> Classifier:
    """The network of the same seed once more, placed on the CPU."""
    return CPU.place(fresh(kind)).eval()


@pytest.fixture(autouse=True, scope="module")
def forget() -> Iterator[None]:
    """A gigabyte of networks is not kept for the tests of other files."""
    yield
    built.cache_clear()
    twin.cache_clear()


@every_model
def test_json_round_trip(kind: type[ModelConfig]) -> None:
    config = kind()
    assert any_model.validate_json(config.model_dump_json()) == config
    assert config.paper
    assert kind.__doc__


@every_model
@pytest.mark.parametrize("channels", [1, 3])
def test_prediction_and_gradient(kind: type[ModelConfig], channels: int) -> None:
    model = built(kind, channels).eval()
    assert (model.num_classes, model.image_size, model.channels) == (CLASSES, SIZE, channels)
    images = torch.rand(3, channels, SIZE, SIZE, requires_grad=True)
    prediction = model(images)
    assert prediction.logits.shape == (3, CLASSES)
    assert prediction.features.ndim == 2
    assert len(prediction.features) == 3
    heads = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer.out_features == CLASSES]
    torch.testing.assert_close(prediction.logits, heads[-1](prediction.features))  # eval: no dropout between
    prediction.logits.logsumexp(1).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


@every_class_of_network
def test_same_seed_same_weights(kind: type[ModelConfig]) -> None:
    one, same, other = (net.state_dict() for net in (built(kind), twin(kind), built(kind, channels=1)))
    assert one.keys() == same.keys() == other.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    alike = [name for name in one if one[name].shape == other[name].shape]
    assert any(not torch.equal(one[name], other[name]) for name in alike)


@every_class_of_network
def test_weights_of_a_file(kind: type[ModelConfig], tmp_path: Path) -> None:
    model = built(kind)
    saved = model.state_dict()
    save_file(saved, tmp_path / "w")
    loaded = kind(weights=tmp_path / "w").build(CLASSES, SIZE, 3)
    assert loaded.notes == ()
    assert all(torch.equal(saved[name], value) for name, value in loaded.state_dict().items())
    other = kind(weights=tmp_path / "w").build(CLASSES + 1, SIZE, 3)
    assert other.notes == ("w has no fitting head: that part starts from random weights.",)
    fits = [name for name, value in other.state_dict().items() if value.shape == saved[name].shape]
    assert set(saved) - set(fits) == {"head.weight", "head.bias"}
    assert all(torch.equal(saved[name], other.state_dict()[name]) for name in fits)
    assert kind(weights=tmp_path / "w").without_pretraining() == kind()


@every_class_of_network
def test_placed_channels_last_it_is_the_same_network(kind: type[ModelConfig]) -> None:
    plain, placed = built(kind).eval(), twin(kind)
    convolutions = [weight for weight in placed.parameters() if weight.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)
    before, after = plain.state_dict(), placed.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    images = torch.rand(3, 3, SIZE, SIZE, dtype=torch.float64)  # 50 units add up the roundings of float32
    torch.testing.assert_close(placed.double()(images).logits, plain.double()(images).logits, rtol=1e-4, atol=1e-5)
    plain.float(), placed.float()


def test_kinds_are_parsed() -> None:
    for kind in MODELS:
        name = kind.model_fields["kind"].default
        text = "zoo:resnet18" if name == "zoo" else name
        assert parse_model(text) == kind()
    with pytest.raises(UserError, match=r"'resnet999' is not a model. Expected one of tiny, .*zoo:NAME"):
        parse_model("resnet999")
