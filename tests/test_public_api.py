"""The public names are those that docs/public-api.txt lists, and each of them exists."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from public_api import ROOMS, public_names

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


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, trapmid; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'timm', 'kornia', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
