"""Papers of members are in the bibliography, links of pages lead somewhere, and figures are those of their program."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from trapmid.attacks import PLGMI
from trapmid.catalogue import entries
from trapmid.types import Prediction

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = sorted(
    file for folder in (".", ".github", "docs", "examples", "results") for file in (ROOT / folder).glob("*.md")
) + sorted(file for folder in ("docs", "examples") for file in (ROOT / folder).glob("[!_.]*/**/*.md"))
NO_PAPER = re.compile(r"none\b|$")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
MADE = {"reference/members.md", "reference/api/index"}
"""Pages that the build writes."""


def module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, DOCS / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_paper_of_a_member_or_metric_is_in_the_bibliography() -> None:
    pytest.importorskip("sphinx", reason="the group docs is not installed")
    pages = module("_extensions/member_pages.py")
    named = pages.references((DOCS / "papers.bib").read_text(encoding="utf-8"))
    assert len(named) > 50
    missing = {
        entry.kind: entry.paper
        for entry in entries()
        if not NO_PAPER.match(entry.paper) and not pages.cited(entry.paper, named)
    }
    assert not missing, "docs/papers.bib has none of these under `named`"
    assert pages.cited("PLG-MI (Yuan et al., AAAI 2023), Alg. 1", named) == ["yuan2023plgmi"]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST form them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = (
        re.sub(r"\]\([^)]*\)", "", title).strip().lower() for title in re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    )
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in LINK.findall(text):
        inside = (page.parent / target).resolve() if target else page
        made = any(inside == (DOCS / one).resolve() for one in MADE)
        assert made or inside.exists(), target
        if anchor and not made and inside.suffix == ".md":
            assert anchor in anchors(inside), f"{target}#{anchor}"


def test_the_tests_that_pages_name_are_there() -> None:
    named = {
        one for page in DOCS.rglob("*.md") for one in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text("utf-8"))
    }
    assert len(named) > 50
    absent = {
        f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in (DOCS.parent / file).read_text("utf-8")
    }
    assert not absent


def test_links_out_of_docs_lead_into_the_site() -> None:
    pytest.importorskip("sphinx", reason="the group docs is not installed")
    led = module("_extensions/example_links.py").led_inside
    assert led("[a](../examples/server.py)", "audit") == "[a](reference/examples.md#serverpy)"
    assert led("[a](../../examples/plugin/)", "tutorials/x") == "[a](../reference/examples.md#plugin)"
    assert led("[a](../CHANGELOG.md)", "design") == "[a](changelog.md)"
    assert led("[a](../examples/server.py)", "tutorials/x") == "[a](../examples/server.py)"


def test_signatures_stand_as_they_are_written() -> None:
    pytest.importorskip("sphinx", reason="the group docs is not installed")
    signature_of = module("_extensions/signatures.py").signature_of
    arguments, result = signature_of(PLGMI)
    assert arguments.startswith("(*, label: Label = ''")
    assert "prior: CGAN = CGAN()" in arguments
    assert "kind" not in arguments
    assert result is None
    assert signature_of(PLGMI.public_prior) == ("()", "PriorConfig | None")
    assert signature_of(Prediction)[0].startswith("(logits: Tensor, features: Tensor,")
    assert signature_of(len) is None


@pytest.mark.slow
def test_figures_are_those_of_their_program() -> None:
    figures = module("figures/draw.py").FIGURES
    assert {file.stem for file in (DOCS / "figures").glob("*.svg")} == set(figures)
    for name, draw in figures.items():
        kept = (DOCS / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        ET.fromstring(kept)
        pictures = re.compile(r"base64,[^\"]*")  # whose bytes depend on the version of zlib
        assert pictures.sub("", draw()) == pictures.sub("", kept), "uv run python docs/figures/draw.py"
