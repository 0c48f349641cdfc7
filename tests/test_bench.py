"""The benchmark runs whole in quick mode; how fast anything is, no test decides."""

import math

import pytest
import torch

from trapmid.attacks.search import top_n
from trapmid.bench import Measurement, _queue_top_n, run


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
    names = [m.name for m in measurements]
    assert set(names) == steps | shares | formats | {"batched-search", "top-n", "warp-forward", "warp-backward"}
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
