"""A bad batch is refused, and a training that skips it goes on as if there had been no such batch."""

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trapmid.defenses import MIDRE, Defended, Defense, NegLS, NoDefense, OnePass, Stacked, TrapMID
from trapmid.trapdoor import OnePassTrapdoor, Planter, Trapdoor
from trapmid.types import UserError

CLASSES, SHAPE = 4, (3, 8, 8)


def darkened(images: Tensor) -> Tensor:
    """A cheap augmentation that draws random numbers."""
    return images * (1 - 0.2 * torch.rand(len(images), 1, 1, 1))


OPTIONS: dict[str, Any] = {"num_classes": CLASSES, "image_shape": SHAPE, "seed": 3, "augment": darkened}
LENGTH: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 6, "batch_size": 5}
DROP_INS: list[Any] = [Trapdoor, OnePassTrapdoor, TrapMID(), OnePass(), NegLS(), MIDRE(), NoDefense(), Stacked()]
every_drop_in = pytest.mark.parametrize("kind", DROP_INS, ids=lambda kind: getattr(kind, "name", None) or kind.__name__)


class Network(nn.Sequential):
    """Batch norm and dropout: a forward pass in train mode changes statistics and draws random numbers.

    It can be made to fail.
    """

    def __init__(self, outputs: int = CLASSES) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.BatchNorm2d(6),
            nn.SiLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(96, outputs),
        )
        self.fails = False

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits * float("nan") if self.fails and self.training else logits


def join(kind: Any, outputs: int = CLASSES) -> tuple[Network, torch.optim.Optimizer, Planter | Defended]:
    model = Network(outputs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    if isinstance(kind, Defense):
        return model, optimizer, Defended(kind, model, optimizer, **OPTIONS, **LENGTH)
    return model, optimizer, kind(model, optimizer, total_steps=12, **OPTIONS)


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(1)
    return [(torch.rand(5, *SHAPE, generator=rng), torch.randint(CLASSES, (5,), generator=rng)) for _ in range(4)]


def spoilt(change: Callable[[Tensor, Tensor], None]) -> tuple[Tensor, Tensor]:
    images, labels = batches()[2]
    change(images, labels)
    return images, labels


def put(value: float) -> Callable[[Tensor, Tensor], None]:
    return lambda images, labels: images[3, 1, 2, :1].fill_(value) and None


SPOILT: dict[str, Callable[[Tensor, Tensor], None]] = {
    "nan pixel": put(float("nan")),
    "infinite pixel": put(float("inf")),
    "bad label": lambda images, labels: labels[:1].fill_(CLASSES) and None,
    "nan logits": lambda images, labels: None,
}


def looped(kind: Any, bad: str | None = None) -> tuple[list[float], dict[str, Any], dict[str, Any], int]:
    """Losses, states of drop-in and network, and how many batches were skipped of a loop with four good batches."""
    model, optimizer, drop_in = join(kind)
    losses, skipped = [], 0
    torch.manual_seed(7)
    for number, (images, labels) in enumerate(batches()):
        if number == 2 and bad is not None:
            model.fails = bad == "nan logits"
            try:
                drop_in.loss(*spoilt(SPOILT[bad]))
            except UserError:
                skipped += 1
            model.fails = False
        loss = drop_in.loss(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, drop_in.state_dict(), model.state_dict(), skipped


undisturbed = cache(looped)


@every_drop_in
@pytest.mark.parametrize("bad", SPOILT)
def test_a_loop_that_skips_a_bad_batch_goes_on_as_if_there_had_been_none(kind: Any, bad: str) -> None:
    losses, state, weights, skipped = looped(kind, bad)
    expected_losses, expected_state, expected_weights, none = undisturbed(kind)
    assert (skipped, none) == (1, 0)
    assert losses == expected_losses
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=0)
    same(state, expected_state)


def same(one: Any, other: Any) -> None:
    """Equal, but for what tells two trainings apart."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"training_id"}:
            same(one[key], other[key])
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


def test_a_discriminator_that_overflows_never_becomes_nan() -> None:
    """As in float16: its loss is not finite, the classifier's is."""
    _, _, door = join(Trapdoor)
    assert isinstance(door, Trapdoor)
    assert door.discriminator is not None
    before = copy.deepcopy(door.state_dict())
    overflow = door.discriminator.register_forward_hook(lambda module, inputs, output: output * float("inf"))
    with pytest.raises(UserError, match=r"not finite \(in the discriminator\)\. Nothing has changed: skip the batch"):
        door.loss(*batches()[0])
    overflow.remove()
    same(door.state_dict(), before)
    door.loss(*batches()[0])
    assert not torch.equal(door.triggers, before["triggers"])
    assert all(weight.isfinite().all() for weight in door.discriminator.parameters())


@every_drop_in
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: (255 * x, y), r"pixels from \d+\.\d\d to 25\d\.\d\d; expected images in \[0, 1\]"),
        (lambda x, y: (x - 0.5, y), r"pixels from -0\.\d\d to 0\.\d\d"),
        (lambda x, y: ((255 * x).to(torch.uint8), y), r"type torch\.uint8; expected floating point in \[0, 1\]"),
        (lambda x, y: (x[:, :1], y), r"shape \(5, 1, 8, 8\); expected \(n, 3, 8, 8\)"),
        (lambda x, y: (x[0], y), r"shape \(3, 8, 8\); expected"),
        (lambda x, y: (x[:0], y[:0]), "a batch without images"),
        (lambda x, y: (x, y[:3]), r"labels of shape \(3,\) for 5 images"),
        (lambda x, y: (x, y.float()), r"labels of type torch\.float32; expected class numbers of type torch\.int64"),
        (lambda x, y: (x, y + 1 - y.min() + CLASSES), r"labels from 5 to \d; expected 0 to 3, .* num_classes=4"),
        (lambda x, y: (x, y - 1 - y.max()), r"labels from -\d to -1; expected 0 to 3"),
    ],
)
def test_what_is_no_batch_of_this_training_is_refused_in_every_step(
    kind: Any, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], told: str
) -> None:
    _, _, drop_in = join(kind)
    for images, labels in batches()[:2]:
        with pytest.raises(UserError, match=told):
            drop_in.loss(*change(images, labels))
        drop_in.loss(images, labels)


