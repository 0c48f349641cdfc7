"""Gates: the highest or lowest values of scores that a release may have."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from trapmid.errors import did_you_mean
from trapmid.metrics.scores import NOT_APPLICABLE, Score
from trapmid.types import UserError


class Gate(NamedTuple):
    """A bound on a metric: the highest value that passes, or the lowest."""

    metric: str
    bound: float
    side: Literal["above", "below"]

    @property
    def told(self) -> str:
        """As an option says it."""
        return f"--fail-{self.side} {self.metric}={self.bound:g}"


class Verdict(NamedTuple):
    """What a gate makes of one score."""

    gate: Gate
    score: Score
    passed: bool

    @property
    def told(self) -> str:
        """In one sentence."""
        against = "" if self.score.attack == NOT_APPLICABLE else f" under {self.score.attack}"
        relation = "is" if self.passed else "is not"
        side = "at most" if self.gate.side == "above" else "at least"
        return (
            f"{self.score.metric} of {self.score.defense}{against} is {self.score.value:.4g}, which {relation} "
            f"{side} {self.gate.bound:g}"
        )


def parse_gates(above: Sequence[str], below: Sequence[str] = ()) -> tuple[Gate, ...]:
    """The gates that `METRIC=VALUE` texts describe.

    Raises:
        UserError: a text has no number.
    """
    gates = []
    sides: tuple[tuple[Literal["above", "below"], Sequence[str]], ...] = (("above", above), ("below", below))
    for side, texts in sides:
        for text in texts:
            metric, equals, number = text.partition("=")
            try:
                bound = float(number)
            except ValueError:
                bound = math.nan
            if not equals or not metric or not math.isfinite(bound):
                raise UserError(f"--fail-{side} {text!r}: expected METRIC=VALUE, such as attack_accuracy_1=0.1.")
            gates.append(Gate(metric, bound, side))
    return tuple(gates)


def apply_gates(gates: Sequence[Gate], scores: Sequence[Score]) -> tuple[Verdict, ...]:
    """What each gate makes of every score of its metric that is a model's, by the first judge that has any.

    Floors and the ceiling concern no model and pass no gate. Of several seeds, their mean counts.

    Raises:
        UserError: no model has a score of a gate's metric, or one has a score that is not a number. Neither must pass
            for a success.
    """
    found = []
    for gate in gates:
        mine = [one for one in scores if one.metric == gate.metric and one.defense != NOT_APPLICABLE]
        named = {one.defense for one in mine}
        mine = [one for one in mine if not math.isnan(one.value)]
        if not mine:
            known = sorted({one.metric for one in scores if one.defense != NOT_APPLICABLE})
            raise UserError(
                f"{gate.told}: the audit has no such score.{did_you_mean(gate.metric, known)} It has "
                f"{', '.join(known)}."
            )
        if unknown := sorted(named - {one.defense for one in mine}):
            raise UserError(f"{gate.told}: the score of {', '.join(unknown)} is not a number, so it passes no gate.")
        judge = mine[0].judge
        means = [one for one in mine if one.judge == judge and one.seed is None]
        for one in means or [one for one in mine if one.judge == judge]:
            passed = one.value <= gate.bound if gate.side == "above" else one.value >= gate.bound
            found.append(Verdict(gate, one, passed))
    return tuple(found)
