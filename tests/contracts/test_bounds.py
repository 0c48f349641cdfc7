"""What every number in every config keeps to: it has bounds, and what is outside them is refused when it is read."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from helpers.configs import NumericField, configs, instance, numeric_fields
from trapmid.config import Config
from trapmid.types import UserError

FIELDS = numeric_fields()
HUGE = 10**400
NOT_FINITE: tuple[Any, ...] = (math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity", "NaN", "1e400")
NOT_NUMBERS: tuple[Any, ...] = ("x", "", [], {}, [1, 2, 3, 4])

of_every_config = pytest.mark.parametrize(
    "fields",
    [
        pytest.param(fields, id=owner.__name__)
        for owner in configs()
        if (fields := [field for field in FIELDS if field.owner is owner])
    ],
)


def read(field: NumericField, number: Any) -> Config:
    """The config that was read with `number` in it."""
    return field.owner.model_validate(field.put(instance(field.owner).model_dump(mode="json"), number))


def edges(field: NumericField) -> list[float]:
    low, high = field.low, field.high
    assert low is not None
    assert high is not None
    near: list[float] = [low, high, 0, 1, -1, 2**31, 2**63 - 1, 2**63, 2**64, HUGE, -HUGE]
    if field.kind is int:
        return [*near, low - 1, low + 1, high - 1, high + 1]
    beside = [math.nextafter(edge, away) for edge in (low, high) for away in (-math.inf, math.inf)]
    return [*near, *beside, 5e-324, 1e-30, 1e308, -0.0]


def test_the_configs_are_found() -> None:
    assert len(configs()) > 50
    assert len(FIELDS) > 200


@of_every_config
def test_every_number_has_bounds_on_both_sides(fields: list[NumericField]) -> None:
    for field in fields:
        assert field.low is not None, f"{field} has no lower bound: annotate it with a type of trapmid.config"
        assert field.high is not None, f"{field} has no upper bound: annotate it with a type of trapmid.config"
        assert field.low < field.high


@of_every_config
def test_no_number_is_nan_or_infinite_or_no_number_at_all(fields: list[NumericField]) -> None:
    for field in fields:
        for value in (*NOT_FINITE, *NOT_NUMBERS):
            with pytest.raises(ValidationError):
                read(field, value)


@of_every_config
def test_every_edge_is_refused_or_usable(fields: list[NumericField]) -> None:
    """Usable: within the bounds, stored and read again as the same config."""
    for field in fields:
        low, high = field.low, field.high
        assert low is not None
        assert high is not None
        for number in edges(field):
            try:
                made = read(field, number)
            except (ValidationError, UserError):
                continue
            value = getattr(made, field.name)
            for place in field.place:
                value = value[place]
            assert type(value) is field.kind
            assert low <= value <= high
            assert value == number
            assert field.owner.model_validate_json(made.model_dump_json()) == made
            assert field.owner.model_validate(made.model_dump(mode="json")).fingerprint() == made.fingerprint()
