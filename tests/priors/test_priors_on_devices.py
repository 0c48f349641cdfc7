"""Priors that two processes train together are those that one process trains on the same batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers_attacks import CLASSES, CPU, TINY_GAN, KillAt, Killed, faces
from helpers_attacks.precise import CASES, PERIOD, every_case, setting_of
from trapmid.engine import Compute, no_progress, run_together
from trapmid.priors import GAN, PriorTraining
from trapmid.priors.fitting import fitted
from trapmid.targets import Budget
from trapmid.types import Images, Labels, UserError

TWO = Compute("cpu", devices=2)


@pytest.fixture(autouse=True)
def _single_precision_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def together() -> dict[str, Any]:
    """What two processes end with, which run once for all tests."""
    return run_together(every_case, compute=TWO, progress=no_progress)


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process ends with."""
    return every_case(compute=CPU, progress=no_progress)


def tensors(state: Any, name: str = "") -> dict[str, Tensor]:
    """The floating-point tensors of a state by name."""
    if isinstance(state, Tensor):
        return {name: state} if state.is_floating_point() else {}
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {at: value for key, part in parts for at, value in tensors(part, f"{name}/{key}").items()}


def assert_same(one: Any, other: Any) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert len(first) > 3
    for name, value in first.items():
        if not name.endswith("minibatch.company"):  # which has the same images in another order
            torch.testing.assert_close(second[name], value, rtol=1e-9, atol=1e-11, msg=name)


def assert_same_rows(rows: list[dict[str, float]], others: list[dict[str, float]]) -> None:
    assert len(rows) == len(others) > 1
    for row, other in zip(rows, others, strict=True):
        assert {**row, "seconds": 0.0} == pytest.approx({**other, "seconds": 0.0}, rel=1e-9, abs=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_trains(name: str, alone: dict[str, Any], together: dict[str, Any]) -> None:
    assert_same(alone[name]["state"], together[name]["state"])
    assert_same_rows(alone[name]["rows"], together[name]["rows"])
    asked = alone[name]["state"]["target"]["queries"]
    assert asked == together[name]["state"]["target"]["queries"]
    assert (asked > 0) == (name in ("cgan", "tacgan"))


def trained(compute: Compute, folder: Path | None = None, **more: Any) -> tuple[GAN, int]:
    """The conditional GAN, and how many images its training has shown to the target."""
    begin, setting = setting_of("cgan", compute, folder, **more)
    gan = fitted(begin, setting)
    return gan, setting.also["target"].queries  # type: ignore[attr-defined]


def assert_same_gan(one: tuple[GAN, int], other: tuple[GAN, int]) -> None:
    for name, network in one[0].networks.items():
        assert_same(network.state_dict(), other[0].networks[name].state_dict())
    assert_same_rows(one[0].rows, other[0].rows)
    assert one[1] == other[1] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_a_training_goes_on_in_another_number_of_processes(tmp_path: Path) -> None:
    whole = trained(CPU)
    with pytest.raises(Killed):
        trained(CPU, tmp_path / "one-first", progress=KillAt("prior", PERIOD + 1))
    budget = Budget(10_000, tmp_path / "shown")
    assert_same_gan(whole, trained(TWO, tmp_path / "one-first", budget=budget))
    assert Budget(1, tmp_path / "shown").shown == whole[1] / 2  # of the second half

    trained(TWO, tmp_path / "two-first", steps=PERIOD)
    assert_same_gan(whole, trained(CPU, tmp_path / "two-first"))


@pytest.mark.slow
def test_the_budget_of_a_target_ends_all_processes(tmp_path: Path) -> None:
    size = TINY_GAN.batch_size
    with pytest.raises(UserError, match=f"The query budget of {2 * size + 1} images is spent: {2 * size} were shown"):
        trained(TWO, budget=Budget(2 * size + 1, tmp_path / "shown"))
    assert Budget(1, tmp_path / "shown").shown == 2 * size


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UserError, match="--devices 3 cannot share batches of 8 images equally"):
        trained(Compute("cpu", devices=3))
    with pytest.raises(UserError, match="A budget that counts in memory cannot be shared with other processes"):
        trained(TWO, budget=Budget(100))

    def guidance(images: Images, labels: Labels) -> Tensor:
        return images.mean() + 0 * labels.sum()

    with pytest.raises(UserError, match=r"a part of it cannot be sent to them: .*Leave out --devices"):
        TINY_GAN.fit(PriorTraining(faces(6, 4), CLASSES, 0, TWO), guidance=guidance)
