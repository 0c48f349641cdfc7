"""The command that attacks: a classifier of a run folder, or somebody else's model."""

from pathlib import Path
from typing import TYPE_CHECKING

from trapmid.cli.options import HERE, UNNAMED, Job, Machine, check_paths, parse_bytes
from trapmid.cli.running import loading, run_recipe
from trapmid.console import console
from trapmid.errors import UserError
from trapmid.progress import Watch

if TYPE_CHECKING:
    from trapmid.audit import Task


def attack(
    job: Job = UNNAMED,
    attack: str = "plgmi",
    defense: str = "none",
    seed: int = 0,
    target: str = "",
    budget: int | None = None,
    machine: Machine = HERE,
) -> None:
    """Attack one classifier of a run folder into OUT/attacks/ATTACK/DEFENSE-sSEED; trains it first if it is not there.

    With --target it attacks a model of somebody else instead, into OUT/attacks/ATTACK/foreign-sSEED: an .onnx file, or a URL
    that answers as examples/server.py does. Of the recipe only the attack and the public images count then.

    Example: trapmid attack --out runs/demo --attack plgmi --defense none --seed 0

    Example: trapmid attack --recipe attacks-cpu --target model.onnx --public public.parquet --attack mirror

    Args:
        job: what is run, and in which folder.
        attack: kind of the attack.
        defense: kind of the defense that trained the classifier.
        seed: of training and attack.
        target: path of an .onnx file, or a http:// or https:// address.
        budget: the most images that --target may be shown, by this run and by those that it resumes.
        machine: where numbers are computed.
    """
    if target:
        _attack_foreign(target, job, attack, seed, budget, machine)
        return
    if budget is not None:
        raise UserError(
            "--budget bounds what --target may be shown, and there is no --target. Give one, or leave --budget out."
        )

    def only(task: "Task") -> bool:
        return (task.kind, task.member, task.defense, task.seed) == ("attack", attack, defense, seed)

    run_recipe(job, machine, {"seeds": (seed,), "also": defense}, only=only)


def _attack_foreign(target: str, job: Job, attack: str, seed: int, budget: int | None, machine: Machine) -> None:
    check_paths(job.public)
    if job.recipe is None:
        raise UserError("--target takes attack and public images from a recipe: name it with --recipe.")
    with loading():
        from trapmid.audit.foreign import attack_foreign
        from trapmid.engine import Compute
        from trapmid.reach import reach
        from trapmid.recipes import choose
    model = reach(target)
    recipe = choose(job.recipe, public=job.public, changes=job.changes)
    out = job.out or Path("runs") / "foreign"
    compute = Compute(machine.device, machine.precision, parse_bytes(machine.max_memory))
    console.print(f"{target}: {len(model.identities)} identities, answers with {model.answers}\nRun folder: {out}")
    with Watch() as progress:
        made = attack_foreign(model, recipe, attack, out, seed=seed, budget=budget, compute=compute, progress=progress)
    facts = made.facts
    console.print(
        f"{facts['images']} pictures for {facts['queries']:,} queries; the target is {facts['confidence']:.1%} sure of them on average.\n"
        f"Pictures: {out / 'attacks' / attack / f'foreign-s{seed}' / 'reconstructions.parquet'}"
    )
