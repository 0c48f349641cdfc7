"""The outcome of gates as files for pipelines: JUnit XML and SARIF 2.1.0."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from trapmid.files import write_atomic
from trapmid.manifests import versions
from trapmid.metrics.gates import Gate, Verdict
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.metrics.table import metrics

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def write_junit(verdicts: Sequence[Verdict], file: Path) -> None:
    """Write one test case for every score that a gate looked at, as JUnit XML, which pipelines show."""
    failures = sum(not one.passed for one in verdicts)
    suite = Element("testsuite", name="trapmid audit", tests=str(len(verdicts)), failures=str(failures))
    for one in verdicts:
        case = SubElement(suite, "testcase", classname=one.score.defense, name=f"{one.gate.metric} {one.score.attack}")
        if not one.passed:
            SubElement(case, "failure", message=one.told)
    indent(suite)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def write_sarif(verdicts: Sequence[Verdict], file: Path) -> None:
    """Write a rule for every gate and a result for every score that it looked at, as SARIF 2.1.0."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(sarif(verdicts), indent=1) + "\n")


def sarif(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The content of `write_sarif`.

    A failed gate is a result of level `error`. A passed one has the kind `pass` and therefore, as the standard demands,
    the level `none`. The logical location of a result is MODEL/ATTACK, or the model alone for a metric that
    needs no attack.
    """
    gates = list(dict.fromkeys(one.gate for one in verdicts))
    driver = {"name": "trapmid", "version": versions()["trapmid"], "rules": [_rule(gate) for gate in gates]}
    results = [_result(one, gates.index(one.gate)) for one in verdicts]
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _rule(gate: Gate) -> dict[str, Any]:
    about = next((metric.about for metric in metrics() if metric.names(gate.metric)), "")
    side = "at most" if gate.side == "above" else "at least"
    return {
        "id": _id(gate),
        "shortDescription": {"text": f"{gate.metric} is {side} {gate.bound:g}."},
        "fullDescription": {"text": about or gate.metric},
        "help": {"text": f"{gate.told} of `trapmid audit`. {about}".strip()},
        "defaultConfiguration": {"level": "error"},
    }


def _result(verdict: Verdict, rule: int) -> dict[str, Any]:
    score = verdict.score
    place = {"name": score.defense, "fullyQualifiedName": score.defense}
    if score.attack != NOT_APPLICABLE:
        place |= {"name": score.attack, "fullyQualifiedName": f"{score.defense}/{score.attack}"}
    return {
        "ruleId": _id(verdict.gate),
        "ruleIndex": rule,
        "kind": "pass" if verdict.passed else "fail",
        "level": "none" if verdict.passed else "error",
        "message": {"text": f"{verdict.told}."},
        "locations": [{"logicalLocations": [place]}],
    }


def _id(gate: Gate) -> str:
    return f"fail-{gate.side}/{gate.metric}={gate.bound:g}"
