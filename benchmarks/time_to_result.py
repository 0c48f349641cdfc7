"""The command `python -m benchmarks.time_to_result RUN`: how long a run took until its result was there.

A faster step is worth nothing if more steps are needed. Two times contain both: seconds until the trapdoor of each
model works, from its training's log, and seconds until PLG-MI recovers nearly as much as it does in the end, for which
the attack is run again with shares of its iterations.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import tyro

from trapmid.attacks import PLGMI
from trapmid.audit.plan import Folders, Task
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import run as run_tasks
from trapmid.audit.run import settle
from trapmid.engine import Compute, Progress, no_progress, read_log
from trapmid.manifests import open_artifact
from trapmid.metrics.of_models import TRAPDOOR_SUCCESS
from trapmid.metrics.recognition import AA1
from trapmid.metrics.scores import read_scores
from trapmid.progress import Watch
from trapmid.types import UserError

WORKS = 0.99
NEARLY = 0.9
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


class Reached(NamedTuple):
    """A result and when it was there.

    Attributes:
        what: the result.
        seconds: when it was there; None if it never was.
        whole: seconds that the whole work took.
    """

    what: str
    seconds: float | None
    whole: float


def trapdoors(run: Path) -> Iterator[Reached]:
    """When the success on validation images of each model's trapdoor was first 99 %, epoch by epoch."""
    recipe, folders = settle(None, run), Folders(run)
    for task in folders.finished(recipe, "train"):
        rows = read_log(folders.of(task) / "log.jsonl")
        if recipe.has_trapdoor(task.defense):
            first = next((row["seconds"] for row in rows if row.get(TRAPDOOR_SUCCESS.name, 0.0) >= WORKS), None)
            yield Reached(f"{task.defense}, seed {task.seed}: trapdoor success of 99 %", first, rows[-1]["seconds"])


def plgmi(run: Path, compute: Compute | None = None, progress: Progress = no_progress) -> Iterator[Reached]:
    """When PLG-MI had 90 % of its final AA-1 on each model, by the first judge. The run folder stays as it is.

    Raises:
        UserError: no PLG-MI is finished in the run folder.
    """
    recipe = settle(None, run)
    whole = next((one for one in recipe.attacks if isinstance(one, PLGMI)), None)
    finished = [task for task in Folders(run).finished(recipe, "attack") if whole and task.member == whole.name]
    if whole is None or not finished:
        raise UserError(f"{run} has no finished attack by PLG-MI, whose end its beginning could be compared with.")
    shorter = {share: _shortened(whole, share) for share in SHARES}
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy)
        (copy / "recipe.json").unlink()
        recipe = settle(recipe.model_copy(update={"attacks": (*recipe.attacks, *shorter.values())}), copy)
        names = {attack.name for attack in shorter.values()}
        targets = {(task.defense, task.seed) for task in finished}
        run_tasks(
            recipe,
            copy,
            only=lambda task: task.member in names and (task.defense, task.seed) in targets,
            compute=compute,
            jobs=1,
            progress=progress,
        )
        for task in finished:
            yield _reached(recipe, Folders(copy), task, (*shorter.values(), whole))


def _shortened(attack: PLGMI, share: float) -> PLGMI:
    few = max(1, round(attack.prior.iterations * share))
    return attack.model_copy(
        update={"label": f"plgmi-{few}", "prior": attack.prior.model_copy(update={"iterations": few})}
    )


def _reached(recipe: Recipe, folders: Folders, task: Task, attacks: tuple[PLGMI, ...]) -> Reached:
    def accuracy(attack: PLGMI) -> float:
        rows = read_scores(folders.measured(attack.name, task.defense, task.seed))
        return next(row.value for row in rows if (row.metric, row.judge) == (AA1.name, recipe.judges[0].name))

    def seconds(attack: PLGMI) -> float:
        return open_artifact(folders.attack(attack.name, task.defense, task.seed), "attack").seconds

    final = accuracy(attacks[-1])
    first = next(attack for attack in attacks if accuracy(attack) >= NEARLY * final)
    what = f"{task.defense}, seed {task.seed}: PLG-MI at {NEARLY:.0%} of its AA-1 of {final:.1%}"
    return Reached(what, seconds(first), seconds(attacks[-1]))


def command(
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")],
    device: str = "cpu",
) -> None:
    """Print how long a run took until its trapdoors worked, and until PLG-MI had nearly recovered what it did.

    PLG-MI is run again with 1/16 to 1/2 of its iterations, which takes about as long as the attack did.

    Example: python -m benchmarks.time_to_result runs/demo

    Args:
        run: a run folder.
        device: cpu, cuda or cuda:N.
    """
    for one in trapdoors(run):
        _say(one)
    with Watch() as progress:
        found = [*plgmi(run, Compute(device), progress)]
    for one in found:
        _say(one)


def _say(one: Reached) -> None:
    when = "never" if one.seconds is None else f"{one.seconds:.0f} s"
    sys.stdout.write(f"{one.what}: {when}; the whole took {one.whole:.0f} s\n")


if __name__ == "__main__":
    try:
        tyro.cli(command, prog="python -m benchmarks.time_to_result", config=(tyro.conf.FlagCreatePairsOff,))
    except UserError as problem:
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
