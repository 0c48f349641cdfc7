"""The command that repeats the paper's tables and figures: reproduce."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trapmid.cli.options import (
    HERE,
    Changes,
    ExecutorName,
    Machine,
    Names,
    OptionalPath,
    Seeds,
    Settings,
    check_machine,
    check_paths,
)
from trapmid.cli.running import check_seeds, cluster_of, loading
from trapmid.console import say
from trapmid.progress import Watch


@dataclass(frozen=True)
class Faces:
    """The images of a reproduction. At scale cpu, faces drawn by a program are used if none are named.

    Attributes:
        private: images that the classifiers are trained on.
        public: images that the attacker has, of other people.
        ffhq: a second public set: the thumbnails of FFHQ, 128 px.
        facescrub: a third public set: FaceScrub.
    """

    private: OptionalPath = None
    public: OptionalPath = None
    ffhq: OptionalPath = None
    facescrub: OptionalPath = None


def reproduce(
    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME ...")] = (),
    scale: Literal["cpu", "paper"] = "cpu",
    plan: bool = False,
    images: Faces = Faces(),
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/reproduce"),
    seeds: Seeds = (),
    attacks: Names = (),
    changes: Changes = (),
    redact: bool = False,
    executor: ExecutorName = "local",
    cluster: Settings = (),
    machine: Machine = HERE,
) -> None:
    """Repeat tables and figures of the Trap-MID paper, and print the results beside the published numbers.

    `trapmid reproduce list` shows all names: table1 to table20 and figure2, 3, 5 and 6. The scale cpu takes minutes
    to hours on two CPU cores. The scale paper uses the published settings and needs CelebA and a GPU. --plan shows
    what would run, how much memory and disk it would take, and how long it would take on 1, 8 and 64 cores or GPUs.
    Trainings and attacks that several tables share run once: name the tables together, or one after another with the
    same --out. After an interruption, the same command resumes. Results go to OUT/NAME.

    Example: trapmid reproduce table1 --plan

    Example: trapmid reproduce table1 --scale paper --plan --executor slurm

    Example: trapmid reproduce table7 --attacks plgmi --private private.parquet --public public.parquet

    Args:
        names: tables and figures.
        scale: cpu or paper.
        plan: only show what would run.
        images: the images of a reproduction.
        out: folder of all results.
        seeds: seeds to run instead of those of the scale.
        attacks: keep only the rows of these attacks.
        changes: settings of the recipes to change, e.g. --set training.epochs=20. Each has to exist in at least one
            of them.
        redact: leave private images out of reports and figures.
        executor: where tasks run: on this machine, as jobs of Slurm, or on a Ray cluster (docs/scale.md).
        cluster: settings of each task, as submitit or Ray takes them, e.g. --cluster slurm_partition=gpu
            gpus_per_node=1, or --cluster address=auto num_gpus=1.
        machine: the machine.
    """
    check_seeds(seeds)
    check_machine(machine)
    check_paths(images.private, images.public, images.ffhq, images.facescrub)
    with loading():
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
    where = cluster_of(executor, cluster)
    jobs = None if where is not None else command.jobs_here(of, machine.device)
    say(command.planned(experiments, of, layout, machine.jobs or jobs))
    if plan:
        return
    compute = machine.compute()
    with Watch() as progress:
        made = command.reproduce(
            experiments,
            of,
            layout,
            out,
            compute=compute,
            jobs=machine.jobs or None,
            executor=where,
            redact=redact,
            progress=progress,
        )
    for one in made:
        say(f"{command.markdown(one)}\nWritten to {out / one.experiment}")
