"""Holds ratios against their limits, and keeps them as data."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.timing import Measurement
from trapmid.manifests import versions
from trapmid.types import UserError

LIMITS = Path(__file__).with_name("limits.json")
"""The highest ratio of every hot path. Each is one and a half times what was measured when it was set."""


def limits() -> dict[str, float]:
    """The highest ratio by the name of the measurement."""
    return {name: float(limit) for name, limit in json.loads(LIMITS.read_text(encoding="utf-8")).items()}


def too_slow(measurements: Sequence[Measurement], highest: Mapping[str, float]) -> list[Measurement]:
    """The measurements whose ratio is above its limit.

    Raises:
        UserError: a measurement has no limit, or a limit has no measurement.
    """
    names = {one.name for one in measurements}
    if odd := sorted(names ^ highest.keys()):
        raise UserError(f"{', '.join(odd)}: measured without a limit, or the other way round. Correct {LIMITS}.")
    return [one for one in measurements if one.ratio > highest[one.name]]


def check(measure: Callable[[], Sequence[Measurement]]) -> tuple[Sequence[Measurement], list[str]]:
    """Measure, and measure once more if something is too slow, because another program may have been the reason.

    Returns:
        The last measurements, and a sentence about each that was too slow both times.
    """
    highest, found = limits(), measure()
    slow = {one.name for one in too_slow(found, highest)}
    if slow:
        found = measure()
    told = [
        f"{one.name}: {one.what}: a ratio of {one.ratio:.2f}, and at most {highest[one.name]:.2f} was expected"
        for one in too_slow(found, highest)
        if one.name in slow
    ]
    return found, told


def record(file: Path, measurements: Sequence[Measurement]) -> None:
    """Append a line of JSON with the date, the machine, the versions and all ratios to a file."""
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "ratios": {one.name: round(one.ratio, 3) for one in measurements},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
