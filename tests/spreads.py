"""Measure how far statistics are from their bounds, over seeds and over roundings, and write the table.

    uv run python tests/spreads.py

takes an hour or two of one core, keeps every measurement in `--results` (by default spreads.jsonl in the folder of
the repository, which git ignores), goes on where it was interrupted, and writes docs/experiments/test-spreads.md at
its end. Remove the results to measure anew. `--only judge` measures the statistics whose names contain that word,
`--table` only writes the table.

Every statistic is measured from `--seeds` seeds; from the seed of its test as often with the last bits of all sums
moved at random; and from `--others` seeds in every other rounding: two threads, no oneDNN, weights channels first,
and each of torch's instruction sets.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from helpers.roundings import CAPABILITIES, ROUNDINGS
from helpers.spread_table import Measurement, table

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "experiments" / "test-spreads.md"


def read(file: Path) -> list[Measurement]:
    """What was measured before."""
    return [Measurement(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def measure(rounding: str, options: argparse.Namespace) -> None:
    """Everything that is missing in one rounding, in this process; the quickest statistics first."""
    import torch

    from helpers.statistics import STATISTICS, forget

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    capability, known = torch.backends.cpu.get_cpu_capability(), read(options.results)
    usual = next((one.capability for one in known if one.rounding == "as it is"), "")
    if rounding in CAPABILITIES and capability == usual:
        print(f"{rounding}: torch takes {capability} here, as it does without being told")
        return
    done = {(one.statistic, one.seed) for one in known if one.rounding == rounding}
    seconds = {one.statistic: one.seconds for one in known if one.seed == 0 and one.rounding == "as it is"}

    def wanted(name: str) -> int:
        if rounding == "last bit":
            return options.seeds
        if name.startswith("recorded"):  # one seed is recorded, and rounding alone moves it
            return 1
        return options.seeds if rounding == "as it is" else options.others

    names = [name for name in sorted(STATISTICS, key=lambda name: seconds.get(name, 0)) if options.only in name]
    todo = [(name, seed) for name in names for seed in range(wanted(name)) if (name, seed) not in done]
    if not seconds:
        todo.sort(key=lambda one: one[1] > 0)  # every statistic once, so that the quickest are known
    for name, seed in todo:
        forget()
        start = time.process_time()
        with ROUNDINGS[rounding](seed):
            values = STATISTICS[name].measure(0 if rounding == "last bit" else seed)
        spent = round(time.process_time() - start, 2)
        one = Measurement(name, rounding, capability, seed, spent, values)
        with options.results.open("a") as file:
            file.write(json.dumps(one._asdict()) + "\n")
        print(f"{rounding} {name} {seed}: {spent} s {values}", flush=True)


def main() -> None:
    """Measure what is missing, one process for each rounding, and write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=Path, default=ROOT / "spreads.jsonl")
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--others", type=int, default=5)
    options.add_argument("--only", default="")
    options.add_argument("--table", action="store_true")
    options.add_argument("--rounding", choices=ROUNDINGS, help="measure in this one alone, and write no table")
    given = options.parse_args()
    if given.rounding:
        return measure(given.rounding, given)
    for rounding in () if given.table else ROUNDINGS:
        environment = {**os.environ}
        if rounding in CAPABILITIES:
            environment["ATEN_CPU_CAPABILITY"] = CAPABILITIES[rounding]
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--rounding", rounding], env=environment, check=True)
    TABLE.write_text(table(read(given.results)))
    return None


if __name__ == "__main__":
    main()
