"""The benchmark runs whole in quick mode; how fast anything is, no test decides."""

import math

import pytest
import torch

from trapmid.attacks.search import top_n
from trapmid.bench import Measurement, _queue_top_n, run
from trapmid.bench.searches import Searches
from trapmid.engine import Compute


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


def test_measures_everything_the_docs_speak_of(measurements: list[Measurement]) -> None:
    steps = {
        f"{what}-{model}"
        for what in ("trapmid-step", "onepass-step", "trigger-gradient")
        for model in ("tiny", "vgg16")
    }
    shares = {f"share-{part}" for part in ("discriminator", "trigger", "augmentation", "model")}
    formats = {f"{what}-{net}" for what in ("channels-last", "bf16") for net in ("tiny", "trapmid", "gan")}
    searches = {
        *("batched-search", "batched-brep", "shared-selection", "top-n"),
        *("gmi-restarts", "decode-once", "soft-labels"),
    }
    names = [m.name for m in measurements]
    watching = {"watch-tiny", "watch-tiny-single", "watch-vgg16"}
    assert set(names) == steps | shares | formats | searches | watching | {"warp-forward", "warp-backward"}
    assert len(set(names)) == len(names)


def test_numbers_are_times(measurements: list[Measurement]) -> None:
    for m in measurements:
        assert m.baseline_seconds > 0
        assert m.seconds > 0
        assert math.isfinite(m.ratio)
        assert m.ratio > 0
        assert "->" in m.what


def test_progress_reaches_its_end(measurements: list[Measurement], seen: list[tuple[int, int | None]]) -> None:
    assert [done for done, _ in seen] == list(range(len(seen)))
    assert seen[-1][0] == seen[-1][1]


def test_both_ways_of_selecting_agree() -> None:
    scores = torch.rand(100, 7, generator=torch.Generator().manual_seed(0))
    assert _queue_top_n(scores, 30) == top_n(scores, 30).tolist()


@pytest.mark.parametrize("order", ["gmi-restarts", "decode-once", "soft-labels"])
def test_both_orders_of_work_have_the_same_results(order: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, theirs, ours = Searches(Compute("cpu"), 32, 60, quick=True).orders()[order]
    torch.testing.assert_close(theirs(), ours(), atol=1e-4, rtol=1e-3)
