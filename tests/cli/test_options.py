"""Options that are given several times."""

import re

import pytest

from helpers.commands import run
from trapmid.cli import COMMANDS
from trapmid.cli.options import LISTS, gathered


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--set a=1 b=2 --jobs 1", "--set a=1 b=2 --jobs 1"),
        ("--set a=1 --jobs 1 --set b=2 c=3", "--set a=1 b=2 c=3 --jobs 1"),
        ("--set=a=1 --set=b=2 --redact", "--set a=1 b=2 --redact"),
        ("--seeds 0 --seeds 1 --seeds 2 -h", "--seeds 0 1 2 -h"),
        ("model.pt2 --jobs 1 --jobs 2", "model.pt2 --jobs 1 --jobs 2"),
        ("", ""),
    ],
)
def test_the_values_of_a_repeated_list_stand_together(given: str, meant: str) -> None:
    assert gathered(given.split()) == meant.split()


def test_both_changes_count(tmp_path, capfd):
    """A parser takes the last `--set` alone, and the first one would be lost in silence."""
    command = ["audit", "--recipe", "demo", "--plan", "--out", str(tmp_path / "run")]
    assert run(*command, "--set", "defenses=[]", "--set", "nonsense=1") == 2
    assert "nonsense" in capfd.readouterr().err
    assert run(*command, "--set", "nonsense=1", "--set", "training.epochs=3") == 2
    assert "nonsense" in capfd.readouterr().err


def test_every_option_with_any_number_of_values_can_be_repeated(capfd):
    found = set()
    for name in COMMANDS:
        assert run(name, "--help") == 0
        found |= set(re.findall(r"(--[a-z-]+) (?:\[[^\]]* \.\.\.|[A-Z:=]+ \.\.\.)", capfd.readouterr().out))
    assert found == set(LISTS)
