"""SIGTERM: a loop writes a checkpoint after the running step, and goes on from there to the same numbers."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers.runs import without_seconds
from trapmid.engine import LATEST, Compute, Loop, load_checkpoint
from trapmid.termination import Terminated, end_on, postponed
from trapmid.types import UserError


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    end_on(signal.SIGTERM)
    yield
    end_on(signal.SIGTERM)  # forgets the signal that came
    signal.signal(signal.SIGTERM, before)


def walk(folder: Path | None, terminated_in: int | None = None, diverged: bool = False) -> tuple[Loop, nn.Linear]:
    """Ten steps with a row of the log after every fourth, and SIGTERM in the middle of one of them."""
    net = nn.Linear(1, 1)
    nn.init.zeros_(net.weight)

    def step(number: int) -> Mapping[str, Tensor]:
        with torch.no_grad():
            net.weight += torch.randn(1)
        if number == terminated_in:
            os.kill(os.getpid(), signal.SIGTERM)
        with torch.no_grad():
            net.weight += torch.randn(1)
        return {"loss": net.weight.sum() / (0 if diverged else 1), "even": torch.tensor(float(number))}

    loop = Loop("walk", 10, 0, Compute("cpu"), {"net": net}, folder, period=4)
    loop.run(step)
    return loop, net


@pytest.mark.parametrize("step", [0, 1, 3, 5, 9])
def test_a_loop_goes_on_from_the_step_that_was_running(step: int, tmp_path: Path) -> None:
    expected, net = walk(tmp_path / "undisturbed")
    with pytest.raises(Terminated) as raised:
        walk(tmp_path / "ended", terminated_in=step)
    assert raised.value.saved
    assert load_checkpoint(tmp_path / "ended" / LATEST, {"net": nn.Linear(1, 1)})[0] == step + 1
    end_on(signal.SIGTERM)
    resumed, again = walk(tmp_path / "ended")
    assert without_seconds(resumed.rows) == without_seconds(expected.rows)
    assert torch.equal(again.weight, net.weight)


def test_what_diverged_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Terminated) as raised:
        walk(tmp_path, terminated_in=1, diverged=True)
    assert isinstance(raised.value.__context__, UserError)
    assert not raised.value.saved
    assert not (tmp_path / LATEST).exists()


def test_without_a_checkpoint_to_write_the_end_comes_at_once() -> None:
    with pytest.raises(Terminated):
        walk(None, terminated_in=3)
    end_on(signal.SIGTERM)
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_signal_does_not_interrupt_the_end() -> None:
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_outermost_block_ends_the_process() -> None:
    left = []

    def nested() -> None:
        with postponed() as outer:
            with postponed() as inner:
                os.kill(os.getpid(), signal.SIGTERM)
                assert inner()
            assert outer()
            left.append("inner")

    with pytest.raises(Terminated):
        nested()
    assert left == ["inner"]
