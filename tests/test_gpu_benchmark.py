"""The benchmark of a GPU runs here on a CPU, all parts but CUDA graphs. No test depends on how fast anything is."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu import PARTS, Setting
from benchmarks.gpu.__main__ import command
from benchmarks.gpu.peaks import PEAKS, peak_of
from trapmid.types import UserError

SMALL = Setting(device="cpu", steps=2, batch=4, size=32, network="tiny", backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_trainings(name: str) -> None:
    (told,) = PARTS[name][0](SMALL)
    assert "2 steps of 4 images of 32 px" in told
    assert "images/s" in told
    assert "TFLOP/s" in told
    assert "NOT FINITE" not in told


@pytest.mark.slow
def test_numbers_are_those_of_the_cpu() -> None:
    lines = list(PARTS["numbers"][0](SMALL))
    assert len(lines) == 2
    assert all("(+0.0e+00)" in line for line in lines)


@pytest.mark.slow
def test_the_attack() -> None:
    gan, search = PARTS["attack"][0](replace(SMALL, size=64))  # the only size of the published networks
    assert "GAN: 1 iterations with batches of 4, and 64 pseudo-labels" in gan
    assert "search: 1 steps for 4 identities" in search


@pytest.mark.slow
def test_the_tests_of_cuda_are_run() -> None:
    *_, told = PARTS["tests"][0](SMALL)
    assert "skipped" in told or "passed" in told
    assert "failed" not in told


@pytest.mark.slow
def test_the_command_runs_parts_in_processes_and_names_those_that_fail(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    arguments = ["--device", "cpu", "--steps", "2", "--batch", "4", "--size", "32", "--network", "tiny"]
    arguments += ["--backend", "aot_eager"]
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    assert command(SMALL, only=("numbers", "graphs"), minutes=0.001) == 1
    told = capfd.readouterr().out
    assert told.startswith("CPU, torch ")
    assert "numbers: out of time after 0 s" in told
    assert "failed: numbers, graphs" in told
    assert command(SMALL, only=("compiled",), minutes=60) == 0
    told = capfd.readouterr().out
    assert re.search(r"^compiled: compiled in \d+ s\ncompiled: 2 steps of 4 images of 32 px: ", told, re.M)
    assert "NOT FINITE" not in told
    assert told.endswith("all parts ran\n")


def test_a_part_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"--only speed: there is no such part\. Expected some of tests, numbers"):
        command(SMALL, only=("speed",))


def test_parts_share_the_nine_minutes() -> None:
    assert sum(share for _, share in PARTS.values()) == pytest.approx(1)


def test_peaks_are_found_by_the_names_that_cuda_gives() -> None:
    assert peak_of("NVIDIA A100-SXM4-80GB", "bfloat16") == 312
    assert peak_of("NVIDIA H100 80GB HBM3", "tf32") == 494.5
    assert peak_of("Tesla T4", "float32") == 8.1
    assert peak_of("Tesla T4", "bfloat16") is None
    assert peak_of("NVIDIA A10G", "float32") is None  # another card than the A10
    assert peak_of("NVIDIA RTX A6000", "float32") == PEAKS["RTX A6000"].float32
