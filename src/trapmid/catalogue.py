"""Every member of every union, with its paper: what `trapmid list` prints and what the contract tests run over."""

from typing import NamedTuple

from trapmid.attacks import ATTACKS
from trapmid.augment import AUGMENTATIONS
from trapmid.config import Config
from trapmid.data import SOURCES
from trapmid.defenses import DEFENSES, SGD, AdamW
from trapmid.metrics.inception import FIDELITY
from trapmid.metrics.judges import JUDGES
from trapmid.models import MODELS
from trapmid.priors import PRIORS, SNResNet, Strided
from trapmid.recipes import RECIPES


class Member(NamedTuple):
    """One member of a union: which union, its kind, one sentence, and the paper."""

    union: str
    kind: str
    about: str
    paper: str


def members() -> list[Member]:
    """All of them, union after union."""
    unions: dict[str, tuple[type[Config], ...]] = {
        "defense": tuple(DEFENSES),
        "attack": ATTACKS,
        "prior": PRIORS,
        "prior networks": (SNResNet, Strided),
        "model": MODELS,
        "judge": JUDGES,
        "fidelity": FIDELITY,
        "augmentation": AUGMENTATIONS,
        "optimizer": (SGD, AdamW),
        "source": tuple(SOURCES),
    }
    listed = [
        Member(union, _kind(member), _first_sentence(member.__doc__ or ""), member.paper)
        for union, of in unions.items()
        for member in of
    ]
    return listed + [Member("recipe", name, make().about, "") for name, make in RECIPES.items()]


def _kind(member: type[Config]) -> str:
    return str(member.model_fields["kind"].default)


def _first_sentence(text: str) -> str:
    sentence = " ".join(text.split()).split(". ")[0].rstrip(".")
    return sentence.partition("`: ")[2] or sentence
