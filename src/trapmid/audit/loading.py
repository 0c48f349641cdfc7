"""Reads, selects and splits the images of an audit, and records the split of each image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import torch

from trapmid.artifacts import Draft, make
from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe
from trapmid.data import ImageSet, Source, Split, check_disjoint, split
from trapmid.engine import Progress, generator, no_progress, peak_memory_mib
from trapmid.manifests import Manifest, open_artifact
from trapmid.types import UserError

SPLITS = "splits.parquet"


@dataclass(frozen=True, eq=False)
class AuditData:
    """The images of an audit: the private images in their splits, and the attacker's public images.

    Attributes:
        private: the private images of the identities that take part.
        public: the attacker's images.
        everybody: all identities of the private images in order, including those that do not take part.
    """

    private: Split
    public: ImageSet
    everybody: tuple[str, ...]

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests of the private and the public images, as recorded in manifests."""
        return {"private": self.private.digest(), "public": self.public.digest()}


def load_data(recipe: Recipe, progress: Progress) -> AuditData:
    """Read, select and split the images of a recipe.

    Raises:
        UserError: a source is missing from the recipe or cannot be read, or private and public images share people.
    """
    private, public = _side(recipe, "private", progress), _side(recipe, "public", progress)
    if recipe.public_images is not None and recipe.public_images < len(public):
        drawn = torch.randperm(len(public), generator=generator(0, "public images"))[: recipe.public_images]
        public = public.subset(drawn.sort().values)
    chosen = private if recipe.identities is None else private.with_most_images(recipe.identities)
    check_disjoint(chosen, public)
    return AuditData(split(chosen, recipe.split), public, private.identities)


def load_private_again(recipe: Recipe, root: Path, progress: Progress = no_progress) -> Split:
    """Read the private images of the run in the folder `root`, to show them beside reconstructions.

    Raises:
        UserError: they cannot be read, or they have changed since the run.
    """
    images = _side(recipe, "private", progress)
    private = split(images if recipe.identities is None else images.with_most_images(recipe.identities), recipe.split)
    made_from = open_artifact(Folders(root).data, "data").parents["private"]
    if private.digest() != made_from:
        raise UserError(
            f"The private images ({recipe.private.title if recipe.private else 'none'}) are no longer those that "
            f"{root} was made from, so they would be shown beside reconstructions of others. Bring those back, or "
            "leave them out with --redact."
        )
    return private


def _side(recipe: Recipe, side: Literal["private", "public"], progress: Progress) -> ImageSet:
    source: Source | None = getattr(recipe, side)
    if source is None:
        raise UserError(
            f"Recipe {recipe.name} needs {side} images. Give --{side} PATH: a folder with one folder per identity, "
            "a .parquet file, or CelebA as distributed; public ones may be a folder of images without names."
        )
    return source.load(
        recipe.image_size,
        recipe.channels,
        lambda done, total: progress(f"load {side} images", done, total, ""),
    )


def write_split(recipe: Recipe, root: Path, data: AuditData, progress: Progress = no_progress) -> Manifest:
    """Record the split of each private image and the numbers of identities and images in the run folder."""
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
    """The settings of a source without those that are not set.

    In this way, a new option of a source does not change the recipe of data sets that do not use it.
    """
    return None if source is None else source.model_dump(mode="json", exclude_none=True)
