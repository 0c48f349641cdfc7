"""What commands are told: the arguments that several of them take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trapmid.errors import UserError

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


HERE, UNNAMED = Machine(), Job()


def parse_bytes(text: str) -> int | None:
    """`8GiB`, `8G` or `500MiB` as bytes; None for nothing."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    try:
        return int(float(number.rstrip("KMGT")) * units.get(number[-1], 1)) if number else None
    except ValueError as problem:
        raise UserError(f"--max-memory {text!r} is no amount of memory. Expected e.g. 8GiB or 500MiB.") from problem


def check_paths(*paths: Path | None) -> None:
    """Answer a mistyped path at once, not after seconds of loading."""
    for path in paths:
        if path is not None and not path.exists():
            raise UserError(f"{path} does not exist. Expected a folder or a .parquet file of images.")