@every_drop_in
@pytest.mark.parametrize("outputs", [CLASSES - 1, CLASSES + 1])
def test_a_classifier_with_another_number_of_outputs_is_refused(kind: Any, outputs: int) -> None:
    _, _, drop_in = join(kind, outputs)
    before = copy.deepcopy(drop_in.state_dict())
    with pytest.raises(
        UserError, match=rf"^The classifier returned logits of shape \(\d+, {outputs}\); expected \(n, 4\)"
    ):
        drop_in.loss(*batches()[0])
    same(drop_in.state_dict(), before)


@pytest.mark.parametrize("kind", [TrapMID(), OnePass()], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("drop_in", ["defended", "trapdoor"])
def test_a_state_of_another_training_replaces_nothing(kind: TrapMID | OnePass, drop_in: str) -> None:
    def built(classes: int, side: int, width: int) -> tuple[Any, dict[str, Any]]:
        model = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.Flatten(), nn.Linear(width * side * side // 4, classes))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        shape: dict[str, Any] = {"num_classes": classes, "image_shape": (3, side, side), "augment": darkened}
        if drop_in == "defended":
            found: Any = Defended(kind, model, optimizer, **shape, **LENGTH)
        else:
            found = kind.planter()(model, optimizer, total_steps=12, settings=kind, **shape)
        found.loss(torch.rand(5, 3, side, side), torch.arange(5) % classes)
        return found, found.state_dict()

    here, own = built(4, 8, 6)
    before = copy.deepcopy(own)
    for other in ((5, 8, 6), (4, 16, 6), (4, 8, 12)):  # triggers of other number and size; another discriminator
        with pytest.raises(
            UserError, match=r"^This is (not )?the state of a.* as it was built when the state was saved"
        ):
            here.load_state_dict(built(*other)[1])
        same(here.state_dict(), before)
    for broken in ({}, {name: value for name, value in own.items() if name != "step"} | {"steps": "x"}):
        broken.pop("trapdoor", None)
        with pytest.raises(UserError, match=r"^This is (not )?the state of a"):
            here.load_state_dict(broken)
        same(here.state_dict(), before)
    here.load_state_dict(before)
    same(here.state_dict(), before)


@pytest.mark.parametrize(
    "numbers", [{"total_steps": 0}, {"total_steps": -1}, {"num_classes": 1}, {"image_shape": (0, 8, 8)}], ids=str
)
def test_numbers_that_make_no_trapdoor(numbers: dict[str, Any]) -> None:
    model = Network()
    told = re.escape("=".join(str(part) for part in next(iter(numbers.items()))))
    with pytest.raises(UserError, match=rf"^A trapdoor got .*{told}.* Expected at least one step"):
        Trapdoor(model, torch.optim.SGD(model.parameters(), 0.1), **{**OPTIONS, "total_steps": 12, **numbers})


@pytest.mark.parametrize(
    "numbers",
    [{"epochs": 0}, {"steps_per_epoch": -1}, {"batch_size": 0}, {"num_classes": 0}, {"mean": (0.5,)}],
    ids=str,
)
@pytest.mark.parametrize("defense", [NegLS(), TrapMID()], ids=lambda defense: defense.kind)
def test_numbers_that_make_no_training(defense: Defense, numbers: dict[str, Any]) -> None:
    model = Network()
    with pytest.raises(UserError, match=r"^Defended got .* ?[Ee]xpected"):
        Defended(defense, model, torch.optim.SGD(model.parameters(), 0.1), **{**OPTIONS, **LENGTH, **numbers})


@pytest.mark.parametrize(
    "kind", [Trapdoor, OnePassTrapdoor, TrapMID()], ids=["Trapdoor", "OnePassTrapdoor", "Defended"]
)
def test_a_gradient_scaler_that_finds_infinities_skips_a_step_and_the_discriminator_stays_finite(kind: Any) -> None:
    model, optimizer, drop_in = join(kind)
    scaler = torch.amp.GradScaler("cpu", init_scale=3e38)
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    skipped = []
    for images, labels in batches() * 3:
        before = [weight.clone() for weight in model.parameters()]
        optimizer.zero_grad()
        scaler.scale(1e3 * drop_in.loss(images, labels)).backward()
        scaler.step(optimizer)
        scaler.update()
        skipped.append(all(map(torch.equal, before, model.parameters())))
    assert skipped[0]
    assert not skipped[-1]
    assert any(not torch.equal(weight, weights[name]) for name, weight in model.named_parameters())
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert all(tensor.isfinite().all() for tensor in floats(drop_in.state_dict()))


def floats(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state] if state.is_floating_point() else []
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for part in parts for tensor in floats(part)]
