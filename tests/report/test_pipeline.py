"""Gates as files for pipelines."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trapmid.metrics.gates import apply_gates, parse_gates
from trapmid.metrics.scores import Score
from trapmid.report.pipeline import sarif, write_junit, write_sarif


def score(attack: str, metric: str, value: float) -> Score:
    ends = {"low": math.nan, "high": math.nan}
    return Score(defense="mine", attack=attack, seed=0, judge="-", metric=metric, value=value, **ends)


SCORES = [
    score("plgmi", "attack_accuracy_1", 0.3),
    score("gmi", "attack_accuracy_1", 0.1),
    score("-", "clean_accuracy", 0.9),
]
GATES = parse_gates(["attack_accuracy_1=0.2", "attack_accuracy_1=0.05"], ["clean_accuracy=0.8"])


@pytest.fixture
def log() -> dict[str, Any]:
    return sarif(apply_gates(GATES, SCORES))


def test_what_sarif_requires_of_every_object_is_there(log: dict[str, Any]) -> None:
    """Sections 3.13 to 3.33 and 3.49 of SARIF 2.1.0."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids) == len(GATES)
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        assert all(rule[name]["text"].endswith(".") for name in ("shortDescription", "fullDescription", "help"))
    for result in run["results"]:
        assert result["message"]["text"]
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["kind"] in ("pass", "fail")
        assert (result["level"] == "none") == (result["kind"] != "fail")  # 3.27.10
        (location,) = result["locations"]
        (place,) = location["logicalLocations"]
        assert place["name"] == place["fullyQualifiedName"].split("/")[-1]


def test_a_rule_for_every_gate_and_a_result_for_every_score(log: dict[str, Any]) -> None:
    found = [
        (one["ruleId"], one["kind"], one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"])
        for one in log["runs"][0]["results"]
    ]
    assert found == [
        ("fail-above/attack_accuracy_1=0.2", "fail", "mine/plgmi"),
        ("fail-above/attack_accuracy_1=0.2", "pass", "mine/gmi"),
        ("fail-above/attack_accuracy_1=0.05", "fail", "mine/plgmi"),
        ("fail-above/attack_accuracy_1=0.05", "fail", "mine/gmi"),
        ("fail-below/clean_accuracy=0.8", "pass", "mine"),
    ]
    said = log["runs"][0]["results"][0]["message"]["text"]
    assert said == "attack_accuracy_1 of mine under plgmi is 0.3, which is not at most 0.2."


def test_the_files_are_written_into_new_folders(tmp_path: Path) -> None:
    verdicts = apply_gates(GATES, SCORES)
    write_sarif(verdicts, tmp_path / "new" / "gates.sarif")
    assert json.loads((tmp_path / "new" / "gates.sarif").read_text(encoding="utf-8")) == sarif(verdicts)
    write_junit(verdicts, tmp_path / "other" / "junit.xml")
    assert 'tests="5" failures="3"' in (tmp_path / "other" / "junit.xml").read_text(encoding="utf-8")
