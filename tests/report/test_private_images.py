"""A report shows private images only if they are those of the run, and does without them if it is redacted."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.old_runs import unpack_run
from trapmid.report.write import write_report
from trapmid.types import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_run(tmp_path_factory.mktemp("run"))


def with_private(run: Path, change: dict[str, Any]) -> None:
    file = run / "recipe.json"
    recipe = json.loads(file.read_text())
    file.write_text(json.dumps(recipe | {"private": change if "path" in change else recipe["private"] | change}))


@pytest.mark.slow  # draws every figure of a whole report, twice
def test_other_images_are_refused_and_a_redacted_report_needs_none(run: Path) -> None:
    write_report(run)
    shown = (run / "report.html").read_bytes()
    with_private(run, {"first_identity": 50})
    with pytest.raises(UserError, match=r"no longer those that .* was made from.*leave them out with --redact"):
        write_report(run)
    with_private(run, {"kind": "folder", "path": str(run / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        write_report(run)
    assert (run / "report.html").read_bytes() == shown
    write_report(run, redact=True)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Identity 1" in page
    assert len(page.encode()) < len(shown)
