"""Commands that need no run folder: doctor, convert, list."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.given import examine_given
from trapmid.cli.options import UNKNOWN, AsJson, Given, OptionalFile, OptionalNumber, OptionalPath
from trapmid.cli.running import loading
from trapmid.console import console, print_catalogue, print_deviations, print_diagnosis
from trapmid.errors import UserError
from trapmid.progress import Watch


def doctor(
    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRIVATE|MODEL")],
    private: OptionalPath = None,
    public: OptionalPath = None,
    given: Given = UNKNOWN,
    identities: OptionalNumber = None,
    order: OptionalFile = None,
    as_json: AsJson = False,
    device: str = "auto",
) -> int:
    """Find what is wrong with a data set, or with a model, before hours of work.

    Of a data set: broken images, identities with few images, people on both sides. Of a MODEL, which --private tells
    apart: classes in another order, another range of pixels, gradients that vanish, answers that change, and how fast
    it is. An audit of the model does the same first. The exit code is 0 if it can be used, and 2 if it cannot.

    Example: trapmid doctor private.parquet --public public.parquet

    Example: trapmid doctor model.onnx --private photos/

    Args:
        what: private images (a folder with one folder per person, a .parquet file, or CelebA), or a model as for
            `trapmid audit`.
        private: images of the people that the model knows.
        public: images that the attacker has, to find people who are in both sets; any of these, or a plain folder of
            images.
        given: what there is to say about the model.
        identities: number of private identities that the model is shown: those with the most images.
        order: file to write the names of the classes to, in the order that the private images speak for.
        as_json: print JSON instead of a table.
        device: auto, cpu, cuda or cuda:N.
    """
    if private is not None:
        return examine_given(what, private, given, identities, order, as_json=as_json, device=device)
    if given != UNKNOWN or identities is not None or order is not None:
        raise UserError("--weights, --classes and the like describe a MODEL: give --private, the images of its people.")
    with loading():
        from trapmid.data.doctor import examine
    with Watch() as progress:
        diagnosis = examine(
            Path(what), public, progress=lambda done, total: progress("examine images", done, total, "")
        )
    print_diagnosis(diagnosis, as_json=as_json)
    return 0 if diagnosis.healthy else 2


def convert(
    legacy: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OLD")],
    to: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")],
) -> None:
    """Convert a checkpoint of torch.save (.pth, .tar, .pkl, .ckpt) to safetensors, without running any code in it.

    Weights are taken from `state_dict` if there is one, and the prefix `module.` is removed. Other names stay as they
    are. `--set model.weights=FILE` accepts both formats.

    Example: trapmid convert ir50.tar --to ir50.safetensors

    Args:
        legacy: checkpoint to read.
        to: file to write.
    """
    with loading():
        from trapmid.models.weights import convert
    tensors = convert(legacy, to)
    console.print(f"{to}: {len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers")


def list_(as_json: AsJson = False, deviations: bool = False) -> None:
    """List everything that a recipe can name, with its paper: defenses, attacks, priors, models, judges, augmentations, recipes; and every metric.

    Example: trapmid list --json

    Args:
        as_json: print JSON instead of tables.
        deviations: list what differs from the publications instead, member by member, and why.
    """  # noqa: E501, W505
    with loading():
        from trapmid.catalogue import entries
        from trapmid.deviations import deviations as known
    if deviations:
        print_deviations(known(), as_json=as_json)
    else:
        print_catalogue(entries(), as_json=as_json)
