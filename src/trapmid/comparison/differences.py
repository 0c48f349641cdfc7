"""The differences between two sides, score by score, with 95 % intervals."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch

from trapmid.comparison.matching import Match, same_version
from trapmid.comparison.sides import Side
from trapmid.config import Config
from trapmid.metrics.intervals import Interval, difference, over_seeds, paired_over_identities, paired_over_seeds
from trapmid.metrics.recognition import OF_EACH_IMAGE
from trapmid.metrics.scores import NOT_APPLICABLE, Number, Score

Method = Literal["paired over identities", "paired over seeds", "unpaired", "unknown"]


class Difference(Config):
    """One metric of two models, and by how much it is higher in the second one.

    Attributes:
        model_a: name of the first model.
        model_b: name of the second model.
        attack: name of the attack; "-" for a property of the model alone.
        judge: the judge or feature network; "-" where the metric depends on none.
        metric: name of the metric, see `trapmid.metrics.METRICS`.
        a: the value of the first model; shares are fractions from 0 to 1.
        a_low: lower end of its 95 % interval.
        a_high: upper end.
        b: the value of the second model.
        b_low: lower end of its 95 % interval.
        b_high: upper end.
        difference: b - a.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        interval: where that interval comes from. "paired over identities": a bootstrap that redraws identities, the
            same for both models. "paired over seeds": Student's t over the differences of several seeds. "unpaired":
            from the two intervals as if they were independent, because values of single identities are not stored.
            "unknown": there is none.
    """

    model_a: str
    model_b: str
    attack: str
    judge: str
    metric: str
    a: Number
    a_low: Number
    a_high: Number
    b: Number
    b_low: Number
    b_high: Number
    difference: Number
    low: Number
    high: Number
    interval: Method


def differences(match: Match) -> Iterator[Difference]:
    """Every metric, attack and judge that both sides have, in the order of the first side's scores."""
    for model_a, model_b in match.models:
        first, second = _scores(match, match.a, model_a), _scores(match, match.b, model_b)
        for key, by_seed in first.items():
            there = second.get(key, {})
            pairs = [(by_seed[s], there[t]) for s, t in match.seeds if s in by_seed and t in there]
            if pairs and same_version(match.a, match.b, key.metric):
                yield _difference(match, pairs, key)


class _Key(NamedTuple):
    attack: str
    judge: str
    metric: str


def _scores(match: Match, side: Side, model: str) -> dict[_Key, dict[int, Score]]:
    """The scores of a model that may be compared, by seed."""
    attacks = {attack.name for attack in match.attacks} | {NOT_APPLICABLE}
    known = {judge.name for one in (match.a, match.b) for judge in one.recipe.judges}
    other_judges = known - {judge.name for judge in match.judges}
    found: dict[_Key, dict[int, Score]] = {}
    for row in side.scores:
        if row.defense == model and row.attack in attacks and row.judge not in other_judges and row.seed is not None:
            found.setdefault(_Key(row.attack, row.judge, row.metric), {})[row.seed] = row
    return found


def _difference(match: Match, pairs: list[tuple[Score, Score]], key: _Key) -> Difference:
    method: Method
    if len(pairs) > 1:
        values = [first.value for first, _ in pairs], [second.value for _, second in pairs]
        a, b = over_seeds(values[0]), over_seeds(values[1])
        apart, method = paired_over_seeds(*values), "paired over seeds"
    else:
        a, b = (Interval(one.value, one.low, one.high) for one in pairs[0])
        paired = _paired(match, *pairs[0])
        apart, method = (difference(a, b), "unpaired") if paired is None else (paired, "paired over identities")
    return Difference(
        model_a=pairs[0][0].defense,
        model_b=pairs[0][1].defense,
        **key._asdict(),
        a=a.value,
        a_low=a.low,
        a_high=a.high,
        b=b.value,
        b_low=b.low,
        b_high=b.high,
        difference=apart.value,
        low=apart.low,
        high=apart.high,
        interval="unknown" if math.isnan(apart.low) else method,
    )


def _paired(match: Match, first: Score, second: Score) -> Interval | None:
    """The difference with its interval over identities.

    None if the values of images are not stored, or if the two sides do not show the same identities.
    """
    value_of = OF_EACH_IMAGE.get(first.metric)
    sides = []
    for side, score in ((match.a, first), (match.b, second)):
        said = None if score.seed is None else side.judgement(score.defense, score.attack, score.seed, score.judge)
        if value_of is None or said is None:
            return None
        sides += [value_of(said).double(), said.labels]
    if not torch.equal(sides[1].unique(), sides[3].unique()):
        return None
    return paired_over_identities(*sides)
