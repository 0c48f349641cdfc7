"""A page as PDF, printed by a Chromium-based browser of this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from trapmid.errors import shown
from trapmid.files import write_atomic
from trapmid.types import UserError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
"""Names on the PATH, and where macOS has them, in the order in which they are tried."""

PATIENCE = 300
"""Seconds that a browser may take."""


def find_browser() -> str:
    """The path of a browser that prints pages.

    Raises:
        UserError: there is none.
    """
    for name in BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise UserError(
        "A PDF is printed by a browser, and none was found: install Chromium or Google Chrome so that `chromium` or "
        "`google-chrome` is on the PATH, or open the HTML file in any browser and print it."
    )


def write_pdf(page: Path) -> Path:
    """Print an HTML file to the PDF of the same name beside it, and return the PDF's path.

    The browser runs without a window, with an empty profile of its own.

    Raises:
        UserError: no browser was found, or it printed nothing.
    """
    browser, file = find_browser(), page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="trapmid-") as folder:
        made = Path(folder) / "page.pdf"
        command = [browser, "--headless=new", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium has no sandbox for root, as in containers, and refuses to start
        command += [f"--user-data-dir={Path(folder) / 'profile'}", f"--print-to-pdf={made}", page.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as problem:
            raise UserError(
                f"{browser} did not print {page} within {PATIENCE} seconds. Open that file in a browser and print it."
            ) from problem
        if not made.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = f" ({shown(said[-1])})" if said else ""
            raise UserError(f"{browser} did not print {page}{reason}. Open that file in a browser and print it.")
        return write_atomic(file, made.read_bytes())
