"""The command `python -m benchmarks.gpu`, to be run from a checkout."""

import subprocess
import sys
import time
from typing import Annotated, Literal

import torch
import tyro

from benchmarks.gpu import PARTS, Setting
from trapmid.engine import choose_device
from trapmid.errors import UserError

DEFAULT = Setting()


def command(
    setting: tyro.conf.OmitArgPrefixes[Setting] = DEFAULT,
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART ...")] = (),
    minutes: float = 9.0,
    here: bool = False,
) -> int:
    """Run the tests and the benchmarks of a GPU, part after part, within a time limit. Lines appear as they are known.

    Each part runs in a process of its own, so that a part that fails or is too slow does not stop the others.

    Example: python -m benchmarks.gpu

    Example: python -m benchmarks.gpu --device cpu --steps 2 --batch 4 --size 32 --network tiny --only float32 attack

    Args:
        setting: what the parts work on.
        only: the parts to run: tests, numbers, float32, bf16, compiled, graphs, attack. Default: all.
        minutes: the time limit of all parts together. Each has a share of it.
        here: run the parts in this process, without time limits.

    Returns:
        The exit code: 1 if a part failed or ran out of time.
    """
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise UserError(f"--only {' '.join(unknown)}: there is no such part. Expected some of {', '.join(PARTS)}.")
    device = choose_device(setting.device)
    chosen, failed = only or tuple(PARTS), []
    if here:
        for name in chosen:
            for line in PARTS[name][0](setting):
                say(f"{name}: {line}")
        return 0
    card = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    say(f"{card}, torch {torch.__version__}, CUDA {torch.version.cuda}, {setting}")
    whole = sum(PARTS[name][1] for name in chosen)
    for name in chosen:
        limit, began = 60 * minutes * PARTS[name][1] / whole, time.monotonic()
        try:
            code: int | Literal["time"] = subprocess.run(  # noqa: S603
                [sys.executable, "-u", "-m", "benchmarks.gpu", "--here", *sys.argv[1:], "--only", name],
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = "time"
        if code:
            failed.append(name)
            say(f"{name}: {f'out of time after {limit:.0f} s' if code == 'time' else f'failed with exit code {code}'}")
        say(f"{name}: {time.monotonic() - began:.0f} s")
    say(f"failed: {', '.join(failed)}" if failed else "all parts ran")
    return 1 if failed else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(tyro.cli(command, prog="python -m benchmarks.gpu", config=(tyro.conf.FlagCreatePairsOff,)))
    except UserError as problem:
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
