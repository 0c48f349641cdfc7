"""Links to files outside of docs/ become links within the site.

On GitHub, `../examples/server.py` is a file. The site shows all examples on one page, so such a link leads to the
heading of the file there. The changelog, the readme and the one about cards have pages of their own.
"""

import posixpath
import re

from sphinx.application import Sphinx

PAGES = {"CHANGELOG.md": "changelog.md", "README.md": "index.md", "results/README.md": "cards.md"}
EXAMPLES = "reference/examples.md"
LINK = re.compile(
    r"\]\((?P<up>(?:\.\./)+)(?P<file>examples(?:/[\w./-]*)?|CHANGELOG\.md|README\.md|results/README\.md)\)"
)


def led_inside(text: str, page: str) -> str:
    """The text of a page, whose links to the repository's files lead to pages of the site.

    Args:
        text: Markdown.
        page: name of the page from the root of the site, without suffix.
    """
    folder = posixpath.dirname(page)

    def within(link: re.Match[str]) -> str:
        file = link["file"].rstrip("/")
        if posixpath.normpath(posixpath.join(folder, link["up"])) != "..":
            return link[0]
        name = file.removeprefix("examples").strip("/")
        target = PAGES.get(file) or EXAMPLES + (f"#{anchor(name)}" if name else "")
        return f"]({posixpath.relpath(target, folder or '.')})"

    return LINK.sub(within, text)


def anchor(name: str) -> str:
    """The anchor that MyST gives to the heading of a file: its name in lower case, without full stops and slashes."""
    return re.sub(r"[^\w-]", "", name.lower())


def _read(_: Sphinx, page: str, source: list[str]) -> None:
    source[0] = led_inside(source[0], page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Joins the build."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
