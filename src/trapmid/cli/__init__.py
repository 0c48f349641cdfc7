"""The command line: arguments in, verbs called, exit codes out. Heavy imports wait until the arguments are right."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

import tyro

from trapmid.cli.attacks import attack
from trapmid.cli.audits import audit, demo, measure, report, train
from trapmid.cli.detection import detect
from trapmid.cli.reproductions import reproduce
from trapmid.cli.tools import convert, doctor, list_
from trapmid.errors import in_words

COMMANDS: dict[str, Callable[..., int | None]] = {
    "demo": demo,
    "audit": audit,
    "train": train,
    "attack": attack,
    "reproduce": reproduce,
    "measure": measure,
    "report": report,
    "doctor": doctor,
    "detect": detect,
    "convert": convert,
    "list": list_,
}


class _Terminated(BaseException):
    """SIGTERM: what runs ends as it does after Ctrl-C."""


def main() -> None:
    """Entry point.

    Exit codes: 0 for success, 1 for a bug in trapmid, 2 for what the user can mend, 130 after Ctrl-C, 141 when the reader of the
    output has gone, 143 after SIGTERM, as batch systems send it before they take a machine away.
    """
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)
        try:
            code = tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="trapmid",
                description=_about(),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # as under `| head`; what is still buffered must not be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command to resume.", file=sys.stderr)
        sys.exit(130)
    except _Terminated:
        print("\nTerminated. Run the same command to resume.", file=sys.stderr)
        sys.exit(143)
    except Exception as problem:
        sys.exit(_explain(problem))
    sys.exit(code or 0)


def _terminate(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would interrupt the end of the workers
    raise _Terminated


def _about() -> str:
    return (
        "Model inversion: train classifiers that resist it, attack classifiers with it, report the difference. "
        "Start with `trapmid demo`; then `trapmid audit` on your own images."
    )


def _explain(problem: Exception) -> int:
    if os.environ.get("TRAPMID_DEBUG"):
        traceback.print_exc()
    said = in_words(problem)
    if said is not None:
        print(f"Error: {said}", file=sys.stderr)
        return 2
    print(
        f"This is a bug in trapmid: {type(problem).__name__}: {problem}\n"
        "Please report it with the output of the same command under TRAPMID_DEBUG=1. What was finished is kept.",
        file=sys.stderr,
    )
    return 1
