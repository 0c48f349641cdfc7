"""Commands that make a run folder, or look at one again: demo, audit, train, measure, report."""

from pathlib import Path
from typing import TYPE_CHECKING

from trapmid.cli.options import HERE, UNNAMED, Changes, Job, Kinds, Machine, Numbers
from trapmid.cli.running import loading, run_recipe
from trapmid.console import console, print_scores
from trapmid.progress import Watch

if TYPE_CHECKING:
    from trapmid.audit import Task


def demo(
    out: Path = Path("runs/demo"),
    seeds: Numbers = (),
    changes: Changes = (),
    redact: bool = False,
    machine: Machine = HERE,
) -> None:
    """Watch a model inversion attack succeed, and fail against Trap-MID, on faces drawn by code. About ten minutes on two cores.

    Nothing is downloaded and no real person is shown. Trains two classifiers of 20 identities, attacks both with PLG-MI,
    and writes the comparison to OUT/report.html. Interrupted, the same command resumes.

    Example: trapmid demo

    Args:
        out: the run folder.
        seeds: instead of the recipe's, e.g. --seeds 0 1 2.
        changes: values of the recipe, e.g. --set training.epochs=20.
        redact: leave private images out of the report.
        machine: where numbers are computed.
    """
    run_recipe(Job("demo", out=out, changes=changes), machine, {"seeds": seeds}, redact=redact)


def audit(
    job: Job = UNNAMED,
    seeds: Numbers = (),
    defenses: Kinds = (),
    attacks: Kinds = (),
    identities: int | None = None,
    redact: bool = False,
    machine: Machine = HERE,
) -> None:
    """Train every defense, attack every model, measure, and write OUT/report.html, OUT/scores.json and OUT/scores.parquet.

    Finished parts are skipped and interrupted ones resume, so the same command can be run until it is done; more seeds,
    defenses or attacks can join the same folder later.

    Example: trapmid audit --recipe celeba64-cpu --private private.parquet --public public.parquet

    Args:
        job: what is run, and in which folder.
        seeds: instead of the recipe's, e.g. --seeds 0 1 2.
        defenses: which, e.g. --defenses none trapmid bido trapmid+negls: the recipe's, or any kind with its published constants;
            + stacks them.
        attacks: kinds to keep of the recipe's.
        identities: how many private identities take part, those with the most images.
        redact: leave private images out of the report.
        machine: where numbers are computed.
    """
    chosen = {"seeds": seeds, "defenses": defenses, "attacks": attacks, "identities": identities}
    run_recipe(job, machine, chosen, redact=redact)


def train(
    job: Job = UNNAMED,
    defense: str = "trapmid",
    seed: int = 0,
    machine: Machine = HERE,
) -> None:
    """Train one classifier of a recipe into OUT/models/DEFENSE-sSEED; its triggers go to OUT/secrets, readable by you alone.

    Example: trapmid train --recipe demo --out runs/demo --defense trapmid --seed 0

    Args:
        job: what is run, and in which folder.
        defense: name of the defense: the recipe's, or any kind with its published constants, or several joined by +.
        seed: of the training.
        machine: where numbers are computed.
    """

    def only(task: "Task") -> bool:
        return (task.kind, task.defense, task.seed) == ("train", defense, seed)

    run_recipe(job, machine, {"seeds": (seed,), "also": defense}, only=only)


def measure(out: Path, device: str = "auto", jobs: int = 0) -> None:
    """Score every finished attack of a run folder with the recipe's judges: OUT/scores.json and OUT/scores.parquet.

    Adds the floor (random samples of the prior, random public images) and the ceiling (held-out private images). What was
    measured before is not measured again.

    Example: trapmid measure --out runs/demo

    Args:
        out: the run folder.
        device: auto, cpu, cuda or cuda:N.
        jobs: parts side by side; 0 for one per core on a CPU, one on a GPU.
    """
    with loading():
        from trapmid.audit.run import measure_finished, settle
        from trapmid.engine import Compute

    recipe = settle(None, out)
    with Watch() as progress:
        measure_finished(recipe, out, compute=Compute(device), jobs=jobs or None, progress=progress)
    print_scores(out)


def report(out: Path, redact: bool = False, target: Path | None = None) -> None:
    """Write the report of a measured run folder again: one HTML file that needs no network and no script.

    Beside it, in report-figures, lies every figure as SVG with its numbers as CSV, and pictures.png, the pictures of ten
    identities, private ones above those that were found.

    Example: trapmid report --out runs/demo --redact

    Args:
        out: the run folder.
        redact: leave private images out, of the report and of pictures.png.
        target: the file; default: OUT/report.html.
    """
    with loading():
        from trapmid.report.write import write_report
    console.print(f"Report: {write_report(out, redact=redact, target=target)}")
