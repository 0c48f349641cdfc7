"""The command `python -m benchmarks`, to be run from a checkout."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import Measurement, guard, run
from trapmid.errors import UserError
from trapmid.progress import Watch


def command(
    device: str = "cpu",
    quick: bool = False,
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="GROUP ...")] = (),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    check: bool = False,
    history: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
) -> int:
    """Measure what costs time and memory, as ratios of two numbers taken in the same run.

    Example: python -m benchmarks --quick

    Example: python -m benchmarks --only orders memory

    Example: python -m benchmarks --check

    Args:
        device: cpu, cuda or cuda:N.
        quick: smaller sizes and fewer repeats: rough numbers in seconds instead of minutes.
        only: the groups to measure: steps, trainings, orders, selection, watching, layouts, augmentation, memory,
            hot-paths. Default: all.
        json_file: a file that gets the numbers as well.
        check: measure the hot paths alone and hold them against benchmarks/limits.json. The exit code is 3 if one of
            them is slower than its limit twice.
        history: a file that gets a line of JSON with all ratios, the date, the machine and the versions.
    """
    if check and (quick or only):
        raise UserError("--check measures the hot paths at their full size. Leave out --quick and --only.")
    told: list[str] = []
    with Watch() as progress:
        if check:
            measurements, told = guard.check(lambda: run(device=device, only=("hot-paths",), progress=progress))
        else:
            measurements = run(device=device, quick=quick, only=only, progress=progress)
    show(measurements)
    for sentence in told:
        sys.stderr.write(f"Too slow: {sentence}.\n")
    if history is not None:
        guard.record(history, measurements)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps([asdict(one) for one in measurements], indent=1) + "\n", encoding="utf-8")
    return 3 if told else 0


def show(measurements: Sequence[Measurement]) -> None:
    """Print a table of the ratios and of the numbers that they come from."""
    table = Table("name", "what", "baseline", "value", "ratio", "note")
    for one in measurements:
        numbers = (f"{one.baseline:.4g} {one.unit}", f"{one.value:.4g} {one.unit}", f"{one.ratio:.2f}")
        table.add_row(one.name, escape(one.what), *numbers, escape(one.note))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


if __name__ == "__main__":
    try:
        sys.exit(tyro.cli(command, prog="python -m benchmarks", config=(tyro.conf.FlagCreatePairsOff,)))
    except UserError as problem:
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
