"""The paper's tables and figures, repeated: reproduce."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trapmid.cli.options import HERE, Changes, Kinds, Machine, Numbers, check_paths, parse_bytes
from trapmid.cli.running import loading
from trapmid.console import say
from trapmid.progress import Watch


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
    Each leaves OUT/NAME/reproduction.md with its pictures, .json and .csv, beside the reports of the audits it took.

    Example: trapmid reproduce table1 --plan

    Example: trapmid reproduce table7 --attacks plgmi --private private.parquet --public public.parquet

    Args:
        names: which.
        scale: cpu or paper.
        plan: only say what would run.
        images: what classifiers learn and attackers have.
        out: folder of all.
        seeds: instead of the scale's.
        attacks: keep the rows of these alone.
        changes: values of the recipes, e.g. --set training.epochs=20; each has to fit one audit at least.
        redact: leave private images out of reports and pictures.
        machine: where numbers are computed.
    """
    check_paths(images.private, images.public, images.ffhq, images.facescrub)
    with loading():
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
    compute = Compute(machine.device, machine.precision, parse_bytes(machine.max_memory))
    with Watch() as progress:
        made = command.reproduce(
            experiments, of, layout, out, compute=compute, jobs=machine.jobs or None, redact=redact, progress=progress
        )
    for one in made:
        say(f"{command.markdown(one)}\nWritten to {out / one.experiment}")
