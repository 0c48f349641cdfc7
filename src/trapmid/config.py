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
    """A config that a table has a row or a column for.

    Attributes:
        kind: what it is.
        label: what its row is called and its folders are named; empty for its kind. Members of the same kind with
            different values can stand side by side under different labels.
    """

    kind: str
    label: str = Field("", pattern=r"^[A-Za-z0-9.+_-]*$")

    @property
    def name(self) -> str:
        """The label, or the kind where there is none."""
        return self.label or self.kind


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
