"""Writes a page for each module of docs/public-api.txt, with the docstring of every public name."""

import inspect
import sys
import textwrap
from collections import defaultdict
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

FOLDER = Path("reference") / "api"
PACKAGE = "trapmid"


def rooms(names: list[str]) -> dict[str, list[str]]:
    """The public names of each module, in the order of the list."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        module, _, short = name.rpartition(".")
        found[module].append(short)
    return found


def homes(public: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """The module whose page documents a name. One object has one home, however many modules export it."""
    seen: dict[int, str] = {}
    found = {}
    for module in sorted(public, key=lambda module: module == PACKAGE):
        for name in public[module]:
            of = getattr(import_module(module), name)
            own = inspect.ismodule(of) or not (inspect.isclass(of) or inspect.isfunction(of))
            found[module, name] = module if own else seen.setdefault(id(of), module)
    return found


def page(module: str, names: list[str], home: dict[tuple[str, str], str]) -> str:
    """The page of a module, as reStructuredText."""
    parts = [f"{module}\n{'=' * len(module)}", f".. automodule:: {module}"]
    for name in names:
        of = getattr(import_module(module), name)
        if inspect.ismodule(of):
            parts.append(f"- :doc:`{of.__name__}`")
        elif home[module, name] != module:
            parts.append(f"- :py:obj:`~{home[module, name]}.{name}` ({home[module, name]})")
        elif inspect.isclass(of):
            parts.append(f".. autoclass:: {name}\n   :members:\n   :show-inheritance:")
        elif inspect.isfunction(of):
            parts.append(f".. autofunction:: {name}")
        else:
            parts.append(f".. py:data:: {name}\n\n" + textwrap.indent(said(name, of), "   "))
    return "\n\n".join(parts) + "\n"


def said(name: str, of: object) -> str:
    """The docstring below the assignment of a name, in whichever module it stands."""
    for module, loaded in sorted(sys.modules.items()):
        if module.startswith(f"{PACKAGE}.") and vars(loaded).get(name) is of:
            lines = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [])
            if lines:
                return str(GoogleDocstring("\n".join(lines), what="data"))
    return ""


def write(app: Sphinx) -> None:
    """Writes the pages into the sources; git ignores them."""
    source = Path(app.srcdir)
    public = rooms((source / "public-api.txt").read_text(encoding="utf-8").split())
    home = homes(public)
    folder = source / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for module, names in public.items():
        _write_if_new(folder / f"{module}.rst", page(module, names, home))
    listed = "\n   ".join(public)
    text = f"API\n===\n\nThe public names. Every other name may change at any time.\n\n.. toctree::\n\n   {listed}\n"
    _write_if_new(folder / "index.rst", text)


def _write_if_new(file: Path, text: str) -> None:
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Joins the build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
