"""Units of metrics, and the one function that turns a value into text."""

import math
from enum import Enum


class Unit(Enum):
    """The unit that a metric's values are stored in, with the factor and the symbol that they are printed with.

    Attributes:
        label: the unit in words.
        factor: a stored value times this is the printed number.
        symbol: of the printed number; empty where there is none.
    """

    SHARE = ("share, from 0 to 1", 100.0, "%")
    COUNT = ("count", 1.0, "")
    SECONDS = ("seconds", 1.0, "s")
    NATS = ("nats", 1.0, "")
    NUMBER = ("number", 1.0, "")

    def __init__(self, label: str, factor: float, symbol: str) -> None:
        self.label, self.factor, self.symbol = label, factor, symbol


def format_value(
    value: int | float, unit: Unit, *, symbol: bool = False, brief: bool = False, signed: bool = False
) -> str:
    """A value as tables print it; empty if it is not a number.

    Shares have one decimal, counts and seconds none. Other numbers have three significant digits below 10, one
    decimal below 1,000 and none above.

    Args:
        value: in the unit that it is stored in.
        unit: of the value.
        symbol: add the symbol of the unit, where it has one.
        brief: leave out the decimals of a share, as for the ends of an interval.
        signed: print the sign of positive values, too, as for differences.
    """
    if math.isnan(value):
        return ""
    number = value * unit.factor
    match unit:
        case Unit.SHARE:
            digits = ".0f" if brief else ".1f"
        case Unit.COUNT | Unit.SECONDS:
            digits = ",.0f"
        case _:
            digits = ",.0f" if abs(number) >= 1000 else ".1f" if abs(number) >= 10 else ".3g"
    return f"{number:{'+' if signed else ''}{digits}}" + (f"\u00a0{unit.symbol}" if symbol and unit.symbol else "")


def percent(share: float, digits: int = 0) -> str:
    """A share within a sentence, e.g. "5 %"; without decimals, a small share reads "under 1 %" and not "0 %"."""
    if digits == 0 and 0 < share < 0.005:
        return "under 1\u00a0%"
    return f"{100 * share:.{digits}f}\u00a0%"
