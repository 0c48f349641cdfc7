"""Gates: what passes, what fails, and that nothing passes because it was not measured."""

import math

import pytest

from trapmid.metrics.gates import apply_gates, parse_gates
from trapmid.metrics.scores import Score
from trapmid.types import UserError


def score(defense: str, attack: str, value: float, seed: int | None = 0, judge: str = "one") -> Score:
    numbers = {"value": value, "low": math.nan, "high": math.nan}
    return Score(defense=defense, attack=attack, seed=seed, judge=judge, metric="attack_accuracy_1", **numbers)


SCORES = [
    score("-", "prior:cgan", 0.9),
    score("mine", "plgmi", 0.3),
    score("mine", "plgmi", 0.5, seed=1),
    score("mine", "plgmi", 0.4, seed=None),
    score("mine", "gmi", 0.1, seed=None),
    score("mine", "plgmi", 0.8, judge="two"),
]


@pytest.mark.parametrize(("bound", "passed"), [(0.4, [True, True]), (0.39, [False, True]), (0.0, [False, False])])
def test_means_of_models_by_the_first_judge_count(bound: float, passed: list[bool]) -> None:
    verdicts = apply_gates(parse_gates([f"attack_accuracy_1={bound}"]), SCORES)
    assert [one.passed for one in verdicts] == passed
    assert "attack_accuracy_1 of mine under plgmi is 0.4, which" in verdicts[0].told


def test_a_lower_bound() -> None:
    assert [one.passed for one in apply_gates(parse_gates([], ["attack_accuracy_1=0.2"]), SCORES)] == [True, False]


def test_what_was_not_measured_does_not_pass() -> None:
    with pytest.raises(UserError, match=r"no such score\. Did you mean 'attack_accuracy_1'\?"):
        apply_gates(parse_gates(["attack_accuracy_5=0.1"]), SCORES)
    with pytest.raises(UserError, match="no such score"):
        apply_gates(parse_gates(["attack_accuracy_1=0.1"]), [score("mine", "gmi", math.nan)])
    with pytest.raises(UserError, match="the score of yours is not a number"):
        apply_gates(
            parse_gates(["attack_accuracy_1=0.1"]), [score("mine", "gmi", 0.0), score("yours", "gmi", math.nan)]
        )


@pytest.mark.parametrize("text", ["attack_accuracy_1", "=0.1", "attack_accuracy_1=low", "attack_accuracy_1=nan"])
def test_what_is_no_gate(text: str) -> None:
    with pytest.raises(UserError, match="expected METRIC=VALUE, such as attack_accuracy_1"):
        parse_gates([text])
