"""The version is told in several places, and they agree."""

import re
from importlib.metadata import version
from pathlib import Path

import trapmid

ROOT = Path(__file__).parent.parent


def test_all_say_the_same() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    entry = re.search(r"version = \{(\S+)\}", (ROOT / "README.md").read_text(encoding="utf-8"))
    changes = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited
    assert entry
    assert changes
    assert trapmid.__version__ == version("trapmid") == cited[1] == entry[1] == changes[1]
