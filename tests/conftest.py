"""Every xdist worker uses one thread, and the random state is the same before every test."""

from typing import TYPE_CHECKING

import pytest

import helpers.checked_types  # noqa: F401  before anything of trapmid is imported

if TYPE_CHECKING:
    from trapmid.data import ImageSet, Split


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def private() -> "Split":
    from helpers.faces import tiny_private

    return tiny_private()


@pytest.fixture
def public() -> "ImageSet":
    from helpers.faces import tiny_public

    return tiny_public()


@pytest.fixture
def every_period_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint at the end of every period. By the clock, tiny trainings would end before the first one."""
    monkeypatch.setattr("trapmid.engine.loop.CHECKPOINT_SECONDS", 0.0)
