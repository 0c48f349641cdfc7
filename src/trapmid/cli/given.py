"""What the commands share that take a model which somebody else trained: opening it, and the audit of it."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trapmid.cli.comparisons import print_comparison
from trapmid.cli.gating import check_gates, gates_of
from trapmid.cli.options import (
    Effort,
    Gating,
    Given,
    Job,
    Judging,
    Machine,
    Rival,
    check_count,
    check_device,
    check_machine,
    check_paths,
)
from trapmid.cli.running import check_browser, check_seeds, loading, print_models, print_page, start
from trapmid.console import console, print_examination, print_scores, say
from trapmid.errors import UserError
from trapmid.files import write_atomic
from trapmid.progress import Watch

if TYPE_CHECKING:
    from trapmid.audit import Recipe
    from trapmid.engine import Compute
    from trapmid.subjects import AccessName, Subject, SubjectConfig


def config_of(model: str, given: Given, label: str = "") -> "SubjectConfig":
    """The config of the model that a command line describes.

    Raises:
        UserError: it describes none.
    """
    from trapmid.subjects import parse_subject

    if given.channels not in (None, 1, 3):
        raise UserError(f"--channels {given.channels}: expected 1 or 3.")
    return parse_subject(
        model,
        weights=given.weights,
        classes=given.classes,
        image_size=given.image_size,
        channels=given.channels,
        normalise=given.normalize,
        label=label,
    )


def open_given(model: str, given: Given, least: "AccessName | None", compute: "Compute") -> "Subject":
    """The model that a command line describes, with its classes as they are.

    Args:
        model: names it.
        given: describes it.
        least: what will be asked of it, if --access does not say.
        compute: device and precision.

    Raises:
        UserError: it cannot be opened.
    """
    config = config_of(model, given)
    if given.access is None and least is None and config.kind == "onnx":
        return config.open("scores", compute)  # without a conversion that nobody needs
    return config.open(given.access or least, compute)


def label_of(model: str) -> str:
    """A name for a model in files and folders: the last part of its path, or its address."""
    last = re.sub(r"^\w+://", "", model).rstrip("/").split("/")[-1].removeprefix("timm:")
    stem = re.sub(r"\.(pt2|onnx)$", "", last)
    label = re.sub(r"[^A-Za-z0-9.+_-]+", "-", stem).strip("-.+_")[:60]
    return label if label and label != "none" else f"model-{label}".rstrip("-")


def audit_given(
    model: str,
    job: Job,
    given: Given,
    judging: Judging,
    machine: Machine,
    *,
    effort: Effort,
    budget: int | None,
    resolution: int | None,
    seeds: tuple[int, ...],
    attacks: tuple[str, ...],
    defenses: tuple[str, ...],
    identities: int | None,
    redact: bool,
    pdf: bool,
    plan_only: bool,
    gating: Gating,
    rival: Rival,
) -> int:
    """Audit a model that somebody else trained, and compare it. Returns the exit code: 3 if a gate fails.

    Raises:
        UserError: an option does not fit, or the model or the images cannot be used.
    """
    started = time.monotonic()
    if job.recipe is not None or defenses:
        raise UserError("MODEL is audited as it is: leave out --recipe and --defenses, which train models.")
    if job.private is None or job.public is None:
        raise UserError(
            "An audit of a MODEL needs --private, images of the people that it knows, and --public, images of other "
            "people, which an attacker would have."
        )
    check_paths(job.private, job.public)
    check_seeds(seeds)
    check_count("--identities", identities, least=2)
    check_machine(machine)
    check_browser(pdf)
    with loading():
        from trapmid.attacks import ATTACKS
        from trapmid.audit.plan import plan
        from trapmid.audit.run import run
        from trapmid.comparison import compare
        from trapmid.recipes import given_recipe, left_out
        from trapmid.recipes.judging import parse_judge
        from trapmid.report.card import write_card
        from trapmid.report.write import write_report
    for path in attacks:
        if ":" in path:
            ATTACKS.import_member(path)
    gates, judge = gates_of(gating), parse_judge(judging.judge, judging.judge_weights)
    compute = machine.compute()
    compute.torch_device  # noqa: B018 (a device that is not there is refused before anything is written)
    config = config_of(model, given, label_of(model))
    subject = config.open(given.access, compute)
    access = subject.gives
    other = other_model(rival, given, config.name)
    recipe = given_recipe(
        [(config, subject), *([(other, other.open(access, compute))] if other is not None else [])],
        job.private,
        job.public,
        access=access,
        effort=effort,
        resolution=resolution,
        identities=identities,
        seeds=seeds or (0,),
        attacks=attacks,
        budget=budget,
        judge=judge,
        tell=console.print,
        changes=job.changes,
    )
    out = job.out or Path("runs") / config.name
    if plan_only:
        say(measured_plan(recipe, subject, out, machine))
        return 0
    recipe = start(recipe, out)
    if not attacks and (more := left_out(access, effort)):
        console.print(f"{effort} effort leaves out {', '.join(more)}; --effort thorough has them.")
    with Watch() as progress:
        run(recipe, out, compute=compute, jobs=machine.jobs or None, progress=progress)
    print_models(recipe, [one for one in plan(recipe) if one.kind == "examine"], out)
    print_scores(out)
    print_page("Report", lambda: write_report(out, redact=redact), pdf=pdf)
    console.print(f"Model card section: {write_card(out)}")
    if rival.compare:
        against = Path(rival.compare) if other is None else out / "models" / other.name
        found = compare(out / "models" / config.name, against, out=out, redact=redact)
        print_comparison(found)
        print_page("Comparison", lambda: found.page, pdf=pdf)
    console.print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")
    return check_gates(out, gates, gating, config.name)


def measured_plan(recipe: "Recipe", subject: "Subject", out: Path, machine: Machine) -> str:
    """What an audit of a model would run, with durations from the measured speed of the model and of the generators."""
    import torch

    from trapmid.audit.examination import BATCH, speed_of
    from trapmid.audit.run import default_jobs
    from trapmid.audit.workload import plan_of_audit, workload
    from trapmid.engine import one_thread
    from trapmid.recipes.durations import durations_of_tasks

    assert recipe.private is not None
    images = recipe.private.load(recipe.image_size, recipe.channels)
    images = images if recipe.identities is None else images.with_most_images(recipe.identities)
    with one_thread(), Watch() as progress:
        progress("measure what the audit takes", 0, None, "")
        pace = speed_of(subject, images.images(torch.arange(len(images))[:BATCH]))
        seconds = durations_of_tasks(recipe, images, pace)
        progress("measure what the audit takes", 1, 1, "")
    return plan_of_audit(workload(recipe, out, seconds.get), machine.jobs or default_jobs(machine.compute()), "core")


def other_model(rival: Rival, given: Given, name: str) -> "SubjectConfig | None":
    """The model to audit beside the one of that name; None if there is none, or if it is the audit in a run folder.

    Raises:
        UserError: it is neither a model nor a run folder with one model.
    """
    from trapmid.comparison.sides import open_side
    from trapmid.manifests import RECIPE

    if not rival.compare:
        if rival.compare_weights is not None:
            raise UserError("--compare-weights belongs to the model of --compare: name it.")
        return None
    if (Path(rival.compare) / RECIPE).exists():
        models = open_side(Path(rival.compare)).models
        if len(models) > 1:
            raise UserError(
                f"{rival.compare} has several models: {', '.join(models)}. Leave --compare out, and afterwards name "
                f"one for `trapmid compare`, such as {Path(rival.compare) / 'models' / models[0]}."
            )
        return None
    label = label_of(rival.compare)
    if label == name:
        label = f"{label_of(str(Path(rival.compare).parent))}-{label}"[:60]  # two files of the same name
    return config_of(rival.compare, replace(given, weights=rival.compare_weights), label)


def examine_given(
    model: str, private: Path, given: Given, identities: int | None, order: Path | None, *, as_json: bool, device: str
) -> int:
    """Examine a model without attacking it, and say what is wrong with it. Returns the exit code.

    Raises:
        UserError: the model or the images cannot be opened.
    """
    check_paths(private)
    check_count("--identities", identities, least=2)
    check_device(device)
    with loading():
        from trapmid.audit.examination import examine
        from trapmid.data import guess_source
        from trapmid.engine import Compute, one_thread
        from trapmid.recipes.durations import durations, generator_speeds
        from trapmid.recipes.given import fitting_resolution
        from trapmid.recipes.memory import memory
    with one_thread(), Watch() as progress:  # the times are those of one core
        subject = config_of(model, given, label_of(model)).open(given.access, Compute(device))
        side, channels = fitting_resolution(subject.image_shape), subject.image_shape[0]
        everybody = guess_source(private).load(
            side, 1 if channels == 1 else 3, lambda done, total: progress("load private images", done, total, "")
        )
        images = everybody if identities is None else everybody.with_most_images(identities)
        found, speed = examine(subject, images, everybody.identities, model, progress)
        people = len(images.identities)
        progress("measure what an audit takes", 0, None, "")
        speeds = generator_speeds(found.access, people, side, channels)
        seconds = durations(found.access, people, len(images), speed, speeds)
        needed = memory(subject, people, side, channels)
        progress("measure what an audit takes", 1, 1, "")
    if order is not None:
        if not found.order:
            raise UserError("The classes are in the order of the names already: there is no other order to write.")
        write_atomic(order, "".join(f"{name}\n" for name in found.order))
    print_examination(found, speed, seconds, needed, as_json=as_json)
    return 0 if found.healthy else 2
