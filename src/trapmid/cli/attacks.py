"""The command that attacks one classifier: one of a run folder, or a model that trapmid did not train."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.given import open_given
from trapmid.cli.options import (
    HERE,
    UNKNOWN,
    UNNAMED,
    Given,
    Job,
    Machine,
    OptionalNumber,
    check_count,
    check_machine,
    check_paths,
)
from trapmid.cli.running import check_seeds, loading, run_recipe
from trapmid.console import console
from trapmid.errors import UserError
from trapmid.progress import Watch

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]


def attack(
    job: Job = UNNAMED,
    attack: Name = "plgmi",
    defense: Name = "none",
    seed: int = 0,
    target: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "",
    given: Given = UNKNOWN,
    budget: OptionalNumber = None,
    machine: Machine = HERE,
) -> None:
    """Attack one classifier of a run folder, into OUT/attacks/ATTACK/DEFENSE-sSEED. It is trained first if it is not there.

    With --target, attack a model that trapmid did not train instead, into OUT/attacks/ATTACK/foreign-sSEED. Only the
    attack and the public images of the recipe are used then, and nothing is judged; `trapmid audit MODEL` makes a whole
    audit.

    Example: trapmid attack --out runs/demo --attack plgmi --defense none --seed 0

    Example: trapmid attack --recipe attacks-cpu --target model.onnx --public public.parquet --attack mirror

    Args:
        job: recipe, data and run folder.
        attack: one of the recipe's attacks.
        defense: defense that the attacked classifier was trained with.
        seed: seed of the training and of the attack.
        target: the model to attack: anything that `trapmid audit MODEL` takes.
        given: what there is to say about the target.
        budget: the most images that may be sent to --target, over this run and the runs that it resumes.
        machine: the machine.
    """  # noqa: E501, W505
    check_count("--budget", budget)
    if target:
        _attack_foreign(target, job, given, attack, seed, budget, machine)
        return
    if budget is not None:
        raise UserError("--budget limits what is sent to --target. Name a --target, or leave --budget out.")
    run_recipe(job, machine, seeds=(seed,), only=("attack", attack, defense, seed))


def _attack_foreign(
    target: str, job: Job, given: Given, attack: str, seed: int, budget: int | None, machine: Machine
) -> None:
    check_paths(job.public)
    check_seeds((seed,))
    check_machine(machine)
    if job.recipe is None:
        raise UserError("With --target, a recipe gives the attack and the public images: name it with --recipe.")
    with loading():
        from trapmid.audit.foreign import attack_foreign
        from trapmid.recipes import choose_recipe
        from trapmid.subjects import ACCESS, AccessName
    recipe = choose_recipe(job.recipe, public=job.public, teacher=job.teacher, changes=job.changes)
    needs = recipe.attack(attack).needs
    out = job.out or Path("runs") / "foreign"
    compute = machine.compute()
    least: AccessName | None = "white-box" if issubclass(needs, ACCESS["white-box"]) else None
    model = open_given(target, given, least, compute)
    console.print(
        f"{target}: {len(model.identities)} identities, gives {model.access.access} access\nRun folder: {out}"
    )
    with Watch() as progress:
        made = attack_foreign(model, recipe, attack, out, seed=seed, budget=budget, compute=compute, progress=progress)
    facts = made.facts
    console.print(
        f"{facts['images']} images were made with {facts['queries']:,} queries. The target's mean confidence in them "
        f"is {facts['confidence']:.1%}.\n"
        f"Images: {out / 'attacks' / attack / f'foreign-s{seed}' / 'reconstructions.parquet'}"
    )
