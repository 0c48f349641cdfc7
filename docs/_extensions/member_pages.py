"""Writes the page of members, recipes and their papers from `trapmid.catalogue`."""

import itertools
import re
from pathlib import Path

from sphinx.application import Sphinx

PAGE = Path("reference") / "members.md"
HEAD = """# Attacks, defenses, priors and other members

A recipe can name these. `trapmid list` prints the same, with the members of installed packages, and
`trapmid list --deviations` says what differs from each paper ([deviations](../deviations.md)).
[Metrics](../metrics.md) have a page of their own.
"""
TITLES = {
    "defense": "Defenses",
    "attack": "Attacks",
    "prior": "Priors",
    "prior networks": "Networks of priors",
    "model": "Models",
    "judge": "Judges",
    "fidelity": "Features for FID and KID",
    "augmentation": "Augmentations",
    "optimizer": "Optimizers",
    "source": "Readers of images",
    "recipe": "Recipes",
}


def references(bibliography: str) -> dict[str, list[str]]:
    """The keys of a BibTeX file, with what the papers are called in this project: the field `named`, split at bars."""
    found = re.findall(r"@\w+\{([\w-]+),.*?^  named = \{(.*?)\},$", bibliography, re.MULTILINE | re.DOTALL)
    return {key: names.split("|") for key, names in found}


def cited(paper: str, named: dict[str, list[str]]) -> list[str]:
    """The keys of the references that a member's `paper` names."""
    return [
        key
        for key, names in named.items()
        if any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", paper) for name in names)
    ]


def document(bibliography: str) -> str:
    """The page as Markdown."""
    from trapmid.catalogue import entries

    named = references(bibliography)
    parts = [HEAD]
    for union, of_union in itertools.groupby(entries(), lambda entry: entry.union):
        if union == "metric":
            continue
        rows = [["name", "title", "what it is", "paper"], ["---"] * 4]
        for entry in of_union:
            keys = cited(entry.paper, named)
            cite = f" {{cite:p}}`{','.join(keys)}`" if keys else ""
            rows.append([f"`{entry.kind}`", entry.title, entry.about, entry.paper + cite])
        lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
        parts.append(f"## {TITLES[union]}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def write(app: Sphinx) -> None:
    """Writes the page into the sources; git ignores it."""
    source = Path(app.srcdir)
    file, text = source / PAGE, document((source / "papers.bib").read_text(encoding="utf-8"))
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Joins the build."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
