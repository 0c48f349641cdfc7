"""The base of every config: frozen, closed to unknown keys, and equal to its own JSON."""

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Config(BaseModel):
    """A frozen config. The config is the component: its methods do the work, runtime objects are their arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    paper: ClassVar[str] = ""
    """Where a union member comes from; printed by `trapmid list`."""

    def fingerprint(self) -> str:
        """Sixteen hex digits that change if and only if a value of the config changes."""
        return fingerprint(self.model_dump(mode="json"))


class Member(Config):
    """A config that a recipe can hold and that tables have a row for: an attack, a defense, a judge, a prior.

    Attributes:
        title: the name that tables print for members of this kind, e.g. "PLG-MI".
        kind: the name of the kind in recipes and on the command line.
        label: the name of this member in files and folders; empty for the kind. Members of one kind with different values can
            stand side by side under different labels.
    """

    title: ClassVar[str] = ""
    kind: str
    label: str = Field("", pattern=r"^[A-Za-z0-9.+_-]*$")

    @property
    def name(self) -> str:
        """The label, or the kind where there is none."""
        return self.label or self.kind

    @property
    def heading(self) -> str:
        """The name that tables print for this member: its label, or the title where there is none."""
        return self.label or self.title


def fingerprint(value: Any) -> str:
    """Hash of a JSON-like value, independent of key order: sixteen hex digits of its SHA-256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def misfits(problem: ValueError) -> str:
    """What does not fit, and where: of a `ValidationError` place and reason of each value, in our words; of other errors their text."""
    if not isinstance(problem, ValidationError):
        return str(problem)
    told = []
    for error in problem.errors():
        place, reason = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
        told.append(f"{place}: {reason}" if place else reason)
    return "; ".join(told)
