"""The site, the leaderboard and a report in a browser: axe finds nothing, and a keyboard reaches everything.

`uv run --group docs --group browser pytest -n 0 -m slow tests/docs/test_accessible.py` takes several minutes.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from helpers.old_runs import unpack_run
from trapmid.leaderboard import write_leaderboard
from trapmid.report import write_report
from trapmid.report.pdf import BROWSERS

playwright = pytest.importorskip("playwright.sync_api", reason="the group browser is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the group browser is not installed")
pytest.importorskip("furo", reason="the group docs is not installed")

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
DESKTOP, PHONE = 1280, 390

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on the PATH"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--quiet", str(ROOT / "docs"), str(folder / "site")]
    subprocess.run(build, check=True, timeout=600)
    write_leaderboard(ROOT / "results", folder / "site" / "leaderboard.html")
    shutil.copy(write_report(unpack_run(folder / "run")), folder / "site" / "report.html")
    return folder / "site"


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # axe is a script, which the policies of the leaderboard and of reports would refuse
        opened = browser.new_context(reduced_motion="reduce", bypass_csp=True).new_page()
        opened.set_default_timeout(240_000)
        yield opened
        browser.close()


def test_axe_finds_nothing(site: Path, page: Any) -> None:
    files = sorted(file for file in site.rglob("*.html") if "_static" not in file.parts)
    assert len(files) > 50
    found = {}
    for file in files:
        page.goto(file.as_uri())
        for width in (DESKTOP, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                broken = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
                told = [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in broken]
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                if told or wide > 0:
                    found[str(file.relative_to(site)), width, scheme] = (*told, f"{wide} px too wide")
    assert not found


# The element that has the focus: where it is, how opaque, and whether it or what is around it is outlined.
FOCUSED = """async () => {
  await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  const one = document.activeElement, box = one.getBoundingClientRect();
  const around = [];
  for (let other = one; other; other = other.parentElement) around.push(getComputedStyle(other));
  return {
    tag: one.tagName,
    name: (one.ariaLabel || one.textContent || one.placeholder || "").trim(),
    seen: box.width > 0 && box.height > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0
      && box.top < innerHeight && around.every(style => style.visibility === "visible")
      && around.reduce((opacity, style) => opacity * style.opacity, 1) > 0.5,
    outlined: around.slice(0, 2).some(style => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0),
  };
}"""


def walk(page: Any) -> list[dict[str, Any]]:
    """Every place that the key Tab leads to, until it leaves the page."""
    stops: list[dict[str, Any]] = []
    while True:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop["tag"] == "BODY":
            return stops
        stops.append(stop)
        assert len(stops) < 2000, "the focus is caught"


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["tutorials/audit-a-model", "leaderboard", "report"])
def test_a_keyboard_reaches_what_can_be_seen(site: Path, page: Any, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((site / f"{name}.html").as_uri())
    stops = walk(page)
    assert [stop for stop in stops if not stop["seen"] or not stop["outlined"]] == []
    assert all(stop["name"] for stop in stops)
    if name.startswith("tutorials"):
        names = [stop["name"] for stop in stops]
        assert names[0] == "Skip to content"
        assert "Audit a model you have, in full" in names
        assert names.count("Copy to clipboard") > 5
        assert ("Search" in names and "Glossary" in names) == (width == DESKTOP)


def test_the_menu_of_a_phone_works_by_keyboard(site: Path, page: Any) -> None:
    page.set_viewport_size({"width": PHONE, "height": 900})
    page.goto((site / "audit.html").as_uri())
    for button, first in (("Pages", "trapmid"), ("On this page", "Which models")):
        page.get_by_role("button", name=button).focus()
        page.keyboard.press("Enter")
        assert page.evaluate(FOCUSED)["name"].startswith(first)
        assert page.get_by_role("button", name=button, expanded=True).count() == 1
        page.keyboard.press("Escape")
        assert page.evaluate(FOCUSED)["name"] == button
        assert page.get_by_role("button", name=button, expanded=False).count() == 1
        page.get_by_role("button", name=button).click()
        assert page.get_by_role("button", name=button, expanded=True).count() == 1
        page.keyboard.press("Enter")
        assert page.get_by_role("button", name=button, expanded=False).count() == 1
    page.get_by_role("button", name="Pages").press("Enter")
    branch = page.get_by_role("button", name="Toggle navigation of Tutorials")
    branch.press(" ")
    assert page.get_by_role("link", name="Write an attack").is_visible()


def test_the_search_works_by_keyboard(site: Path, page: Any) -> None:
    page.set_viewport_size({"width": DESKTOP, "height": 900})
    page.goto((site / "index.html").as_uri())
    page.get_by_role("textbox", name="Search").fill("trapdoor")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Search", level=1, exact=True).wait_for()
    page.get_by_role("main").get_by_role("link", name="Glossary").first.wait_for()


@pytest.mark.parametrize("name", ["index", "leaderboard", "report"])
def test_a_screen_reader_finds_its_way(site: Path, page: Any, name: str) -> None:
    page.set_viewport_size({"width": DESKTOP, "height": 900})
    page.goto((site / f"{name}.html").as_uri())
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    levels = page.evaluate(
        "[...document.querySelectorAll('main :is(h1,h2,h3,h4,h5), [role=main] :is(h1,h2,h3,h4,h5)')]"
        ".map(heading => Number(heading.tagName[1]))"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    if name == "index":
        assert page.get_by_role("complementary", name="Pages").count() == 1
        assert page.get_by_role("search").count() == 1
