"""The command line: it reads arguments, calls the package's functions, and turns errors into exit codes.

Heavy imports wait until the arguments are known to be right.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.metadata import version
from unicodedata import category

import tyro

from trapmid.cli.attacks import attack
from trapmid.cli.audits import audit, demo, measure, report, train
from trapmid.cli.comparisons import compare
from trapmid.cli.detection import detect
from trapmid.cli.importing import importing
from trapmid.cli.options import gathered
from trapmid.cli.pretraining import pretrain
from trapmid.cli.reproductions import reproduce
from trapmid.cli.results import leaderboard
from trapmid.cli.tools import convert, doctor, list_
from trapmid.errors import UserError, did_you_mean, in_words
from trapmid.terminal import visible
from trapmid.termination import EXIT_CODE, Terminated, end_on

COMMANDS: dict[str, Callable[..., int | None]] = {
    "demo": demo,
    "audit": audit,
    "pretrain": pretrain,
    "train": train,
    "attack": attack,
    "measure": measure,
    "report": report,
    "compare": compare,
    "detect": detect,
    "reproduce": reproduce,
    "leaderboard": leaderboard,
    "doctor": doctor,
    "convert": convert,
    "list": list_,
}

_ABOUT = (
    "Attack an image classifier that you have, see what model inversion recovers of its training images, and train "
    "classifiers that resist it. Start with `trapmid demo`; then run `trapmid audit` on your own model or images. "
    "`trapmid COMMAND --help` explains a command."
)


def main() -> None:
    """Run the command in `sys.argv`.

    Exit codes: 0 for success, 2 for a mistake of the user, 3 for an audit that does not pass its gates, 1 for a bug of
    trapmid, 130 after Ctrl-C, 141 when the reader of the output has gone, 143 after SIGTERM, which batch systems send
    before they take a machine away.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if threading.current_thread() is threading.main_thread():
            end_on(signal.SIGTERM)
        try:
            code = _run(sys.argv[1:])
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as under `| head`. What is still buffered must not be flushed into the closed pipe at
        # exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command to resume.", file=sys.stderr)
        sys.exit(130)
    except Terminated:
        print("\nTerminated. Run the same command to resume.", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except Exception as problem:
        sys.exit(_explain(problem))
    sys.exit(code or 0)


def _run(arguments: list[str]) -> int | None:
    for argument in arguments:
        if any(category(character) in ("Cc", "Cs") for character in argument if character not in "\n\t"):
            raise UserError(
                f"The argument {visible(argument)} has control characters or is not valid UTF-8. "
                "Rename the file or folder, then try again."
            )
    first = arguments[0] if arguments else "--help"
    if first == "--version":
        print(f"trapmid {version('trapmid')}")
        return 0
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    if first in COMMANDS:
        command = COMMANDS[first] if first == "convert" else importing(COMMANDS[first])
        return tyro.cli(command, prog=f"trapmid {first}", args=gathered(arguments[1:]), config=config)
    if first not in ("--help", "-h"):
        raise UserError(
            f"{first!r} is not a command.{did_you_mean(first, [*COMMANDS, '--help', '--version'])} "
            f"The commands are {', '.join(COMMANDS)}; `trapmid --help` explains them."
        )
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="trapmid", description=_ABOUT, args=["--help"], config=config
    )


def _explain(problem: Exception) -> int:
    """Tell the user about an error; returns the exit code."""
    if os.environ.get("TRAPMID_DEBUG"):
        traceback.print_exc()
    told = in_words(problem)
    notes = "".join(f"\n{visible(note)}" for note in getattr(problem, "__notes__", ()) if "\n" not in note)
    if told is not None:
        print(f"Error: {visible(told)}{notes}", file=sys.stderr)
        return 2
    print(
        f"This is a bug in trapmid: {type(problem).__name__}: {visible(str(problem))}{notes}\n"
        "Please report it with the output of the same command under TRAPMID_DEBUG=1. What was finished is kept.",
        file=sys.stderr,
    )
    return 1
