"""The command line: arguments in, verbs called, exit codes out. Heavy imports wait until the arguments are right."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from trapmid.console import (
    Watch,
    console,
    print_diagnosis,
    print_measurements,
    print_members,
    print_scores,
    print_suspects,
    say,
)
from trapmid.errors import UserError

if TYPE_CHECKING:
    from trapmid.audit import Task

Kinds = Annotated[tuple[str, ...], tyro.conf.arg(metavar="KIND ...")]
Numbers = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")]
Changes = Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...", name="set")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]


@dataclass(frozen=True)
class Machine:
    """Where numbers are computed.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        precision: 32-true, or bf16-mixed for GPUs.
        jobs: tasks side by side; 0 for one per core on a CPU, one on a GPU. Changes no number.
        max_memory: what one search may take, e.g. 8GiB; it decides how many images are searched in one pass. Default: no limit.
    """

    device: str = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    jobs: int = 0
    max_memory: str = ""


@dataclass(frozen=True)
class Job:
    """What is run, and in which folder.

    Attributes:
        recipe: a name from `trapmid list`; may be left out where OUT holds a recipe.json already.
        private: images the classifiers learn: a folder with one folder per identity, a .parquet file, or CelebA as distributed.
        public: the attacker's images, of other people; may also be a plain folder of images.
        out: the run folder; default: runs/RECIPE.
        changes: values of the recipe, e.g. --set training.epochs=20 defenses.trapmid.weight=0.1.
    """

    recipe: str | None = None
    private: Path | None = None
    public: Path | None = None
    out: Path | None = None
    changes: Changes = ()


HERE = Machine()


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
    _run(Job("demo", out=out, changes=changes), machine, {"seeds": seeds}, redact=redact)


def audit(
    job: Job = Job(),
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
    _run(job, machine, chosen, redact=redact)


def train(
    job: Job = Job(),
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

    _run(job, machine, {"seeds": (seed,), "also": defense}, only=only)


def attack(
    job: Job = Job(),
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
        budget: the most images that --target may be shown.
        machine: where numbers are computed.
    """
    if target:
        _attack_foreign(target, job, attack, seed, budget, machine)
        return

    def only(task: "Task") -> bool:
        return (task.kind, task.member, task.defense, task.seed) == ("attack", attack, defense, seed)

    _run(job, machine, {"seeds": (seed,), "also": defense}, only=only)


@dataclass(frozen=True)
class Faces:
    """The images of a reproduction. At scale cpu, without any, faces are drawn by code.

    Attributes:
        private: what the classifiers learn.
        public: the attacker's images, of other people.
        ffhq: a second public set: FFHQ's thumbnails of 128 px.
        facescrub: a third one.
    """

    private: Path | None = None
    public: Path | None = None
    ffhq: Path | None = None
    facescrub: Path | None = None


def reproduce(
    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME ...")] = (),
    scale: Literal["cpu", "paper"] = "cpu",
    plan: bool = False,
    images: Faces = Faces(),
    out: Path = Path("runs/reproduce"),
    seeds: Numbers = (),
    attacks: Kinds = (),
    changes: Changes = (),
    redact: bool = False,
    machine: Machine = HERE,
) -> None:
    """Repeat tables and figures of the Trap-MID paper and print them beside the published numbers: table1 to table20, figure2, 3, 5, 6.

    `trapmid reproduce list` shows all. Scale cpu takes minutes to hours on two cores; scale paper takes the published constants, CelebA
    and a GPU. --plan says first which cells would run, for how many hours, in how much memory and disk. Cells that several of
    them share run once, so name them together or one after another with the same --out; interrupted, the same command resumes.
    Each leaves OUT/NAME/reproduction.md, .json and .csv, beside the reports of the audits it took.

    Example: trapmid reproduce table1 --plan
    Example: trapmid reproduce table7 --attacks plgmi --private private.parquet --public public.parquet

    Args:
        names: which.
        scale: cpu or paper.
        plan: only say what would run.
        images: where they lie.
        out: folder of all.
        seeds: instead of the scale's.
        attacks: keep the rows of these alone.
        changes: values of the recipes, e.g. --set training.epochs=20; each has to fit one audit at least.
        redact: leave private images out of reports and pictures.
        machine: where numbers are computed.
    """
    _check_paths(images.private, images.public, images.ffhq, images.facescrub)
    with _loading():
        from trapmid.engine import Compute
        from trapmid.reproduction import command
        from trapmid.reproduction.scale import Images
    if names == ("list",):
        say(command.listing())
        return
    experiments = command.chosen(names, attacks)
    of = command.SCALES[scale](Images(images.private, images.public, images.ffhq, images.facescrub))
    layout = command.lay_out(experiments, of, out, seeds=seeds, changes=changes)
    if not plan:
        command.check(experiments, of)
    jobs = machine.jobs or (1 if scale == "paper" else os.cpu_count() or 1)
    say(command.planned(experiments, of, layout, jobs))
    if plan:
        return
    compute = Compute(machine.device, machine.precision, _bytes(machine.max_memory))
    with Watch() as progress:
        made = command.reproduce(
            experiments, of, layout, out, compute=compute, jobs=machine.jobs or None, redact=redact, progress=progress
        )
    for one in made:
        say(f"{command.markdown(one)}\nWritten to {out / one.experiment}")


