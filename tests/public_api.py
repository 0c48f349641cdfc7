"""The public names of trapmid, one a line. After a change on purpose, write the list again:

uv run python tests/public_api.py > docs/public-api.txt
"""

import ast
from importlib.util import find_spec
from pathlib import Path

import trapmid

ROOMS = (
    "trapmid",
    "trapmid.attacks",
    "trapmid.audit",
    "trapmid.comparison",
    "trapmid.config",
    "trapmid.data",
    "trapmid.defenses",
    "trapmid.detection",
    "trapmid.integrations.lightning",
    "trapmid.integrations.transformers",
    "trapmid.leaderboard",
    "trapmid.metrics",
    "trapmid.models",
    "trapmid.priors",
    "trapmid.recipes",
    "trapmid.report",
    "trapmid.starts",
    "trapmid.subjects",
    "trapmid.testing",
    "trapmid.targets",
    "trapmid.trapdoor",
    "trapmid.types",
)
"""The modules whose `__all__` is public. Every other name may change at any time."""


def public_names() -> list[str]:
    """Every public name, by module."""
    return [
        f"{room}.{name}" for room in ROOMS for name in sorted(trapmid.__all__ if room == "trapmid" else _listed(room))
    ]


def _listed(module: str) -> list[str]:
    """`__all__` as it is written in the file of a module, which is not imported: some need large libraries."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__ that is a list.")


if __name__ == "__main__":
    print("\n".join(public_names()))
