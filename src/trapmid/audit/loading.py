"""The images of an audit: read, selected and split as the recipe says, and a record of who is in which split."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from trapmid.artifacts import Draft, Manifest, make
from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe
from trapmid.data import ImageSet, Source, Split, check_disjoint, split
from trapmid.engine import Progress, no_progress, peak_memory_mib
from trapmid.types import UserError

SPLITS = "splits.parquet"


@dataclass(frozen=True, eq=False)
class AuditData:
    """The images of an audit, loaded: who is attacked, and with what."""

    private: Split
    public: ImageSet

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of both sides, for manifests."""
        return {"private": self.private.digest(), "public": self.public.digest()}


def load_data(recipe: Recipe, progress: Progress) -> AuditData:
    """Read, select and split the images of a recipe.

    Raises:
        UserError: a source is missing from the recipe or cannot be read, or private and public images share people.
    """
    sides: dict[str, ImageSet] = {}
    for side in ("private", "public"):
        source: Source | None = getattr(recipe, side)
        if source is None:
            raise UserError(
                f"Recipe {recipe.name} needs {side} images. Give --{side} PATH: a folder with one folder per identity, "
                "a .parquet file, or CelebA as distributed; public ones may be a folder of images of anybody."
            )

        def report(done: int, total: int | None, side: str = side) -> None:
            progress(f"load {side} images", done, total, "")

        sides[side] = source.load(recipe.image_size, recipe.channels, report)
    private = sides["private"] if recipe.identities is None else sides["private"].with_most_images(recipe.identities)
    check_disjoint(private, sides["public"])
    return AuditData(split(private, recipe.split), sides["public"])


def write_split(recipe: Recipe, root: Path, data: AuditData, progress: Progress = no_progress) -> Manifest:
    """Record which private image is in which split, and how much there is of everything."""
    images = data.private.images
    facts = {
        "identities": len(images.identities),
        "private_images": {name: len(getattr(data.private, name)) for name in ("train", "val", "test")},
        "public_identities": len(data.public.identities),
        "public_images": len(data.public),
    }
    settings = {
        "private": _dump(recipe.private),
        "public": _dump(recipe.public),
        "identities": recipe.identities,
        "split": recipe.split.model_dump(mode="json"),
        "image_size": recipe.image_size,
    }

    def build(draft: Draft) -> Manifest:
        pq.write_table(data.private.to_table(), draft.folder / SPLITS)
        return draft.finish([SPLITS], facts, 0.0, peak_memory_mib())

    return make(Folders(root).data, "data", settings, data.digests, build, progress)


def _dump(source: Source | None) -> Any:
    """What is not set is left out, so that an option more does not make another data set of an old one."""
    return None if source is None else source.model_dump(mode="json", exclude_none=True)