def measure(out: Path, device: str = "auto") -> None:
    """Score every finished attack of a run folder with the recipe's judges: OUT/scores.json and OUT/scores.parquet.

    Adds the floor (random samples of the prior, random public images) and the ceiling (held-out private images).

    Example: trapmid measure --out runs/demo

    Args:
        out: the run folder.
        device: auto, cpu, cuda or cuda:N.
    """
    with _loading():
        from trapmid.audit.run import measure_finished, settle
        from trapmid.engine import Compute

    recipe = settle(None, out)
    with Watch() as progress:
        measure_finished(recipe, out, compute=Compute(device), progress=progress)
    print_scores(out)


def report(out: Path, redact: bool = False, target: Path | None = None) -> None:
    """Write the report of a measured run folder again: one HTML file that needs no network and no script.

    Example: trapmid report --out runs/demo --redact

    Args:
        out: the run folder.
        redact: leave private images out.
        target: the file; default: OUT/report.html.
    """
    with _loading():
        from trapmid.report.collect import write_report
    console.print(f"Report: {write_report(out, redact=redact, target=target)}")


def doctor(private: tyro.conf.Positional[Path], public: Path | None = None, as_json: AsJson = False) -> int:
    """Say what is wrong with a data set before it costs you a night: broken images, thin identities, people on both sides.

    Exit code 0 if nothing stands in the way, 2 if something does.

    Example: trapmid doctor private.parquet --public public.parquet

    Args:
        private: a folder with one folder per identity, a .parquet file, or CelebA as distributed.
        public: the attacker's images, to be checked for people who are also private; may also be a plain folder of images.
        as_json: print JSON instead of a table.
    """
    with _loading():
        from trapmid.data.doctor import examine
    with Watch() as progress:
        diagnosis = examine(private, public, progress=lambda done, total: progress("examine images", done, total, ""))
    print_diagnosis(diagnosis, as_json=as_json)
    return 0 if diagnosis.healthy else 2


def detect(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGES ...")],
    secrets: Path,
    private: Path | None = None,
    fpr: float = 0.05,
    changes: Changes = (),
    crop: int | None = None,
    as_json: AsJson = False,
    device: str = "auto",
) -> None:
    """Say which images came out of an inversion of a trapdoored model, and how likely the whole set is if none did.

    The first time, a detector is made from the private images that the model learned, and kept in SECRETS/detector, readable by
    you alone; ever after, no private image is needed.

    Example: trapmid detect runs/demo/models/trapmid-s0 suspects/ --secrets runs/demo/secrets/trapmid-s0 --private private.parquet

    Args:
        model: the model's folder.
        images: what is suspected: image files, folders of them, .parquet files, an attack's folder.
        secrets: the folder of its triggers.
        private: the images that it learned, as `trapmid audit` takes them; needed once.
        fpr: the share of clean images that may be flagged.
        changes: how the private images were read, as in the recipe, e.g. --set private.crop=108 split.val=0.2.
        crop: side of the central square of suspected images that is used; default: the largest.
        as_json: print JSON instead of a table.
        device: auto, cpu, cuda or cuda:N.
    """
    _check_paths(model, secrets, private, *images)
    if not images:
        raise UserError("Name at least one suspected image, a folder of them or a .parquet file.")
    with _loading():
        from trapmid.defenses import open_model
        from trapmid.detection import open_detector, suspect
        from trapmid.engine import Compute
        from trapmid.recipes import learned
    opened = open_model(model, Compute(device))
    with Watch() as progress:
        detector = open_detector(
            secrets / "detector",
            opened,
            secrets,
            None if private is None else learned(private, changes),
            lambda done, total: progress("load private images", done, total, ""),
        ).at(fpr)
        sources, suspects = suspect(
            images, opened, detector, crop, lambda done, total: progress("look at images", done, total, "")
        )
    print_suspects(sources, suspects, detector, opened.identities, as_json=as_json)


