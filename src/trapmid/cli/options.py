"""The options that several commands share."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trapmid.errors import UserError

if TYPE_CHECKING:
    from trapmid.engine import Compute

Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]
Seeds = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...", help_behavior_hint="")]
Changes = Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...", name="set", help_behavior_hint="")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE ...")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OptionalNumber = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
OptionalAccess = Annotated[
    Literal["white-box", "scores", "labels"] | None,
    tyro.conf.arg(metavar="{white-box,scores,labels}", help_behavior_hint=""),
]
Bounds = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METRIC=VALUE ...", help_behavior_hint="")]
ExecutorName = Literal["local", "slurm", "ray"]
Effort = Literal["quick", "standard", "thorough"]
LISTS = ("--set", "--import", "--defenses", "--attacks", "--seeds", "--cluster", "--fail-above", "--fail-below")
"""The options that take any number of values."""
RunFolder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Machine:
    """The machine, and how much of it to use.

    Attributes:
        device: auto, cpu, cuda or cuda:N. cuda is all GPUs of the machine, one for each task, and cuda:N is one of
            them. auto is cuda if there is a GPU.
        precision: 32-true, or bf16-mixed, which is faster on GPUs.
        jobs: how many tasks run at the same time. 0 is one per core on a CPU, and one per GPU. Results do not depend
            on it.
        devices: how many processes share each batch of one training, each on a GPU or core of its own (docs/scale.md).
        max_memory: the most memory that one search of an attack may use, e.g. 8GiB. Default: no limit.
    """

    device: str = "auto"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    jobs: int = 0
    devices: int = 1
    max_memory: Annotated[str, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = ""

    def compute(self) -> "Compute":
        """Device, precision and memory for the rest of the package."""
        from trapmid.engine import Compute

        return Compute(self.device, self.precision, parse_bytes(self.max_memory), self.devices)


@dataclass(frozen=True)
class Job:
    """The recipe, its data, and the run folder.

    Attributes:
        recipe: name of the recipe; `trapmid list` shows all. Not needed if --out is a run folder already.
        private: images that the classifiers are trained on: a folder with one folder per person, a .parquet file, or
            CelebA.
        public: images that the attacker has, of other people: any of these, or a plain folder of images.
        teacher: the face embedder, an .onnx file, that networks learn from before they see a private image. For recipes
            whose networks start pretrained, such as celeba64-pretrained.
        out: run folder, in which everything is written. Default: runs/RECIPE, or runs/MODEL for an audit of MODEL.
        changes: settings of the recipe to change, e.g. --set training.epochs=20 defenses.trapmid.weight=0.1.
    """

    recipe: OptionalName = None
    private: OptionalPath = None
    public: OptionalPath = None
    teacher: OptionalFile = None
    out: OptionalFolder = None
    changes: Changes = ()


@dataclass(frozen=True)
class Given:
    """What there is to say about a MODEL that somebody else trained.

    Attributes:
        weights: its weights, for timm:NAME and package.module:factory: safetensors, or a checkpoint of torch.save.
        classes: a text file with the name of each class on a line, in the model's order, as the private images name
            them.
        image_size: height and width in pixels of the images that it takes, if it does not say.
        channels: one or three, if it does not say.
        normalize: what it expects instead of images in [0, 1]: signed for [-1, 1], bytes for [0, 255], imagenet, clip,
            or MEAN,MEAN,MEAN/STD,STD,STD. Normalisation within the model is left alone.
        access: what an attacker gets: white-box, scores or labels. Default: all that the model gives.
    """

    weights: OptionalFile = None
    classes: OptionalFile = None
    image_size: OptionalNumber = None
    channels: OptionalNumber = None
    normalize: OptionalName = None
    access: OptionalAccess = None


@dataclass(frozen=True)
class Gating:
    """The values of scores that a release may have, and where to write whether it has them.

    Attributes:
        fail_above: end with exit code 3 if a score of MODEL is higher, by the first judge, e.g. --fail-above
            attack_accuracy_1=0.1. Without a MODEL, the scores of every model count.
        fail_below: the same if a score is lower, e.g. --fail-below clean_accuracy=0.9.
        junit: file to write the outcome of these two to, as JUnit XML.
        sarif: the same as SARIF 2.1.0.
    """

    fail_above: Bounds = ()
    fail_below: Bounds = ()
    junit: OptionalFile = None
    sarif: OptionalFile = None


@dataclass(frozen=True)
class Judging:
    """Who judges an audit of a MODEL whose images are no faces.

    Attributes:
        judge: timm:NAME, a network of timm that embeds images. It judges if it recognises at least 80 % of held-out
            private images.
        judge_weights: its weights: safetensors, or a checkpoint of torch.save.
    """

    judge: OptionalName = None
    judge_weights: OptionalFile = None


@dataclass(frozen=True)
class Rival:
    """Another model, with which a MODEL is compared.

    Attributes:
        compare: a model that is audited into the same folder with the same settings and the same options, except for
            its weights; or the run folder of an audit that is finished. `trapmid compare` compares any two audits.
        compare_weights: its weights, for timm:NAME and package.module:factory.
    """

    compare: Annotated[str, tyro.conf.arg(metavar="MODEL|RUN", help_behavior_hint="")] = ""
    compare_weights: OptionalFile = None


HERE, UNNAMED, UNKNOWN, NO_GATES, UNJUDGED, ALONE = Machine(), Job(), Given(), Gating(), Judging(), Rival()


def gathered(arguments: list[str]) -> list[str]:
    """The arguments of a command with all values of an option of `LISTS` at its first place.

    A parser would take the last `--set` and drop the others without a word.
    """
    values: dict[str, list[str]] = {}
    found: list[str | list[str]] = []
    current: list[str] | None = None
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in LISTS:
            if name not in values:
                found += [name, values.setdefault(name, [])]
            current = values[name]
            current += [value] if value else []
        elif current is None or argument.startswith("--") or argument == "-h":
            found.append(argument)
            current = None
        else:
            current.append(argument)
    return [one for part in found for one in ([part] if isinstance(part, str) else part)]


def parse_bytes(text: str) -> int | None:
    """`8GiB`, `8G` or `500MiB` in bytes; None for an empty text.

    Raises:
        UserError: it is anything else, or less than one byte.
    """
    if not text.strip():
        return None
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = units.get(number[-1:], 1)
    try:
        size = float(number[:-1] if unit > 1 else number) * unit
    except ValueError:
        size = math.nan
    if not 1 <= size < 2**60:
        raise UserError(f"--max-memory {text!r} is not an amount of memory. Expected e.g. 8GiB or 500MiB.")
    return int(size)


def check_paths(*paths: Path | None) -> None:
    """Report a mistyped path at once, before anything slow is loaded.

    Raises:
        UserError: a path does not exist, or cannot be one.
    """
    for path in paths:
        if path is not None and not exists(path):
            raise UserError(f"{path} does not exist. Expected a folder or a .parquet file of images.")


def exists(path: Path) -> bool:
    """Whether something is at a path.

    Raises:
        UserError: the path is too long, or a folder on the way to it may not be read.
    """
    try:
        path.lstat()
        return path.exists()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise UserError(f"{path} cannot be looked up: {reason}.") from problem


def check_count(option: str, number: int | None, least: int = 1) -> None:
    """Report a number that is too small or absurdly large.

    Raises:
        UserError: it is below `least` or above a billion.
    """
    if number is not None and not least <= number <= 10**9:
        raise UserError(f"{option} {number}: expected a whole number from {least} to a billion.")


def check_machine(machine: Machine) -> None:
    """Report mistakes in the machine's options before anything slow is loaded.

    Raises:
        UserError: there is one.
    """
    check_device(machine.device)
    check_count("--jobs", machine.jobs, least=0)
    check_count("--devices", machine.devices)
    parse_bytes(machine.max_memory)


def check_device(device: str) -> None:
    """Report a device of a kind that trapmid does not compute on; whether this machine has it is seen later.

    Raises:
        UserError: it is none of auto, cpu, cuda and cuda:N.
    """
    kind, colon, number = device.partition(":")
    if device not in ("auto", "cpu", "cuda") and not (
        kind == "cuda" and colon and number.isascii() and number.isdigit()
    ):
        raise UserError(
            f"--device {device}: trapmid computes on CPUs and CUDA devices. Expected auto, cpu, cuda or cuda:N."
        )
