"""Gates on the command line: what an audit's scores have to be, so that a release may go on."""

from pathlib import Path
from typing import TYPE_CHECKING

from trapmid.cli.options import Gating
from trapmid.console import console
from trapmid.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trapmid.metrics.gates import Gate

GATE_FAILED = 3
"""The exit code of an audit whose scores do not pass a gate."""


def gates_of(gating: Gating) -> "tuple[Gate, ...]":
    """The gates that a command line describes.

    Raises:
        UserError: a text has no number, or there is a file to write and no gate.
    """
    from trapmid.metrics.gates import parse_gates

    gates = parse_gates(gating.fail_above, gating.fail_below)
    if not gates and (gating.junit is not None or gating.sarif is not None):
        raise UserError("--junit and --sarif write the outcome of gates: give --fail-above or --fail-below as well.")
    return gates


def check_gates(out: Path, gates: "Sequence[Gate]", gating: Gating, model: str | None = None) -> int:
    """Say what each gate makes of the scores of a run folder, and write it to the files that `gating` names.

    Args:
        out: the run folder.
        gates: see `gates_of`.
        gating: names the files.
        model: the only model whose scores count; None for all.

    Returns:
        The exit code: 0, or 3 if a gate fails.
    """
    from trapmid.metrics.gates import apply_gates
    from trapmid.metrics.scores import read_scores
    from trapmid.report.pipeline import write_junit, write_sarif

    scores = [one for one in read_scores(out) if model in (None, one.defense)] if gates else []
    verdicts = apply_gates(gates, scores)
    if gating.junit is not None:
        write_junit(verdicts, gating.junit)
    if gating.sarif is not None:
        write_sarif(verdicts, gating.sarif)
    for one in verdicts:
        console.print(f"{'pass' if one.passed else 'FAIL'}: {one.told}.", style=None if one.passed else "bold red")
    return 0 if all(one.passed for one in verdicts) else GATE_FAILED
