"""What differs from the publications: declared by members, printed by a command, and written on a page."""

import json
from pathlib import Path

import pytest

from helpers.commands import run
from trapmid.attacks import ATTACKS
from trapmid.catalogue import unions
from trapmid.defenses import DEFENSES
from trapmid.deviations import NONE_KNOWN, deviations, document
from trapmid.registry import kind_of

PAGE = Path(__file__).parents[2] / "docs" / "deviations.md"


def test_the_page_is_made_from_what_members_declare() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "python -m trapmid.deviations > docs/deviations.md"


def test_every_member_says_something() -> None:
    said = {(entry.union, entry.kind) for entry in deviations()}
    assert {(union, kind_of(member)) for union, members in unions().items() for member in members} <= said
    for entry in deviations():
        told = (entry.published, entry.here, entry.why)
        assert all(told) or (entry.matter == NONE_KNOWN and not any(told)), entry


def test_the_command_prints_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--deviations", "--json") == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed == [entry._asdict() for entry in deviations()]
    assert {kind_of(member) for member in (*ATTACKS, *DEFENSES)} <= {entry["kind"] for entry in printed}
