"""The trapdoor as an alarm: detect."""

from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.options import AsJson, Changes, check_paths
from trapmid.cli.running import loading
from trapmid.console import print_suspects
from trapmid.errors import UserError
from trapmid.progress import Watch


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
    check_paths(model, secrets, private, *images)
    if not images:
        raise UserError("Name at least one suspected image, a folder of them or a .parquet file.")
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
