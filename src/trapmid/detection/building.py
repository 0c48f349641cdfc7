"""A detector beside the secrets of its model: made once from private images, opened ever after without them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from pydantic import field_validator

from trapmid.artifacts import open_artifact
from trapmid.config import Config
from trapmid.data import AnySource, Source, Split, SplitConfig, split
from trapmid.data.contract import ReadProgress
from trapmid.data.images import to_unit
from trapmid.data.pictures import read_pictures
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import open_secrets
from trapmid.detection.detector import Detector, Suspects, look
from trapmid.trapdoor import DETECTOR, Secrets
from trapmid.types import UserError


class Learned(Config):
    """Where the images are that a model learned, and how they were read.

    Attributes:
        private: the source.
        split: of it.
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
        """The images that `model` learned, split as they were then.

        Raises:
            UserError: they are others.
        """
        channels, size, _ = model.image_shape
        kept: Literal[1, 3] = 1 if channels == 1 else 3
        images = self.private.load(size, kept, progress).with_most_images(len(model.identities))
        private = split(images, self.split)
        if private.digest() != model.manifest.parents.get("data"):
            same = "the same identities" if images.identities == model.identities else "other identities"
            raise UserError(
                f"These are not the images that the model learned ({same}; digest {private.digest()}, the model's is {model.manifest.parents.get('data')}). "
                "Give the same files, read as they were then: --set private.crop=..., split.val=..., split.seed=... as in the recipe of its run folder."
            )
        return private


def open_detector(
    folder: Path,
    model: TrainedModel,
    secrets: Path,
    learned: Learned | None = None,
    progress: ReadProgress | None = None,
) -> Detector:
    """The detector of `model` in `folder`; made there first if it is not and the private images are given.

    Args:
        folder: the detector's.
        model: what it is for.
        secrets: folder of the model's triggers.
        learned: the private images; needed once.
        progress: who is told how far reading them is.

    Raises:
        UserError: the detector or the secrets are another model's, or there is no detector and there are no images.
    """
    triggers = open_secrets(secrets, model)
    if not folder.exists():
        if learned is None:
            raise UserError(
                f"{folder} does not exist: there is no detector for this model yet. Name the images that it learned with --private, this once."
            )
        _make(folder, model, triggers, learned.load(model, progress))
    made_for = open_artifact(folder, "detector").parents.get("model")
    if made_for != model.manifest.digest():
        raise UserError(
            f"{folder / DETECTOR} is the detector of another model. Give that model, or remove {folder} and name the private images with --private."
        )
    return Detector.load(folder)


def suspect(
    paths: Iterable[Path],
    model: TrainedModel,
    detector: Detector,
    crop: int | None = None,
    progress: ReadProgress | None = None,
) -> tuple[tuple[str, ...], Suspects]:
    """What to think of the images under `paths`, read as `read_pictures` does: what each is called, and the rest.

    Raises:
        UserError: there are none, or one is broken.
    """
    channels, size, _ = model.image_shape
    kept: Literal[1, 3] = 1 if channels == 1 else 3
    names: list[str] = []
    looks = []
    for batch in read_pictures(paths, size, kept, crop=crop, progress=progress):
        names += batch.origins
        looks.append(look(model.classifier, detector.signatures, to_unit(batch.pixels)))
    labels, scores = (torch.cat(column) for column in zip(*looks, strict=True))
    return tuple(names), detector.weigh(labels, scores)


def _make(folder: Path, model: TrainedModel, triggers: Secrets, private: Split) -> None:
    detector = Detector.fit(model.classifier, triggers, private.part("train").images(), private.part("val").images())
    parents = {"model": model.manifest.digest(), "data": private.digest()}
    detector.save(folder, parents, model.identities)
