"""Commands that need no run folder: doctor, convert, list."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.options import AsJson
from trapmid.cli.running import loading
from trapmid.console import console, print_diagnosis, print_members
from trapmid.progress import Watch


def doctor(private: tyro.conf.Positional[Path], public: Path | None = None, as_json: AsJson = False) -> int:
    """Say what is wrong with a data set before it costs you a night: broken images, thin identities, people on both sides.

    Exit code 0 if nothing stands in the way, 2 if something does.

    Example: trapmid doctor private.parquet --public public.parquet

    Args:
        private: a folder with one folder per identity, a .parquet file, or CelebA as distributed.
        public: the attacker's images, to be checked for people who are also private; may also be a plain folder of images.
        as_json: print JSON instead of a table.
    """
    with loading():
        from trapmid.data.doctor import examine
    with Watch() as progress:
        diagnosis = examine(private, public, progress=lambda done, total: progress("examine images", done, total, ""))
    print_diagnosis(diagnosis, as_json=as_json)
    return 0 if diagnosis.healthy else 2


def convert(legacy: tyro.conf.Positional[Path], to: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")]) -> None:
    """Turn a legacy checkpoint (.pth, .tar, .pkl, .ckpt) into safetensors, without running what may be in it.

    Weights under `state_dict` are unpacked and the prefix `module.` is dropped; names stay as they are. What recipes take as
    `--set model.weights=FILE` may be either.

    Example: trapmid convert ir50.tar --to ir50.safetensors

    Args:
        legacy: a file that torch.save wrote.
        to: the new file.
    """
    with loading():
        from trapmid.models.weights import convert
    tensors = convert(legacy, to)
    console.print(f"{to}: {len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


def list_(as_json: AsJson = False) -> None:
    """Print every defense, attack, prior, model, judge, augmentation and recipe by its kind, with the paper it comes from.

    Example: trapmid list --json

    Args:
        as_json: print JSON instead of tables.
    """
    with loading():
        from trapmid.catalogue import members
    print_members(members(), as_json=as_json)
