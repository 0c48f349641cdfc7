"""Keeps a detector beside the secrets of its model: made once from private images, opened without them later."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from pydantic import field_validator

from trapmid.config import Config
from trapmid.data import AnySource, Source, Split, SplitConfig, split
from trapmid.data.contract import ReadProgress
from trapmid.data.images import to_unit
from trapmid.data.pictures import read_pictures
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import open_secrets
from trapmid.detection.detector import Detector, Suspects, look
from trapmid.manifests import open_artifact
from trapmid.trapdoor import DETECTOR, Secrets
from trapmid.types import UserError


class Learned(Config):
    """The private images that a model was trained on, and how they were read.

    Attributes:
        private: the source of the images.
        split: how they were divided.
    """

    private: AnySource
    split: SplitConfig = SplitConfig()

    @field_validator("private")
    @classmethod
    def _says_who_is_who(cls, private: Source) -> Source:
        if not private.names_identities:
            raise ValueError(f"{private.title} does not name identities, which a model's private images do")
        return private

    def load(self, model: TrainedModel, progress: ReadProgress | None = None) -> Split:
        """The images that `model` was trained on, split as they were then.

        Raises:
            UserError: the source holds other images.
        """
        channels, size, _ = model.image_shape
        kept: Literal[1, 3] = 1 if channels == 1 else 3
        images = self.private.load(size, kept, progress).with_most_images(len(model.identities))
        private = split(images, self.split)
        if private.digest() != model.manifest.parents.get("data"):
            same = "the same identities" if images.identities == model.identities else "other identities"
            raise UserError(
                f"These are not the images that the model was trained on ({same}; their digest is {private.digest()}, "
                f"the model's is {model.manifest.parents.get('data')}). Give the same files, read in the same way: "
                "--set private.crop=..., split.val=..., split.seed=... as in the recipe of the model's run folder."
            )
        return private


def open_detector(
    folder: str | Path,
    model: TrainedModel,
    secrets: str | Path,
    learned: Learned | None = None,
    progress: ReadProgress | None = None,
) -> Detector:
    """Open the detector of `model` in `folder`. If there is none, make it from the private images first.

    Args:
        folder: the detector's folder.
        model: the model that it is for.
        secrets: the folder of the model's triggers.
        learned: the private images, needed the first time only.
        progress: called with the number of private images that have been read.

    Raises:
        UserError: the detector or the secrets belong to another model, or there is neither a detector nor private
            images.
    """
    folder = Path(folder)
    secrets = Path(secrets)
    triggers = open_secrets(secrets, model)
    if not folder.exists():
        if learned is None:
            raise UserError(
                f"{folder} does not exist: there is no detector for this model yet. "
                "Give the images that the model was trained on with --private; this is needed once."
            )
        _make(folder, model, triggers, learned.load(model, progress))
    made_for = open_artifact(folder, "detector").parents.get("model")
    if made_for != model.manifest.digest():
        raise UserError(
            f"{folder / DETECTOR} is the detector of another model. Give that model, or remove {folder} and give the "
            "private images with --private."
        )
    return Detector.load(folder)


def suspect(
    paths: Iterable[str | Path],
    model: TrainedModel,
    detector: Detector,
    crop: int | None = None,
    progress: ReadProgress | None = None,
) -> tuple[tuple[str, ...], Suspects]:
    """Examine the images under `paths`: where each of them is stored, and the detector's verdict.

    Args:
        paths: image files, folders and Parquet files, as `read_pictures` takes them.
        model: the model that the detector is for.
        detector: its detector.
        crop: side length in pixels of the central square that is used; None uses the largest that fits.
        progress: called with the number of images that are done.

    Raises:
        UserError: there are no images, or one is broken.
    """
    channels, size, _ = model.image_shape
    kept: Literal[1, 3] = 1 if channels == 1 else 3
    origins: list[str] = []
    looks = []
    for batch in read_pictures(paths, size, kept, crop=crop, progress=progress):
        origins += batch.origins
        looks.append(look(model.classifier, detector.signatures, to_unit(batch.pixels)))
    labels, scores = (torch.cat(column) for column in zip(*looks, strict=True))
    return tuple(origins), detector.weigh(labels, scores)


def _make(folder: Path, model: TrainedModel, triggers: Secrets, private: Split) -> None:
    detector = Detector.fit(model.classifier, triggers, private.part("train").images(), private.part("val").images())
    parents = {"model": model.manifest.digest(), "data": private.digest()}
    detector.save(folder, parents, model.identities)
