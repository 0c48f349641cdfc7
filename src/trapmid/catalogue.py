"""Everything that can be named in a recipe or found in a report, with its paper: what `trapmid list` prints."""

import inspect
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from trapmid.attacks import ATTACKS
from trapmid.augment import AUGMENTATIONS
from trapmid.config import Config, Member
from trapmid.data import SOURCES
from trapmid.defenses import DEFENSES, SGD, AdamW
from trapmid.metrics.inception import FIDELITY
from trapmid.metrics.judges import JUDGES
from trapmid.metrics.metric import Metric
from trapmid.metrics.table import metrics, register
from trapmid.models import MODELS
from trapmid.priors import PRIORS, SNResNet, Strided, UNet
from trapmid.recipes import RECIPES
from trapmid.registry import Registry, import_path, kind_of
from trapmid.types import UserError

SENTENCE_ENDS = re.compile(r"(?<!\bApp)(?<!\bSec)(?<!\bFig)\. ")
"""A full stop, but for those after the abbreviations of a paper's parts."""


class CatalogueEntry(NamedTuple):
    """One member of a union, one metric or one recipe.

    Attributes:
        union: what it is: an attack, a defense, a metric and so on.
        kind: its name in recipes, on the command line and, for metrics, in scores.json.
        title: its name in tables; empty for what no table names.
        unit: of a metric's values; empty for everything else.
        about: what it is, in a sentence.
        paper: where it comes from.
    """

    union: str
    kind: str
    title: str
    unit: str
    about: str
    paper: str


def unions() -> dict[str, tuple[type[Config], ...]]:
    """The classes that a recipe can name, by what they are."""
    return {
        "defense": tuple(DEFENSES),
        "attack": tuple(ATTACKS),
        "prior": PRIORS,
        "prior networks": (SNResNet, Strided, UNet),
        "model": MODELS,
        "judge": JUDGES,
        "fidelity": FIDELITY,
        "augmentation": AUGMENTATIONS,
        "optimizer": (SGD, AdamW),
        "source": tuple(SOURCES),
    }


def entries() -> list[CatalogueEntry]:
    """All of them, union after union."""
    return [
        *(
            CatalogueEntry(union, kind_of(one), _title(one), "", _first_sentence(one.__doc__ or ""), one.paper)
            for union, of in unions().items()
            for one in of
        ),
        *(CatalogueEntry("metric", one.name, one.title, one.unit.label, one.about, one.paper) for one in metrics()),
        *(CatalogueEntry("recipe", name, "", "", make().about, "") for name, make in RECIPES.items()),
    ]


def _title(member: type[Config]) -> str:
    return member.title if issubclass(member, Member) else ""


def _first_sentence(text: str) -> str:
    sentence = SENTENCE_ENDS.split(" ".join(text.split()))[0].rstrip(".")
    return sentence.partition("`: ")[2] or sentence


def import_members(paths: Iterable[str]) -> None:
    """Add attacks, defenses, readers and metrics by their import paths, here and in worker processes.

    Args:
        paths: `package.module:Name` each: a class, or a `Metric`. The module may be in the working directory.

    Raises:
        UserError: a path leads nowhere, or to something that cannot be a member, or another member has the same name.
    """
    registries: tuple[Registry[Any], ...] = (ATTACKS, DEFENSES, SOURCES)
    for path in paths:
        found = import_path(path, "a member")
        if isinstance(found, Metric):
            register(found)
            continue
        own = [registry for registry in registries if inspect.isclass(found) and issubclass(found, registry.base)]
        if not own:
            raise UserError(
                f"{path} is {found!r}. Expected a subclass of Attack, Defense or Source, or a Metric; docs/plugins.md "
                "shows each."
            )
        own[0].import_member(path)
