"""Signatures in the API pages stand as they are written in the source.

What Python knows at run time is too long to read: aliases such as `Images` and `Count` are written out there, and a
default that is a config shows every setting. Names in signatures and docstrings link to the pages of public names.
"""

import ast
import inspect
import textwrap
from typing import Any

from docutils.nodes import Element
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

PACKAGE = "trapmid"
LONGEST_DEFAULT = 48
FIELDS = ("model_fields", "__dataclass_fields__", "_fields")
"""Where configs, dataclasses and named tuples list their fields."""
SKIPPED = {"model_config", "deviations", "paper", "title", "kind", "needs", "adaptive", "searches"}
"""Class variables that the page of members shows, or that users do not read."""


def signature_of(what: object) -> tuple[str, str | None] | None:
    """Arguments and result as they are written. None if the source is not this package's."""
    if inspect.isclass(what):
        if any(hasattr(what, name) for name in FIELDS):
            return _fields(what), None
        init = vars(what).get("__init__") or next(
            (vars(base)["__init__"] for base in what.__mro__ if "__init__" in vars(base)), None
        )
        own = inspect.isfunction(init) and (init.__module__ or "").startswith(PACKAGE)
        signature = signature_of(init) if own else None
        return signature and (signature[0], None)
    what = inspect.unwrap(what) if callable(what) else what
    if not inspect.isfunction(what) or not (what.__module__ or "").startswith(PACKAGE):
        return None
    node = _parsed(what)
    if not isinstance(node, ast.FunctionDef):
        return None
    if node.args.args and node.args.args[0].arg in ("self", "cls"):
        node.args.args = node.args.args[1:]
    node.args.defaults = [_short(default) for default in node.args.defaults]
    node.args.kw_defaults = [default and _short(default) for default in node.args.kw_defaults]
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def _fields(cls: type) -> str:
    """The fields of a config, a dataclass or a named tuple."""
    written: dict[str, str] = {}
    for owner in cls.__mro__:
        if not owner.__module__.startswith(PACKAGE):
            continue
        node = _parsed(owner)
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                kind = ast.unparse(statement.annotation)
                default = f" = {ast.unparse(_short(statement.value))}" if statement.value else ""
                written.setdefault(statement.target.id, f"{statement.target.id}: {kind}{default}")
    names = next(vars_of for name in FIELDS if (vars_of := getattr(cls, name, None)) is not None)
    shown = [written[name] for name in names if name in written and name != "kind"]
    by_name = issubclass(cls, BaseModel) or getattr(getattr(cls, "__dataclass_params__", None), "kw_only", False)
    return f"({'*, ' if by_name and shown else ''}{', '.join(shown)})"


def _parsed(what: Any) -> ast.stmt | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(what))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None


def _short(default: ast.expr) -> ast.expr:
    return default if len(ast.unparse(default)) <= LONGEST_DEFAULT else ast.Constant(...)


def _sign(
    _: Sphinx, what: str, name: str, of: object, options: object, signature: str | None, result: str | None
) -> tuple[str, str | None] | None:
    del name, options, signature, result
    return signature_of(of) if what in ("class", "exception", "function", "method") else None


def _skip(_: Sphinx, what: str, name: str, of: object, skip: bool, options: object) -> bool | None:
    del of, skip, options
    return True if what == "class" and name in SKIPPED else None


def _link(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """A link from a name alone, or from its place in the source, to the page of the public name."""
    if node.get("refdomain") != "py":
        return None
    short = node["reftarget"].rpartition(".")[2]
    domain = env.domains.python_domain
    found = {name for name in domain.objects if name.startswith(f"{PACKAGE}.") and name.rpartition(".")[2] == short}
    pages = {domain.objects[name].node_id: name for name in sorted(found)}
    if len(pages) != 1:
        return None
    ((anchor, name),) = pages.items()
    return make_refnode(app.builder, node["refdoc"], domain.objects[name].docname, anchor, content, name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Joins the build."""
    app.connect("autodoc-process-signature", _sign)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True}
