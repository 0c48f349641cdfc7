"""A PDF where there is no browser, or one that prints nothing; test_report_browser.py prints one."""

from pathlib import Path

import pytest

from helpers.commands import run
from trapmid.report.pdf import write_pdf
from trapmid.types import UserError


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page, on a machine whose PATH is one empty folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    file = tmp_path / "report.html"
    file.write_text("<!doctype html><title>x</title>")
    return file


def browser(folder: Path, script: str) -> None:
    file = folder / "bin" / "chromium"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_without_a_browser(page: Path) -> None:
    with pytest.raises(UserError, match="none was found: install Chromium or Google Chrome"):
        write_pdf(page)


def test_a_missing_browser_is_reported_before_anything_runs(
    page: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("audit", "--recipe", "demo", "--out", str(tmp_path / "run"), "--pdf") == 2
    assert "none was found" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_browser_that_prints_nothing_leaves_the_earlier_file(page: Path, tmp_path: Path) -> None:
    page.with_suffix(".pdf").write_bytes(b"%PDF of yesterday")
    browser(tmp_path, "echo starting >&2; echo no display >&2; exit 1")
    with pytest.raises(UserError, match=r"did not print .*report\.html \(no display\)\. Open that file"):
        write_pdf(page)
    assert page.with_suffix(".pdf").read_bytes() == b"%PDF of yesterday"


def test_a_browser_that_hangs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapmid.report.pdf.PATIENCE", 0.05)
    browser(tmp_path, "while :; do :; done")
    with pytest.raises(UserError, match="did not print"):
        write_pdf(page)
