"""The command that uses a trapdoor as an alarm: detect."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.options import AsJson, Changes, OptionalNumber, OptionalPath, check_count, check_device, check_paths
from trapmid.cli.running import loading
from trapmid.console import print_suspects
from trapmid.errors import UserError
from trapmid.progress import Watch


def detect(
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")],
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGES ...")],
    secrets: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    private: OptionalPath = None,
    fpr: float = 0.05,
    changes: Changes = (),
    crop: OptionalNumber = None,
    as_json: AsJson = False,
    device: str = "auto",
) -> None:
    """Find images that came out of an inversion of a model with a trapdoor, and say how unusual the set is as a whole.

    The first run makes a detector from the private images that the model was trained on and keeps it in
    SECRETS/detector, which only you can read. Later runs need no private images.

    Example: trapmid detect runs/mine/models/trapmid-s0 suspects/ --secrets runs/mine/secrets/trapmid-s0 --private
    private.parquet

    Args:
        model: folder of the model.
        images: suspected images: image files, folders of images, .parquet files, or the folder of an attack.
        secrets: folder of the model's triggers.
        private: images that the model was trained on, as `trapmid audit` takes them. Needed in the first run only.
        fpr: share of clean images that may be flagged by mistake, between 0 and 1.
        changes: how the private images were read, as in the recipe, e.g. --set private.crop=108 split.val=0.2.
        crop: height and width in pixels of the central part of each suspected image that is used. Default: as large
            as fits.
        as_json: print JSON instead of a table.
        device: auto, cpu, cuda or cuda:N.
    """
    check_device(device)
    check_count("--crop", crop)
    if not 0 < fpr < 1:
        raise UserError(f"--fpr {fpr}: expected a share between 0 and 1, e.g. 0.05.")
    check_paths(model, secrets, private, *images)
    if not images:
        raise UserError("Name at least one suspected image, a folder of images or a .parquet file.")
    with loading():
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
