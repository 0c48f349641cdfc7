"""The base of every config: frozen, closed to unknown keys, and equal to its own JSON."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from trapmid.earlier import earlier_values

__all__ = [
    "AtLeastTwo",
    "BatchSize",
    "BelowOne",
    "Config",
    "Count",
    "CountOrZero",
    "CropSide",
    "Degrees",
    "Deviation",
    "Fraction",
    "Label",
    "Member",
    "NonNegative",
    "Positive",
    "PositiveShare",
    "Probability",
    "Rate",
    "Seed",
    "Share",
    "ShareRange",
    "Side",
    "Width",
    "explain",
    "fingerprint",
    "ordered",
]


C = TypeVar("C", bound="Config")


def ordered(pair: tuple[float, float]) -> tuple[float, float]:
    """A pair whose first number is not above its second: a validator of ranges."""
    low, high = pair
    if low > high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    return pair


# Every numeric field of a config has a lower and an upper bound; tests/contracts/test_bounds.py holds this. The upper
# bounds leave far more room than any experiment needs. They are there so that a mistyped exponent is refused at once,
# and not after an hour by an overflow or a lack of memory.

Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
"""How many: steps, images, candidates."""
CountOrZero: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
AtLeastTwo: TypeAlias = Annotated[int, Field(ge=2, le=10**9)]
BatchSize: TypeAlias = Annotated[int, Field(ge=2, le=10**6)]
"""Images a training step takes; batch norm needs two."""
Width: TypeAlias = Annotated[int, Field(ge=1, le=16_384)]
"""Channels of a layer, or length of a latent."""
Side: TypeAlias = Annotated[int, Field(ge=8, le=4_096)]
"""Height and width of an image in pixels."""
CropSide: TypeAlias = Annotated[int, Field(ge=1, le=10**5)]
"""Height and width in pixels of the part of an image that is used."""
Seed: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What random numbers follow from. It is stored in Parquet files as a signed 64-bit integer."""
Rate: TypeAlias = Annotated[float, Field(gt=0, le=1e3)]
"""Learning rate."""
Positive: TypeAlias = Annotated[float, Field(ge=1e-9, le=1e6)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]
"""Weight of a term, or strength of an effect."""
Probability: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
PositiveShare: TypeAlias = Annotated[float, Field(gt=0, le=1)]
BelowOne: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""Momentum, or the decay of a running average: at 1 nothing would ever change."""
Fraction: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor everything."""
Degrees: TypeAlias = Annotated[float, Field(ge=0, le=180)]
ShareRange: TypeAlias = Annotated[tuple[Share, Share], AfterValidator(ordered)]
"""The smallest and the largest share."""
Label: TypeAlias = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9.+_-]*)?$", max_length=64)]
"""Part of the names of folders."""


class Deviation(NamedTuple):
    """One respect in which a member, with its default settings, differs from what its authors published.

    Attributes:
        matter: what differs, in a few words.
        published: what the paper or the authors' code does.
        here: what this package does.
        why: the reason.
    """

    matter: str
    published: str
    here: str
    why: str


class Config(BaseModel):
    """A frozen config. The config is the component: its methods do the work, runtime objects are their arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    paper: ClassVar[str] = ""
    """Where a union member comes from; printed by `trapmid list`."""
    deviations: ClassVar[tuple[Deviation, ...]] = ()
    """What differs from the publication at the defaults; printed by `trapmid list --deviations`."""

    def check_size(self, image_size: int) -> None:
        """Refuse images of a height and width in pixels that this config's network cannot take.

        By default, it takes all.

        Raises:
            UserError: it cannot take them.
        """

    @classmethod
    def from_file(cls: type[C], values: Any) -> C:
        """The config that a recipe or a manifest holds. What a version before had no field for is as it was then.

        Args:
            values: JSON, as `model_dump(mode="json")` or `manifests.recorded` gave it.

        Raises:
            ValidationError: a value is not valid, or there is no such field.
        """
        return cls.model_validate(values, context=_FROM_FILE)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any, info: Any) -> Any:  # a ValidationInfo, which beartype cannot check
        if info.context is not _FROM_FILE or not isinstance(values, Mapping):
            return values
        return earlier_values(cls) | dict(values)

    def canonical(self) -> dict[str, Any]:
        """The config as JSON, without fields that earlier versions did not have and whose value is what these did."""
        before = earlier_values(type(self))
        whole = {name: _canonical(getattr(self, name), value) for name, value in self.model_dump(mode="json").items()}
        return {name: value for name, value in whole.items() if name not in before or value != before[name]}

    def fingerprint(self) -> str:
        """Sixteen hex digits that change if and only if a value of the config changes."""
        return fingerprint(self.canonical())


_FROM_FILE: dict[str, Any] = {"source": "file"}


def _canonical(value: Any, dumped: Any) -> Any:
    match value:
        case Config():
            return value.canonical()
        case tuple() | list():
            return [_canonical(one, as_json) for one, as_json in zip(value, dumped, strict=True)]
    return dumped


class Member(Config):
    """A config that a recipe can hold and that tables have a row for: an attack, a defense, a judge, a prior.

    Attributes:
        title: the name that tables print for members of this kind, e.g. "PLG-MI".
        kind: the name of the kind in recipes and on the command line.
        label: the name of this member in files and folders; empty for the kind. Members of one kind with different
            values can stand side by side under different labels.
    """

    title: ClassVar[str] = ""
    kind: str
    label: Label = ""

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


def explain(problem: Exception) -> str:
    """What is wrong with a value, and where, without a period at the end, so that it can stand within a sentence.

    Of a `ValidationError`, it is the place and the reason of each error that pydantic found; of any other error, its
    text.
    """
    if not isinstance(problem, ValidationError):
        return str(problem).removesuffix(".")
    errors = problem.errors()
    places = [error["loc"] for error in errors]
    found = []
    for error in errors:
        if any(place != error["loc"] and place[: len(error["loc"])] == error["loc"] for place in places):
            continue  # a list counts as too short if an entry is not valid, and the entry's own error is clearer
        place, reason = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ").removesuffix(".")
        found.append(f"{place}: {reason}" if place else reason)
    return "; ".join(found)
