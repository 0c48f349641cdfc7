"""The commands that fill a run folder, or look at one again: demo, audit, train, measure, report."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.gating import check_gates, gates_of
from trapmid.cli.given import audit_given
from trapmid.cli.options import (
    ALONE,
    HERE,
    NO_GATES,
    UNJUDGED,
    UNKNOWN,
    UNNAMED,
    Changes,
    Effort,
    ExecutorName,
    Gating,
    Given,
    Job,
    Judging,
    Machine,
    Names,
    OptionalFile,
    OptionalNumber,
    Rival,
    RunFolder,
    Seeds,
    Settings,
    check_count,
    check_device,
)
from trapmid.cli.running import loading, print_page, run_recipe
from trapmid.console import print_scores
from trapmid.errors import UserError
from trapmid.progress import Watch

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]
Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]

DEMONSTRATED = ("none", "onepass+negls")
"""The defenses that `trapmid demo` compares. The recipe also has Trap-MID itself, which takes longer."""


def demo(
    out: Folder = Path("runs/demo"),
    seeds: Seeds = (),
    defenses: Names = DEMONSTRATED,
    changes: Changes = (),
    redact: bool = False,
    machine: Machine = HERE,
) -> None:
    """See what a model inversion attack recovers from a plain classifier, and how much less from a trapdoored one.

    It takes minutes on two CPU cores. The faces are drawn by a program: nothing is downloaded, and no real person is
    shown. The demo trains two classifiers of 40 identities, attacks each with PLG-MI, and writes the comparison to
    OUT/report.html.

    Example: trapmid demo

    Example: trapmid demo --defenses none trapmid onepass+negls

    Args:
        out: run folder, in which everything is written.
        seeds: seeds to run instead of the recipe's, e.g. --seeds 0 1 2.
        defenses: the classifiers to compare. trapmid is Trap-MID itself, which takes longest to train. Names are
            those of `trapmid audit --defenses`.
        changes: settings of the recipe to change, e.g. --set training.epochs=20.
        redact: leave private images out of the report.
        machine: the machine.
    """
    run_recipe(Job("demo", out=out, changes=changes), machine, seeds=seeds, defenses=defenses, redact=redact)


def audit(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[MODEL]")] = "",
    job: Job = UNNAMED,
    given: Given = UNKNOWN,
    judging: Judging = UNJUDGED,
    rival: Rival = ALONE,
    effort: Effort = "quick",
    budget: OptionalNumber = None,
    resolution: OptionalNumber = None,
    seeds: Seeds = (),
    defenses: Names = (),
    attacks: Names = (),
    identities: OptionalNumber = None,
    redact: bool = False,
    pdf: bool = False,
    plan: bool = False,
    gating: Gating = NO_GATES,
    executor: ExecutorName = "local",
    cluster: Settings = (),
    machine: Machine = HERE,
) -> int:
    """Audit MODEL, a classifier that you have: examine it, attack it, judge what was found, and write OUT/report.html.

    MODEL is a .pt2 file of torch.export, an .onnx file, a local folder of Hugging Face, timm:NAME or
    package.module:factory with --weights FILE, the http(s) address of a server, or a model's folder in a run folder.
    Without a MODEL, a --recipe trains a classifier with every defense and compares them.

    The numbers are also in OUT/scores.json and OUT/scores.parquet. Finished parts are not repeated and interrupted ones
    resume, so run the same command until it is done. More seeds, defenses or attacks can be added to the same folder
    later. --plan shows what would run.

    Example: trapmid audit model.pt2 --private photos/ --public faces/

    Example: trapmid audit model.pt2 --private photos/ --public faces/ --compare protected.pt2

    Example: trapmid audit --recipe celeba64-cpu --private private.parquet --public public.parquet

    Example: trapmid audit --recipe demo --plan

    Args:
        model: the classifier to audit.
        job: recipe, data and run folder.
        given: what there is to say about MODEL.
        judging: who judges images that are no faces.
        rival: another model to compare MODEL with.
        effort: of an audit of MODEL. quick runs one or two attacks with 50 identities and 5,000 public images,
            standard more attacks, and thorough every attack. `trapmid doctor MODEL` says how long each takes.
        budget: the most images that one attack may show MODEL, over this run and those that it resumes.
        resolution: height and width in pixels of the images of an audit of MODEL: 32, 64 or 128. Default: the model's
            own, or 64 if that is another one.
        seeds: seeds to run instead of the recipe's, e.g. --seeds 0 1 2.
        defenses: defenses to use instead of the recipe's, e.g. --defenses none bido trapmid+negls. Names of the recipe
            keep its settings, other kinds have their published ones, and + combines several. The import path of a class
            of your own, e.g. my_module:MyDefense, works as well.
        attacks: attacks to use instead of the recipe's, e.g. --attacks plgmi gmi smoothed-gmi. Names and kinds of the
            recipe keep its settings, and other kinds have their published ones. The import path of a class of your own
            works as well.
        identities: number of private identities that take part: those with the most images.
        redact: leave private images out of the report.
        pdf: write OUT/report.pdf as well, which Chromium or Google Chrome prints.
        plan: only show the tasks, how long they take as far as that is known, and how long all would take on 1, 8 and
            64 cores or GPUs. Of a MODEL, speeds are measured first, which takes a minute.
        executor: where tasks run: on this machine, as jobs of Slurm, or on a Ray cluster (docs/scale.md).
        cluster: settings of each task, as submitit or Ray takes them, e.g. --cluster slurm_partition=gpu
            gpus_per_node=1, or --cluster address=auto num_gpus=1.
        gating: the values of scores that a release may have.
        machine: the machine.
    """
    if model:
        check_count("--budget", budget)
        if executor != "local" or cluster:
            raise UserError("An audit of a MODEL runs on this machine: leave out --executor and --cluster.")
        return audit_given(
            model,
            job,
            given,
            judging,
            machine,
            effort=effort,
            budget=budget,
            resolution=resolution,
            seeds=seeds,
            attacks=attacks,
            defenses=defenses,
            identities=identities,
            redact=redact,
            pdf=pdf,
            plan_only=plan,
            gating=gating,
            rival=rival,
        )
    if (given, judging, rival) != (UNKNOWN, UNJUDGED, ALONE) or budget is not None or resolution is not None:
        raise UserError("--weights, --classes, --access, --compare and the like describe a MODEL: name it first.")
    gates = gates_of(gating)
    run_recipe(
        job,
        machine,
        seeds=seeds,
        defenses=defenses,
        attacks=attacks,
        identities=identities,
        executor=(executor, cluster),
        plan_only=plan,
        redact=redact,
        pdf=pdf,
    )
    if plan:
        return 0
    return check_gates(job.out or Path("runs") / str(job.recipe), gates, gating)


def train(
    job: Job = UNNAMED,
    defense: Name = "trapmid",
    seed: int = 0,
    machine: Machine = HERE,
) -> None:
    """Train one classifier into OUT/models/DEFENSE-sSEED. Its triggers go to OUT/secrets, which only you can read.

    Example: trapmid train --recipe demo --out runs/demo --defense trapmid --seed 0

    Args:
        job: recipe, data and run folder.
        defense: one of the recipe's defenses, or any other kind with its published settings, or several joined by +.
        seed: seed of the training.
        machine: the machine.
    """
    run_recipe(job, machine, seeds=(seed,), only=("train", "", defense, seed))


def measure(run: RunFolder, device: str = "auto", jobs: int = 0) -> None:
    """Score all finished attacks of a run folder with the recipe's judges, into RUN/scores.json and RUN/scores.parquet.

    The scores also include what needs no attack: random samples of the prior and random public images, which are the
    least an attacker gets, and held-out private images, which are the best possible. What was measured before is not
    measured again.

    Example: trapmid measure runs/demo

    Args:
        run: run folder.
        device: auto, cpu, cuda or cuda:N.
        jobs: how many parts are measured at the same time. 0 is one per core on a CPU, and one per GPU.
    """
    check_device(device)
    check_count("--jobs", jobs, least=0)
    with loading():
        from trapmid.audit.run import measure_finished, settle
        from trapmid.engine import Compute

    recipe = settle(None, run)
    with Watch() as progress:
        measure_finished(recipe, run, compute=Compute(device), jobs=jobs or None, progress=progress)
    print_scores(run)


def report(run: RunFolder, to: OptionalFile = None, redact: bool = False, pdf: bool = False) -> None:
    """Write the report of a measured run folder again: one HTML file that needs neither a network nor scripts.

    The folder report-figures beside it holds every figure as SVG with its numbers as CSV, and pictures.png, which shows
    the reconstructions of ten identities below their private images.

    Example: trapmid report runs/demo --to shared/report.html --redact

    Example: trapmid report runs/demo --pdf

    Args:
        run: run folder.
        to: file to write; default: RUN/report.html.
        redact: leave private images out of the report and of pictures.png.
        pdf: write the report as PDF as well, beside the HTML file. Chromium or Google Chrome prints it.
    """
    with loading():
        from trapmid.report.write import write_report
    print_page("Report", lambda: write_report(run, redact=redact, to=to), pdf=pdf)
