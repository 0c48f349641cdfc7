"""Two processes with half of a batch each take the same steps as one process with all of it."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.two_processes import CASES, seen_by, trained
from trapmid import Trapdoor
from trapmid.together import average, gather
from trapmid.trapdoor import SECRETS
from trapmid.types import UserError

TESTS = Path(__file__).parent.parent
HALF_WAY = ("trapmid", "onepass", "anonymous")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes have seen, which run once for all tests. The first one is this process."""
    folder = tmp_path_factory.mktemp("two")
    half_way = {name: trained(CASES[name], 0, 1, steps=range(2)) for name in HALF_WAY}
    torch.save(half_way, folder / "half.pt")
    command = [sys.executable, "-W", "ignore", "-m", "helpers.two_processes", str(folder)]
    second = subprocess.Popen(command, cwd=TESTS, stderr=subprocess.PIPE, text=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = seen_by(0, folder, half_way)
    finally:
        said = second.communicate(timeout=300)[1]
    assert second.returncode == 0, said
    return [first, torch.load(folder / "seen.pt", weights_only=True)]


def tensors(state: Any) -> list[Tensor]:
    """Every floating-point tensor of a state, in order."""
    if isinstance(state, Tensor):
        return [state] if state.is_floating_point() else []
    if isinstance(state, dict):
        return [found for value in state.values() for found in tensors(value)]
    return [found for value in state for found in tensors(value)] if isinstance(state, list | tuple) else []


def assert_same(one: Any, other: Any) -> None:
    assert len(tensors(one)) == len(tensors(other)) > 3
    for first, second in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", list(CASES))
def test_two_processes_take_the_steps_of_one(name: str, seen: list[dict[str, Any]]) -> None:
    single = trained(CASES[name], 0, 1)
    for one in seen:
        assert_same(one["states"][name], single)
    if "trapdoor" in single["defense"]:
        assert torch.equal(
            seen[0]["states"][name]["defense"]["trapdoor"]["triggers"], single["defense"]["trapdoor"]["triggers"]
        )
        ids = {one["states"][name]["defense"]["trapdoor"]["training_id"] for one in seen}
        assert len(ids) == 1


@pytest.mark.parametrize("name", HALF_WAY)
def test_a_checkpoint_goes_on_in_another_number_of_processes(name: str, seen: list[dict[str, Any]]) -> None:
    whole = trained(CASES[name], 0, 1, resume=trained(CASES[name], 0, 1, steps=range(2)), steps=range(2, 4))
    assert_same(seen[0]["ended"][name], whole)
    assert_same(trained(CASES[name], 0, 1, resume=seen[0]["halves"][name], steps=range(2, 4)), whole)


def test_what_one_process_refuses_all_refuse(seen: list[dict[str, Any]]) -> None:
    assert "Process 1 refused its batch" in seen[0]["checks"]["one broken"]
    assert "pixels that are not finite" in seen[1]["checks"]["one broken"]
    assert [one["checks"]["step"] for one in seen] == [0, 0]


def test_the_first_process_writes_the_secrets(seen: list[dict[str, Any]]) -> None:
    assert [one["checks"]["secrets"] for one in seen] == [
        [f"secrets-0/{SECRETS}", True],
        [f"secrets-1/{SECRETS}", False],
    ]


def test_mistakes_are_told(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert "nobody averages their gradients" in one["checks"]["not averaged"]
        assert "trapmid.train starts its own processes, and 2 train together" in one["checks"]["train"]
        assert "another classifier" in one["checks"]["other"]


class FullyShardedDataParallel(nn.Sequential):
    """A stand-in by name: the real one needs a process group and an accelerator to be built."""


def test_sharded_weights_are_refused() -> None:
    model = FullyShardedDataParallel(nn.Flatten(), nn.Linear(12, 5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UserError, match=r"spread over several processes \(FSDP\)"):
        Trapdoor(model, optimizer, num_classes=5, image_shape=(3, 2, 2), total_steps=1)


def test_one_process_needs_no_group() -> None:
    rows = torch.rand(3, 2)
    kept = rows.clone()
    average([rows])
    assert torch.equal(rows, kept)
    assert gather(rows) is rows
