"""The benchmark runs in quick mode, one group by default and all of them in the slow tests.

No test depends on how fast anything is.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import GROUPS, Measurement, run
from benchmarks.__main__ import command
from benchmarks.selection import queue_top_n
from benchmarks.timing import Bench, Comparison
from trapmid.attacks.search import top_n
from trapmid.defenses import NoDefense
from trapmid.engine import Compute, randomness
from trapmid.recipes import choose_recipe
from trapmid.types import UserError


@pytest.fixture(scope="module")
def seen() -> list[tuple[int, int | None]]:
    return []


@pytest.fixture(scope="module")
def measurements(seen: list[tuple[int, int | None]]) -> list[Measurement]:
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    found = run(quick=True, progress=lambda task, done, total, note: seen.append((done, total)))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)
    return found


@pytest.mark.slow
def test_measures_everything_the_docs_speak_of(measurements: list[Measurement]) -> None:
    steps = {
        f"{what}-{model}"
        for what in ("trapmid-step", "onepass-step", "anonymous-step", "trigger-gradient")
        for model in ("tiny", "vgg16")
    }
    shares = {f"share-{part}" for part in ("discriminator", "trigger", "augmentation", "model")}
    formats = {f"{what}-{net}" for what in ("channels-last", "bf16") for net in ("tiny", "trapmid", "gan")}
    orders = {f"order-{attack}" for attack in ("gmi", "kedmi", "plgmi", "brep", "ppa")}
    orders |= {"whole-gmi", "whole-plgmi"}
    hot = {f"hot-{path}" for path in ("trapdoor", "onepass", "gan", "search", "augmentation", "top-n", "distance")}
    others = {"frozen-weights", "top-n", "soft-labels", "warp-forward", "warp-backward", "memory-plgmi", "memory-ppa"}
    defenses = choose_recipe("defenses-cpu").defenses
    trainings = {f"training-{defense.name}" for defense in defenses if not isinstance(defense, NoDefense)}
    names = [m.name for m in measurements]
    watching = {"watch-tiny", "watch-tiny-single", "watch-vgg16"}
    assert set(names) == steps | shares | formats | orders | others | watching | trainings | hot
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_numbers_are_positive_and_told_apart(measurements: list[Measurement]) -> None:
    for m in measurements:
        assert m.baseline > 0
        assert m.value > 0
        assert math.isfinite(m.ratio)
        assert m.ratio > 0
        assert "->" in m.what
        assert m.unit == ("MiB" if m.name.startswith("memory") else "s")


@pytest.mark.slow
def test_progress_reaches_its_end(measurements: list[Measurement], seen: list[tuple[int, int | None]]) -> None:
    counts = [done for done, _ in seen]
    assert counts == sorted(counts)
    assert set(counts) == set(range(len(GROUPS) + 1))
    assert {total for _, total in seen} == {len(GROUPS)}


@pytest.mark.slow
def test_searches_keep_to_their_memory(measurements: list[Measurement]) -> None:
    for m in measurements:
        assert m.unit == "s" or 50 < m.value < m.baseline


def test_the_command_measures_some_groups(tmp_path: Path) -> None:
    file = tmp_path / "new" / "numbers.json"
    command(quick=True, only=("augmentation",), json_file=file)
    assert {one["name"] for one in json.loads(file.read_text())} == {"warp-forward", "warp-backward"}


def test_a_group_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"--only speed: there is no such group. Expected some of steps, trainings, orders"
    ):
        run(only=("speed",))


def test_both_ways_of_selecting_agree() -> None:
    scores = torch.rand(100, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(queue_top_n(scores, 30), top_n(scores, 30))


@pytest.mark.slow
def test_published_order_and_ours_have_the_same_results() -> None:
    """And results that differ among themselves by more than the two ways may."""
    with randomness(0, "bench"):
        setting = Bench(Compute("cpu"), quick=True)
        compared = [c for group in ("orders", "selection") for c in GROUPS[group](setting)]
        for one in compared:
            assert isinstance(one, Comparison)
            assert one.same is not None
            theirs: Any = one.baseline()
            torch.testing.assert_close(
                theirs, one.other(), atol=one.same, rtol=0, msg=lambda m, n=one.name: f"{n}: {m}"
            )
            assert theirs.double().std() > 4 * one.same
