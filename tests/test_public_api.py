"""The public names are those that docs/public-api.txt lists, and each of them exists."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import trapmid
from public_api import ROOMS, public_names
from trapmid.data import examine, guess_source
from trapmid.leaderboard import cards_of, read_card, read_cards
from trapmid.metrics import read_scores
from trapmid.recipes import learned
from trapmid.report import write_card
from trapmid.subjects import read_classes

PAGE = Path(__file__).parents[1] / "docs" / "public-api.txt"


def test_the_public_names_are_those_of_the_page() -> None:
    written, found = set(PAGE.read_text(encoding="utf-8").split()), set(public_names())
    assert not (written ^ found), (
        f"New: {sorted(found - written)}. Gone: {sorted(written - found)}. If that is on purpose: "
        "uv run python tests/public_api.py > docs/public-api.txt"
    )


@pytest.mark.filterwarnings("ignore")  # of the libraries that integrations are for
@pytest.mark.parametrize(
    "room", [pytest.param(room, marks=pytest.mark.slow) if "integrations" in room else room for room in ROOMS]
)
def test_every_public_name_exists(room: str) -> None:
    module = import_module(room)
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def _functions() -> list[Any]:
    named = [one.rpartition(".") for one in public_names() if "integrations" not in one]
    functions = [one for room, _, name in named if isfunction(one := getattr(import_module(room), name))]
    methods = [trapmid.Detector.save, trapmid.Detector.load, trapmid.Secrets.save, trapmid.Secrets.load]
    return functions + methods


def test_every_path_may_be_a_string() -> None:
    refusing = [
        f"{function.__qualname__}({name})"
        for function in _functions()
        for name, hint in get_type_hints(function).items()
        if name != "return" and Path in (parts := _within(hint)) and str not in parts
    ]
    assert not refusing


def _within(hint: Any) -> set[Any]:
    """The types of the values that an annotation allows, and of their parts; not those that a function takes."""
    if get_origin(hint) is Callable:
        return set()
    return {hint if isinstance(hint, type) else None}.union(*map(_within, get_args(hint)))


@pytest.mark.parametrize(
    "opens",
    [
        trapmid.open_model,
        trapmid.write_report,
        trapmid.Detector.load,
        trapmid.Secrets.load,
        cards_of,
        examine,
        guess_source,
        learned,
        read_card,
        read_cards,
        read_classes,
        read_scores,
        write_card,
    ],
)
def test_a_string_that_names_nothing_is_a_user_error(opens: Callable[[str], object], tmp_path: Path) -> None:
    with pytest.raises(trapmid.UserError):
        opens(str(tmp_path / "nothing"))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, trapmid; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'timm', 'kornia', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