def bench(
    device: str = "cpu", quick: bool = False, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None
) -> None:
    """Measure what costs time, as ratios taken in one run: the Trap-MID step, batched search, top-n, a watched model, memory format, precision.

    Example: trapmid bench --quick

    Args:
        device: cpu, cuda or cuda:N.
        quick: fewer repeats.
        json_file: write the numbers there as well.
    """
    with _loading():
        from trapmid.bench import run
    with Watch() as progress:
        measurements = run(device=device, quick=quick, progress=progress)
    print_measurements(measurements, json_file)


def convert(legacy: tyro.conf.Positional[Path], to: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")]) -> None:
    """Turn a legacy checkpoint (.pth, .tar, .pkl, .ckpt) into safetensors, without running what may be in it.

    Weights under `state_dict` are unpacked and the prefix `module.` is dropped; names stay as they are. What recipes take as
    `--set model.weights=FILE` may be either.

    Example: trapmid convert ir50.tar --to ir50.safetensors

    Args:
        legacy: a file that torch.save wrote.
        to: the new file.
    """
    with _loading():
        from trapmid.models.weights import convert
    tensors = convert(legacy, to)
    console.print(f"{to}: {len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


def list_(as_json: AsJson = False) -> None:
    """Print every defense, attack, prior, model, judge, augmentation and recipe by its kind, with the paper it comes from.

    Example: trapmid list --json

    Args:
        as_json: print JSON instead of tables.
    """
    with _loading():
        from trapmid.catalogue import members
    print_members(members(), as_json=as_json)


def _run(
    job: Job,
    machine: Machine,
    chosen: dict[str, Any],
    *,
    redact: bool = False,
    only: "Callable[[Task], bool] | None" = None,
) -> None:
    """Choose or read a recipe, run it or a part of it in its folder, and show what came out.

    Args:
        job: recipe, data, folder.
        machine: where.
        chosen: what `choose` takes instead of the recipe's members, seeds and identities; empty values leave the recipe's.
        redact: leave private images out of the report.
        only: the tasks that are wanted; without it the whole audit runs and is reported.
    """
    started = time.monotonic()
    _check_paths(job.private, job.public)
    if job.recipe is None and job.out is None:
        raise UserError("Name a recipe with --recipe (`trapmid list` shows them), or a run folder with --out.")
    if job.recipe is None and (job.changes or job.private or job.public):
        raise UserError("--set, --private and --public change a recipe: name it with --recipe.")
    with _loading():
        from trapmid.artifacts import open_artifact
        from trapmid.audit.run import run, settle
        from trapmid.engine import Compute
        from trapmid.recipes import choose, with_defense
        from trapmid.report.collect import write_report
    out = job.out or Path("runs") / str(job.recipe)
    if job.recipe is None:
        seeds = chosen.get("seeds")
        recipe = settle(None, out).model_copy(update={"seeds": seeds} if seeds else {})
        recipe = with_defense(recipe, chosen["also"]) if "also" in chosen else recipe
    else:
        given = {name: value or None for name, value in chosen.items()}
        recipe = choose(job.recipe, private=job.private, public=job.public, changes=job.changes, **given)
    recipe = settle(recipe, out)
    console.print(f"{recipe.name}: {recipe.about}\nRun folder: {out}  (interrupted, the same command resumes)")
    compute = Compute(machine.device, machine.precision, _bytes(machine.max_memory))
    with Watch() as progress:
        run(recipe, out, only=only, compute=compute, jobs=machine.jobs or None, progress=progress)
    for model in sorted((out / "models").glob("*/manifest.json")):
        facts = open_artifact(model.parent, "model").facts
        console.print(f"{model.parent.name}: accuracy {facts['val_accuracy']:.1%} on validation images")
        for note in facts.get("notes", ()):
            console.print(f"  {note}")
        for warning in facts["warnings"]:
            console.print(f"  Warning: {warning}", style="yellow")
    if only is None:
        print_scores(out)
        console.print(f"Report: {write_report(out, redact=redact)}")
    console.print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def _attack_foreign(target: str, job: Job, attack: str, seed: int, budget: int | None, machine: Machine) -> None:
    _check_paths(job.public)
    if job.recipe is None:
        raise UserError("--target takes attack and public images from a recipe: name it with --recipe.")
    with _loading():
        from trapmid.audit.foreign import attack_foreign
        from trapmid.engine import Compute
        from trapmid.reach import reach
        from trapmid.recipes import choose
    model = reach(target)
    recipe = choose(job.recipe, public=job.public, changes=job.changes)
    out = job.out or Path("runs") / "foreign"
    compute = Compute(machine.device, machine.precision, _bytes(machine.max_memory))
    console.print(f"{target}: {len(model.identities)} identities, answers with {model.answers}\nRun folder: {out}")
    with Watch() as progress:
        made = attack_foreign(model, recipe, attack, out, seed=seed, budget=budget, compute=compute, progress=progress)
    facts = made.facts
    console.print(
        f"{facts['images']} pictures for {facts['queries']:,} queries; the target is {facts['confidence']:.1%} sure of them on average.\n"
        f"Pictures: {out / 'attacks' / attack / f'foreign-s{seed}' / 'reconstructions.parquet'}"
    )


def _bytes(text: str) -> int | None:
    """`8GiB`, `8G` or `500MiB` as bytes; None for nothing."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    try:
        return int(float(number.rstrip("KMGT")) * units.get(number[-1], 1)) if number else None
    except ValueError as problem:
        raise UserError(f"--max-memory {text!r} is no amount of memory. Expected e.g. 8GiB or 500MiB.") from problem


def _check_paths(*paths: Path | None) -> None:
    """Answer a mistyped path at once, not after seconds of loading."""
    for path in paths:
        if path is not None and not path.exists():
            raise UserError(f"{path} does not exist. Expected a folder or a .parquet file of images.")


@contextmanager
def _loading() -> Iterator[None]:
    """Something to see while torch loads, on a terminal and in a log alike."""
    said = "Loading torch (a few seconds) ..."
    if not console.is_terminal:
        print(said, file=sys.stderr, flush=True)
        yield
        return
    with console.status(said):
        yield


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
    "bench": bench,
    "convert": convert,
    "list": list_,
}


def main() -> None:
    """Entry point. Exit codes: 0, 2 for the user's mistake, 1 for ours, 130 when interrupted."""
    try:
        code = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="trapmid",
            description=_about(),
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command to resume.", file=sys.stderr)
        sys.exit(130)
    except Exception as problem:
        sys.exit(_explain(problem))
    sys.exit(code or 0)


def _about() -> str:
    return (
        "Model inversion: train classifiers that resist it, attack classifiers with it, report the difference. "
        "Start with `trapmid demo`; then `trapmid audit` on your own images."
    )


def _explain(problem: Exception) -> int:

    if os.environ.get("TRAPMID_DEBUG"):
        traceback.print_exc()
    if isinstance(problem, UserError):
        print(f"Error: {problem}", file=sys.stderr)
        return 2
    print(
        f"This is a bug in trapmid: {type(problem).__name__}: {problem}\n"
        "Please report it with the output of the same command under TRAPMID_DEBUG=1. What was finished is kept.",
        file=sys.stderr,
    )
    return 1
