"""What differs from the publications, member by member: `trapmid list --deviations` and docs/deviations.md.

`python -m trapmid.deviations` prints the page.
"""

import itertools
import sys
import textwrap
from typing import NamedTuple

from trapmid.catalogue import unions
from trapmid.config import Deviation
from trapmid.registry import kind_of

NONE_KNOWN = "none known"
EVERY = "every member"
"""Stands in the place of a kind for what concerns a whole union."""

GENERAL: tuple[tuple[str, Deviation], ...] = (
    (
        "training",
        Deviation(
            "the split that chooses the epoch",
            "the test split",
            "the validation split; `training.keep=test` restores the other",
            "a test split that chose the model says nothing about new images",
        ),
    ),
    (
        "training",
        Deviation(
            "augmentation without trapdoors",
            "none but the flip of the reader",
            "the recipe's, for every defense",
            "otherwise the comparison measures the augmentation",
        ),
    ),
    (
        "training",
        Deviation(
            "batch norm in eval mode",
            "running statistics",
            "recomputed before an evaluation where the recipe says `recalibrate`",
            "running statistics lag behind triggers and weights, and accuracy can collapse for an epoch",
        ),
    ),
    (
        "metric",
        Deviation(
            "FID: which reconstructions count",
            "those that the judge recognises, without an incomplete last batch of 100; -1000 if there are none",
            "all",
            "where a defense works, those recognised are a handful",
        ),
    ),
    (
        "metric",
        Deviation(
            "synthetic distribution (Trap-MID, Table 3)",
            "30,000 samples of the attack's generator",
            "20 of each identity, against as many private as public images",
            "as many as of the floor that they are compared with",
        ),
    ),
    (
        "metric",
        Deviation(
            "delta_face",
            "distances in FaceNet's features",
            "`knn_distance` in MobileFaceNet's",
            "a package carries those weights",
        ),
    ),
    (
        "metric",
        Deviation(
            "adversarial examples of Trap-MID's Figure 3",
            "AutoAttack",
            "APGD-CE, the first of its four attacks, 20 steps, at most 512 test images",
            "seconds rather than minutes",
        ),
    ),
    (
        "metric",
        Deviation(
            "threshold of the detector",
            "95th percentile of clean training images",
            "an order statistic of validation images with a bound; theirs is given as `..._published`",
            "training images say nothing about images that the model did not learn",
        ),
    ),
    (
        "source",
        Deviation(
            "FaceScrub's crops",
            "the central 54 of 64 pixels for the pseudo-labels and for LOMMA, all 64 for the training of GANs",
            "one crop for everything, `public.crop`",
            "an attack has one set of public images",
        ),
    ),
)
"""What differs and belongs to no member."""


class DeviationEntry(NamedTuple):
    """A deviation and where it belongs.

    Attributes:
        union: attack, defense, prior and so on.
        kind: the member, or `every member`.
        matter: what differs, or `none known`, with the other fields empty.
        published: what the paper or the authors' code does.
        here: what this package does.
        why: the reason.
    """

    union: str
    kind: str
    matter: str
    published: str
    here: str
    why: str


def deviations() -> list[DeviationEntry]:
    """What differs at the default settings: first of each member of the unions that have a paper, then in general."""
    found = []
    for union, members in unions().items():
        for member in members:
            none = (Deviation(NONE_KNOWN, "", "", ""),)
            found += [DeviationEntry(union, kind_of(member), *one) for one in member.deviations or none]
    return [*found, *(DeviationEntry(union, EVERY, *one) for union, one in GENERAL)]


HEAD = """# Where trapmid differs from the publications

This page is made by `python -m trapmid.deviations > docs/deviations.md` from what each member declares;
`trapmid list --deviations` prints the same. It is about default settings. A recipe can name other values: the recipes
for two cores do, and their docstrings say which. "None known" means that nobody has found a difference, not that there
is none.
"""


def document() -> str:
    """The page as Markdown."""
    parts, entries = [HEAD], deviations()
    for union, of_union in itertools.groupby(entries, lambda entry: entry.union):
        members = {kind: list(found) for kind, found in itertools.groupby(of_union, lambda entry: entry.kind)}
        same = [f"`{kind}`" for kind, found in members.items() if found[0].matter == NONE_KNOWN]
        parts.append(f"## {union.capitalize()}\n")
        for kind, found in members.items():
            if found[0].matter != NONE_KNOWN:
                title = kind.capitalize() if kind == EVERY else f"`{kind}`"
                parts.append("\n".join([f"### {title}\n", *map(_item, found), ""]))
        if same:
            parts.append(_fill(f"None known: {', '.join(same)}.") + "\n")
    return "\n".join(parts)


def _item(entry: DeviationEntry) -> str:
    matter = entry.matter[0].upper() + entry.matter[1:]
    return _fill(f"- **{matter}.** Published: {entry.published}. Here: {entry.here}. Reason: {entry.why}.", "  ")


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(document())
