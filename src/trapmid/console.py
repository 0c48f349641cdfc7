"""How results are shown on stdout: tables and sentences. Imports neither torch nor pydantic."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from trapmid.terminal import SafeConsole

if TYPE_CHECKING:
    from trapmid.audit.examination import Examination, Speed
    from trapmid.catalogue import CatalogueEntry
    from trapmid.data.diagnosis import Diagnosis
    from trapmid.detection import Detector, Suspects
    from trapmid.deviations import DeviationEntry
    from trapmid.metrics.scores import Score
    from trapmid.recipes.judging import Effort

_SUSPECTS_SHOWN = 40

_FILE_WIDTH = 200
"""Columns of text where stdout is not a terminal; rich's 80 would cut tables in logs."""

console = SafeConsole(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH)
"""Prints results to stdout."""


def say(text: str) -> None:
    """Print a result without breaking lines."""
    console.print(text, soft_wrap=True)


def print_scores(out: Path) -> None:
    """The table of an audit by the recipe's first judge: means over seeds, or the only seed, with 95 % intervals."""
    from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, PUBLIC, read_scores
    from trapmid.metrics.table import metrics

    scores = read_scores(out)
    judge = next((score.judge for score in scores if score.judge != NOT_APPLICABLE), NOT_APPLICABLE)
    cells = {
        (s.defense, s.attack, s.metric): _score_text(s, scores)
        for s in scores
        if s.judge in (judge, NOT_APPLICABLE) and s.seed is None
    }
    measured = {metric for _, _, metric in cells}
    shown = [metric for metric in metrics() if "console" in metric.tables and metric.name in measured]
    columns = sorted(shown, key=lambda metric: metric.subject != "model")
    names = {metric.name for metric in columns}
    seeds = len({score.seed for score in scores if score.seed is not None})
    over = (
        f"Means over {seeds} seeds with 95 % intervals"
        if seeds > 1
        else "One seed, with 95 % intervals over identities"
    )
    table = Table(
        title=f"Judge: {judge}. {over}. AA is attack accuracy: the lower, the safer.",
        title_justify="left",
        title_style="",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    of_models = {
        (defense, attack) for defense, attack, metric in cells if defense != NOT_APPLICABLE and metric in names
    }
    attacked = {defense for defense, attack in of_models if attack != NOT_APPLICABLE}
    for title in ("defense", "attack"):
        table.add_column(title, no_wrap=True)  # a narrow terminal breaks numbers, not names
    for metric in columns:
        table.add_column(f"{metric.title} {metric.unit.symbol}".strip(), justify="right")

    def add_row(first: str, second: str, defense: str, attack: str) -> None:
        found = (
            cells.get((defense, attack if one.subject != "model" else NOT_APPLICABLE, one.name)) for one in columns
        )
        table.add_row(first, second, *(text or "" for text in found))

    for defense, attack in sorted(of_models):
        if (
            attack != NOT_APPLICABLE or defense not in attacked
        ):  # a model's own numbers stand in the rows of its attacks
            add_row(defense, attack, defense, attack)
    table.add_section()
    for frame in dict.fromkeys(attack for defense, attack, _ in cells if defense == NOT_APPLICABLE):
        kind, what = {HELD_OUT: ("ceiling", "held-out images"), PUBLIC: ("floor", "public images")}.get(
            frame, ("floor", f"{frame.removeprefix(PRIOR_FLOOR)} samples")
        )
        add_row(kind, what, NOT_APPLICABLE, frame)
    console.print(table)


def _score_text(score: "Score", scores: "Sequence[Score]") -> str:
    """A mean over seeds with its interval; of a single seed the interval over identities."""
    from trapmid.metrics.table import unit_of
    from trapmid.metrics.units import format_value

    low, high, unit = score.low, score.high, unit_of(score.metric)
    if not math.isfinite(low):
        key = (score.defense, score.attack, score.judge, score.metric)
        alone = [s for s in scores if s.seed is not None and (s.defense, s.attack, s.judge, s.metric) == key]
        if len(alone) == 1:
            low, high = alone[0].low, alone[0].high
    ends = [format_value(end, unit, brief=True) for end in (low, high)]
    return format_value(score.value, unit) + (f" ({ends[0]} to {ends[1]})" if math.isfinite(low) else "")


def print_examination(
    found: "Examination",
    speed: "Speed",
    durations: "Mapping[Effort, float]",
    memory: "Mapping[Effort, int]",
    *,
    as_json: bool,
) -> None:
    """What a model makes of the private images, what is wrong with it, and what an audit of it takes."""
    if as_json:
        takes = {"speed": speed._asdict(), "seconds": dict(durations), "memory_bytes": dict(memory)}
        say(json.dumps(found.model_dump() | takes, indent=1))
        return
    channels, height, width = found.image_shape
    say(f"{found.model}: {found.access} access, {found.classes} classes, answers with {found.answers}")
    say(f"  takes: {width} x {height}, {'colour' if channels == 3 else 'grey'}, {found.normalise}")
    say(f"  accuracy: {found.accuracy:.1%} of {found.images} private images of {len(found.by_identity)} identities")
    worst = sorted(found.by_identity.items(), key=lambda one: one[1])[:5]
    say("  lowest by identity: " + ", ".join(f"{name} {share:.0%}" for name, share in worst))
    for colour, (name, sure) in found.plain.items():
        say(f"  a {colour} image: {name} ({sure:.0%})")
    told = "does not give any" if found.zero_gradients is None else f"none at {found.zero_gradients:.0%} of the images"
    say(f"  gradients: {told}; the same image again: {found.differs:.1g} apart; alone: {found.batch_differs:.1g} apart")
    pace = f"{1000 * speed.answer:.1f} ms an image"
    say(f"  speed: {pace}" + (f", {1000 * speed.gradient:.1f} ms with its gradient" if speed.gradient else ""))
    say("  an audit, one task at a time on one core:")
    for name, seconds in durations.items():
        say(f"    {name} about {_hours(seconds)}, {memory[name] / 2**30:.1f} GiB of memory")
    colours = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in found.findings:
        console.print(
            f"{finding.severity}: {finding.problem} {finding.remedy}".rstrip(), style=colours[finding.severity]
        )
    say("It can be audited." if found.healthy else "It cannot be audited before the errors are mended.")


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def print_diagnosis(diagnosis: "Diagnosis", *, as_json: bool) -> None:
    """What the data sets are and what is wrong with them."""
    if as_json:
        say(diagnosis.model_dump_json(indent=1))
        return
    for facts in diagnosis.facts:
        sizes = ", ".join(f"{width} x {height} ({count})" for width, height, count in facts.sizes)
        say(f"{facts.role}: {facts.path} ({facts.kind})")
        people = (
            "people who are not named"
            if facts.identities is None
            else f"{facts.identities} identities; {facts.fewest} to {facts.most} each, typically {facts.typical:g}"
        )
        say(f"  {facts.images} images of {people}")
        say(f"  sizes: {sizes or 'none'}; modes: {', '.join(facts.modes) or 'none'}; unreadable: {facts.broken}")
    if not diagnosis.findings:
        say("Nothing is wrong.")
        return
    table = Table("", "set", "found", "for example", "what to do", show_lines=True)
    colours = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in diagnosis.findings:
        examples = "\n".join(finding.examples) + ("\n..." if finding.count > len(finding.examples) else "")
        severity = Text(finding.severity, style=colours[finding.severity])
        table.add_row(
            severity,
            finding.role,
            f"{finding.count} {finding.problem}",
            examples,
            finding.remedy,
        )
    console.print(table)
    say("It can be used." if diagnosis.healthy else "It cannot be used before the errors are mended.")


def print_suspects(
    sources: Sequence[str], suspects: "Suspects", detector: "Detector", identities: Sequence[str], *, as_json: bool
) -> None:
    """The suspected images, the most suspicious first, and what the set as a whole says."""
    flagged, images = int(suspects.flagged.sum()), len(sources)
    calibration = detector.calibration
    rows = [
        {"image": source, "identity": identities[label], "score": score, "p_value": p_value, "flagged": above}
        for source, label, score, p_value, above in zip(
            sources,
            suspects.labels.tolist(),
            suspects.scores.tolist(),
            suspects.p_values.tolist(),
            suspects.flagged.tolist(),
            strict=True,
        )
    ]
    if as_json:
        whole = {
            "images": images,
            "flagged": flagged,
            "p_value": suspects.chance,
            "threshold": calibration.threshold,
            "false_positives": calibration.false_positives,
            "confidence": calibration.confidence,
            "calibration_images": len(calibration.clean),
        }
        say(json.dumps({"set": whole, "images": [_with_null(row) for row in rows]}, indent=1, allow_nan=False))
        return
    table = Table("image", "taken for", "score", "p-value", "flagged")
    for row in sorted(rows, key=lambda row: (not math.isnan(row["score"]), -row["score"]))[:_SUSPECTS_SHOWN]:
        table.add_row(
            row["image"],
            row["identity"],
            f"{row['score']:.3f}",
            f"{row['p_value']:.3f}",
            Text("flagged", style="bold red") if row["flagged"] else "",
        )
    console.print(table)
    if images > _SUSPECTS_SHOWN:
        say(f"The {_SUSPECTS_SHOWN} most suspicious of {images}; --json prints all.")
    say(
        f"{flagged} of {images} images ({flagged / images:.0%}) score above the threshold "
        f"{calibration.threshold:.3f}; of clean images at most {calibration.false_positives:.2%} do "
        f"({calibration.confidence:.0%} confidence, {len(calibration.clean)} calibration images)."
    )
    say(_suspicion(suspects.chance))


def _with_null(row: Mapping[str, object]) -> dict[str, object]:
    """A row with None for each number that is not finite, which JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _suspicion(chance: float) -> str:
    odds = f"a set of clean images has as many with a probability of {chance:.2g}"
    if chance < 0.001:
        return (
            f"These images are not all clean: {odds}. Some came out of an inversion of this model, "
            "or carry its triggers or an adversarial change."
        )
    if chance < 0.05:
        return f"Suspicious: {odds}. More images of the same origin would tell."
    return (
        f"Nothing stands out: {odds}. That does not show that they are clean: "
        "attacks that avoid the trapdoor leave no such trace."
    )


def print_catalogue(entries: "Sequence[CatalogueEntry]", *, as_json: bool) -> None:
    """Everything that can be named, union after union."""
    if as_json:
        say(json.dumps([entry._asdict() for entry in entries], indent=1))
        return
    table = Table("union", "kind", "title", "what it is", "paper")
    last = ""
    for entry in entries:
        if last not in ("", entry.union):
            table.add_section()
        union = "" if entry.union == last else entry.union
        title = f"{entry.title} ({entry.unit})" if entry.unit else entry.title
        table.add_row(union, entry.kind, title, entry.about, entry.paper)
        last = entry.union
    console.print(table)


def print_deviations(entries: "Sequence[DeviationEntry]", *, as_json: bool) -> None:
    """What differs from the publications, union after union."""
    if as_json:
        say(json.dumps([entry._asdict() for entry in entries], indent=1))
        return
    table = Table("union", "kind", "what differs", "published", "here", "why")
    last = ""
    for entry in entries:
        if last not in ("", entry.union):
            table.add_section()
        table.add_row("" if entry.union == last else entry.union, *entry[1:])
        last = entry.union
    console.print(table)
