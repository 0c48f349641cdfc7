"""Reads the pictures of each identity from a run folder: private images and reconstructions."""

from collections.abc import Mapping, Sequence

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from trapmid.attacks import open_found
from trapmid.audit.measuring import SAMPLES
from trapmid.audit.plan import Folders
from trapmid.data import ImageSet
from trapmid.report.contents import GalleryRow, Picture, Reconstruction

PRIVATE_SHOWN, FOUND_SHOWN = 3, 5
"""Pictures of each identity, at most."""


def reconstructions(
    folders: Folders, attack: str, model: str, seed: int, judge: str
) -> Mapping[int, Sequence[Reconstruction]]:
    """The reconstructions of an attack on one model, by the number of the identity, with the verdict of a judge."""
    wanted = {"defense": model, "attack": attack, "seed": seed, "judge": judge}
    samples = pq.read_table(
        folders.measurement / SAMPLES, filters=[(name, "==", value) for name, value in wanted.items()]
    )
    recognised = dict(zip(samples["sample"].to_pylist(), pc.less(samples["rank"], 1).to_pylist(), strict=True))
    found, _ = open_found(folders.attack(attack, model, seed))
    return {
        number: [
            Reconstruction(picture=_picture(found.pixels[place]), recognised=recognised.get(place))
            for place in torch.nonzero(found.labels == number).flatten()[:FOUND_SHOWN].tolist()
        ]
        for number in found.labels.unique().tolist()
    }


def gallery_rows(
    train: ImageSet | None, identities: int, columns: Mapping[str, Mapping[int, Sequence[Reconstruction]]]
) -> list[GalleryRow]:
    """One row per identity.

    Args:
        train: private images, which are shown beside; None to leave them and the names of identities out.
        identities: their number.
        columns: reconstructions by the number of the identity, by the title of the column.
    """
    rows = []
    for number in range(identities):
        name, private = f"Identity {number}", []
        if train is not None:
            name = train.identities[number]
            private = [_picture(train.pixels[place]) for place in train.of_identity(number)[:PRIVATE_SHOWN].tolist()]
        shown = {title: found.get(number, ()) for title, found in columns.items()}
        rows.append(GalleryRow(identity=name, private=private, columns=shown))
    return rows


def _picture(pixels: torch.Tensor) -> Picture:
    return pixels.permute(1, 2, 0).contiguous().numpy()
