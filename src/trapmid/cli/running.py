"""What the commands share that work in a run folder.

They choose or read a recipe, run all or part of it, and show the results.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trapmid.cli.options import Job, Machine, check_count, check_machine, check_paths, exists
from trapmid.console import console, print_scores, say
from trapmid.errors import UserError
from trapmid.progress import Watch

if TYPE_CHECKING:
    from trapmid.audit import Recipe, Task
    from trapmid.audit.workers import Executor


def run_recipe(
    job: Job,
    machine: Machine,
    *,
    seeds: tuple[int, ...] = (),
    defenses: tuple[str, ...] = (),
    attacks: tuple[str, ...] = (),
    identities: int | None = None,
    executor: tuple[str, tuple[str, ...]] = ("local", ()),
    only: tuple[Literal["train", "attack"], str, str, int] | None = None,
    plan_only: bool = False,
    redact: bool = False,
    pdf: bool = False,
) -> None:
    """Choose a recipe or read that of a run folder, run all or part of it, and show the results.

    Args:
        job: recipe, data and run folder.
        machine: the machine.
        seeds: replace the recipe's, if there are any.
        defenses: replace the recipe's, if there are any.
        attacks: replace the recipe's, if there are any.
        identities: how many take part; None leaves the recipe's number.
        executor: where tasks run, and its settings.
        only: the one task that is wanted, as kind, attack, defense and seed; it runs after those that it needs, and its
            defense is added to the recipe if it is not there. None runs and reports the whole audit.
        plan_only: show what would run, and end.
        redact: leave private images out of the report.
        pdf: write the report as PDF as well.
    """
    started = time.monotonic()
    check_job(job)
    check_seeds(seeds)
    check_count("--identities", identities, least=2)
    if job.recipe is None and identities is not None:
        raise UserError("--identities changes a recipe: name it with --recipe.")
    check_machine(machine)
    check_browser(pdf)
    with loading():
        from trapmid.attacks import ATTACKS
        from trapmid.audit.plan import Task, plan
        from trapmid.audit.run import run, settle
        from trapmid.defenses import DEFENSES
        from trapmid.recipes import choose_recipe, extend
        from trapmid.report.write import write_report
    compute = machine.compute()
    cluster = cluster_of(*executor)
    if cluster is None and not plan_only:
        compute.torch_device  # noqa: B018 (a device that is not there is refused before anything is written)
    out = job.out or Path("runs") / str(job.recipe)
    task = None if only is None else Task(*only)
    also = None if task is None else task.defense
    for registry, names in ((DEFENSES, defenses), (ATTACKS, attacks)):
        for path in names:
            if ":" in path:
                registry.import_member(path)  # before the recipe of a run folder is read, which may hold it
    stored = settle(None, out) if exists(out / "recipe.json") or job.recipe is None else None
    if job.recipe is None and stored is not None:
        recipe = extend(stored, seeds=seeds or None, defenses=defenses or None, also=also, attacks=attacks or None)
    else:
        recipe = choose_recipe(
            str(job.recipe),
            private=job.private,
            public=job.public,
            seeds=seeds or None,
            defenses=defenses or None,
            also=also,
            attacks=attacks or None,
            identities=identities,
            teacher=job.teacher,
            changes=job.changes,
        )
    if task is not None:
        check_task(task, recipe, stored)
    if plan_only:
        say(known_plan(recipe, out, machine, here=cluster is None))
        return
    recipe = start(recipe, out)
    with Watch() as progress:
        run(
            recipe,
            out,
            only=None if task is None else task.__eq__,
            compute=compute,
            jobs=machine.jobs or None,
            executor=cluster,
            progress=progress,
        )
    print_models(recipe, [one for one in plan(recipe) if one.defense and task in (None, one)], out)
    if task is None:
        print_scores(out)
        print_page("Report", lambda: write_report(out, redact=redact), pdf=pdf)
    console.print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def check_browser(pdf: bool) -> None:
    """Report a missing browser before hours of work, if there is a PDF to print at their end.

    Raises:
        UserError: there is none.
    """
    if pdf:
        from trapmid.report.pdf import find_browser

        find_browser()


def print_page(what: str, write: Callable[[], Path], *, pdf: bool) -> None:
    """Write a page and say where it is; with `pdf`, print it to a PDF beside it as well.

    Raises:
        UserError: the page cannot be written, or no browser prints it.
    """
    check_browser(pdf)
    page = write()
    console.print(f"{what}: {page}")
    if pdf:
        from trapmid.report.pdf import write_pdf

        console.print(f"{what} as PDF: {write_pdf(page)}")


def cluster_of(executor: str, settings: tuple[str, ...]) -> "Executor | None":
    """The executor of a name with its settings; None for this machine.

    Raises:
        UserError: the settings are of no use, or wrong.
    """
    from trapmid.audit.clusters import parse_settings
    from trapmid.audit.ray import on_ray
    from trapmid.audit.slurm import on_slurm

    if executor != "local":
        return {"ray": on_ray, "slurm": on_slurm}[executor](**parse_settings(settings))
    if settings:
        raise UserError("--cluster has settings of a cluster: name one with --executor slurm or --executor ray.")
    return None


def known_plan(recipe: "Recipe", out: Path, machine: Machine, *, here: bool) -> str:
    """What an audit would run, with the durations that are known by the name of its recipe.

    Args:
        recipe: the audit.
        out: its run folder, which need not exist.
        machine: the machine.
        here: whether tasks run on this machine.
    """
    from trapmid.audit.run import default_jobs
    from trapmid.audit.workload import plan_of_audit, workload
    from trapmid.recipes.costs import KNOWN

    known = KNOWN.get(recipe.name)
    work = workload(recipe, out, lambda task: None if known is None else known.cost.seconds(task, recipe))
    jobs = machine.jobs or (default_jobs(machine.compute()) if here else None)
    said = [plan_of_audit(work, jobs, "core" if known is None else known.unit)]
    if known is not None:
        said.append(f"Basis of the estimates, for the settings of the recipe: {known.cost.basis}.")
    return "\n\n".join(said)


def start(recipe: "Recipe", out: Path) -> "Recipe":
    """Store a recipe in its run folder, say what is about to run, and return the recipe as it is stored."""
    from trapmid.audit.run import settle

    recipe = settle(recipe, out)
    console.print(
        f"{recipe.name}: {recipe.about}\nRun folder: {out} (run the same command to resume after an interruption)"
    )
    return recipe


def check_job(job: Job) -> None:
    """Report mistakes in the choice of recipe and data.

    Raises:
        UserError: there is one.
    """
    check_paths(job.private, job.public)
    if job.recipe is None and job.out is None:
        raise UserError(
            "Name a MODEL to audit, or a recipe with --recipe (`trapmid list` shows all), or a run folder with --out."
        )
    if job.recipe is None and (job.changes or job.private or job.public or job.teacher):
        raise UserError("--set, --private, --public and --teacher change a recipe: name it with --recipe.")


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Report seeds that no random stream takes.

    Raises:
        UserError: a seed is negative or has more than 63 bits.
    """
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise UserError(f"Seed {seed} is out of range. Expected a whole number from 0 to 9223372036854775807.")


