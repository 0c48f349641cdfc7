"""The report in a real browser: nothing overflows, every image decodes, every theme can be read."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.old_runs import unpack_run
from trapmid.comparison import compare
from trapmid.report import gallery
from trapmid.report.figures import draw
from trapmid.report.gallery import webp
from trapmid.report.page import render
from trapmid.report.pdf import BROWSERS, write_pdf

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on the PATH"),
]


def page(contents, **how) -> str:
    return render(contents, draw(contents), **how)


# Runs in a copy of the report inside a frame of the wanted width: a window cannot be made as narrow as a phone.
PROBE = """
<script>
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const images = [...document.images];
  images.forEach(one => one.loading = "eager");
  await Promise.all(images.map(one => one.decode().catch(() => null)));
  const root = document.scrollingElement;
  const clipped = [...document.querySelectorAll("h1, h2, h3, p, li, dd, dt, figure, .scroll, pre")]
    .filter(one => one.offsetWidth && !one.closest(".scroll table"))
    .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
    .map(one => one.tagName + ": " + one.textContent.trim().slice(0, 60));
  const size = [...document.querySelectorAll("svg text")].map(one => one.getBoundingClientRect().height);
  parent.postMessage(JSON.stringify({
    inner: innerWidth, scroll: root.scrollWidth, images: images.length, clipped,
    broken: images.filter(one => one.naturalWidth === 0).length,
    smallest: Math.min(...size),
    paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  }), "*");
});
</script>
"""
OUTER = """<!doctype html><body style="margin:0"><iframe src="copy.html" style="width:{width}px;height:900px;border:0">
</iframe><script>addEventListener("message", event => {{
  const pre = document.createElement("pre"); pre.id = "probe"; pre.textContent = event.data; document.body.append(pre);
}});</script>"""


def look(folder: Path, html: str, width: int, *flags: str) -> dict:
    """Open a copy of the report that measures itself, and read back what it measured."""
    copy = re.sub(r"<meta http-equiv=[^>]*>", "", html).replace("</body>", PROBE + "</body>")
    (folder / "copy.html").write_text(copy)
    (folder / "outer.html").write_text(OUTER.format(width=width))
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += [f"--window-size={width + 40},1000", "--virtual-time-budget=8000", *flags, "--dump-dom"]
    dom = subprocess.run(
        [*command, (folder / "outer.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_fits_and_decodes(make, tmp_path, width):
    contents = make(names=("an identity whose name is one very long word " + "x" * 120,))
    seen = look(tmp_path, page(contents), width)
    assert seen["inner"] == width
    assert seen["scroll"] <= seen["inner"]
    assert seen["clipped"] == []
    assert seen["images"] == 2 * 3
    assert seen["broken"] == 0
    assert seen["smallest"] >= 8


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_fits_and_decodes(tmp_path, width):
    run = unpack_run(tmp_path / "run")
    found = compare(run / "models" / "none", run / "models" / "trapmid", out=tmp_path)
    seen = look(tmp_path, found.page.read_text(encoding="utf-8"), width)
    assert seen["scroll"] <= seen["inner"] == width
    assert seen["clipped"] == []
    assert seen["images"] == 3 * 4
    assert seen["broken"] == 0


def test_dark_is_dark_and_light_is_light(make, tmp_path):
    def brightness(color: str) -> float:
        return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3

    html = page(make(identities=1))
    (tmp_path / "light").mkdir()
    (tmp_path / "dark").mkdir()
    light = look(tmp_path / "light", html, 390, "--blink-settings=preferredColorScheme=1")
    dark = look(tmp_path / "dark", html, 390, "--blink-settings=preferredColorScheme=0")
    assert brightness(light["paper"]) > 230 > 60 > brightness(light["ink"])
    assert brightness(dark["paper"]) < 40 < 200 < brightness(dark["ink"])


def test_prints_to_pdf(make, tmp_path):
    (tmp_path / "report.html").write_text(page(make()))
    pdf = write_pdf(tmp_path / "report.html")
    assert pdf == tmp_path / "report.pdf"
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 7 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12  # verdict and six sections on pages of their own
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.pdf"]


def test_a_thousand_identities_open(make, tmp_path, capsys, monkeypatch):
    """Five pictures of each by two models: nothing below the fold is laid out; prints the time (-s)."""
    few, strips = make(identities=4).gallery, {}

    def encoded_once(pictures):
        key = tuple(map(id, pictures))
        strips[key] = strips.get(key) or webp(pictures)
        return strips[key]

    monkeypatch.setattr(gallery, "webp", encoded_once)
    html = page(make(gallery=[few[who % 4] for who in range(1000)], curves=[]))
    assert len(html) < 20e6
    clock = """<script>addEventListener("load", () => {
      const {domContentLoadedEventEnd: parsed} = performance.getEntriesByType("navigation")[0];
      const seen = one => one.checkVisibility({contentVisibilityAuto: true}) && one.getBoundingClientRect().width > 0;
      const shown = [...document.images].filter(seen).length;
      const opened = performance.now(), images = document.images.length;
      document.body.innerHTML = `<pre id="probe">${JSON.stringify({parsed, opened, images, shown})}</pre>`;
    });</script>"""
    (tmp_path / "report.html").write_text(
        re.sub(r"<meta http-equiv=[^>]*>", "", html).replace("</body>", f"{clock}</body>")
    )
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    dom = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    seen = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom)[1])
    with capsys.disabled():
        sys.stdout.write(
            f"\n1,000 identities, {len(html) / 1e6:.1f} MB: parsed in {seen['parsed']:.0f} ms, opened in "
            f"{seen['opened']:.0f} ms\n"
        )
    assert seen["images"] == 3000
    assert seen["shown"] <= 3 * 24