def check_task(wanted: "Task", recipe: "Recipe", stored: "Recipe | None") -> None:
    """Report a task that is neither in the recipe nor in the run folder, before anything is written there.

    Raises:
        UserError: it is in neither.
    """
    from trapmid.attacks import parse_attack
    from trapmid.audit.plan import plan

    recipes = [one for one in (recipe, stored) if one is not None]
    if any(wanted in plan(one) for one in recipes):
        return
    attacks = list(dict.fromkeys(attack.name for one in recipes for attack in one.attacks))
    if wanted.kind == "attack" and wanted.member not in attacks:
        parse_attack(wanted.member)
        raise UserError(
            f"Recipe {recipe.name} has the attacks {', '.join(attacks)}, and not {wanted.member}. "
            f"`trapmid audit` with --attacks {' '.join(attacks)} {wanted.member} adds it."
        )
    raise UserError(
        f"The attack {wanted.member} needs a model with a trapdoor, and the defense {wanted.defense} plants none. "
        "Choose another --defense, e.g. trapmid."
    )


def print_models(recipe: "Recipe", tasks: "list[Task]", out: Path) -> None:
    """Show the accuracy, the notes and the warnings of the models that tasks belong to."""
    from trapmid.audit.cells import model_manifest
    from trapmid.audit.plan import Folders

    for defense, seed in sorted({(task.defense, task.seed) for task in tasks}):
        facts: dict[str, Any] = model_manifest(recipe, Folders(out), defense, seed).facts
        said = f"{defense}-s{seed}: accuracy"
        if recipe.subjects:
            console.print(f"{said} {facts['accuracy']:.1%} on private images")
        else:
            console.print(f"{said} {facts['val_accuracy']:.1%} on validation images")
        for note in facts.get("notes", ()):
            console.print(f"  {note}")
        for warning in facts["warnings"]:
            console.print(f"  Warning: {warning}", style="yellow")


@contextmanager
def loading() -> Iterator[None]:
    """Show that torch is being loaded, on a terminal and in a log alike."""
    said = "Loading torch (a few seconds) ..."
    if not console.is_terminal:
        print(said, file=sys.stderr, flush=True)
        yield
        return
    with console.status(said):
        yield
