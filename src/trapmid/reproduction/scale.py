"""A scale turns the targets, defenses and attacks of an experiment into recipes, and estimates their cost."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from trapmid.attacks import AnyAttack
from trapmid.audit import Recipe
from trapmid.data import Source
from trapmid.data.sources import guess_flat
from trapmid.defenses import Defense
from trapmid.recipes.costs import Cost
from trapmid.reproduction.experiment import Experiment, ExperimentRow, Target, Transforms
from trapmid.types import UserError

CROPS = {"ffhq": 88, "facescrub": 54}
"""The side in pixels of the central square that Trap-MID's code crops.

It crops FFHQ's thumbnails of 128 px, and FaceScrub's faces resized to 64 px.
"""


@dataclass(frozen=True)
class Images:
    """The paths of the images of a reproduction; None for images that are not given.

    Attributes:
        private: the private images, which classifiers are trained on.
        public: the attacker's images, from the same data set.
        ffhq: a flat folder of FFHQ's thumbnails, or another second public set.
        facescrub: a third public set.
    """

    private: Path | None = None
    public: Path | None = None
    ffhq: Path | None = None
    facescrub: Path | None = None

    def other(self, name: str) -> Source | None:
        """The public images from another data set. Folders are flat, and their images are cropped as published."""
        path: Path | None = getattr(self, name)
        return None if path is None else guess_flat(path, CROPS[name])


@dataclass(frozen=True)
class Scale(ABC):
    """The size at which an experiment runs.

    Attributes:
        name: its name for `--scale`.
        needs: the images that it needs, in words.
        unit: what runs one task: `GPU` or `core`.
        images: the paths of the images.
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    unit: ClassVar[str]
    images: Images = field(default_factory=Images)

    @abstractmethod
    def recipe(self, target: Target, defense: str) -> Recipe:
        """The recipe for a target and a defense, given by key. Its defenses, attacks and seeds are set later."""

    @abstractmethod
    def defense(self, row: ExperimentRow) -> Defense:
        """The defense of a row."""

    @abstractmethod
    def attack(self, row: ExperimentRow) -> AnyAttack | None:
        """The attack of a row; None if this row has none."""

    @abstractmethod
    def seeds(self, experiment: Experiment) -> tuple[int, ...]:
        """The seeds of trainings and attacks."""

    @abstractmethod
    def cost(self, target: Target) -> Cost:
        """The estimated cost of the cells of a target."""

    @abstractmethod
    def differs(self, experiment: Experiment) -> tuple[str, ...]:
        """The differences from the paper's setting, one line each."""

    def check(self, experiment: Experiment) -> None:
        """Check that the images that the experiment needs are given.

        Raises:
            UserError: some are missing; the message says which, and what they are.
        """
        for target in {row.target for row in experiment.rows}:
            recipe = self.recipe(target, "none")
            lacking = [f"--{side}" for side in ("private", "public") if getattr(recipe, side) is None]
            if lacking and target.public != "same":
                lacking = [f"--{target.public}" if side == "--public" else side for side in lacking]
            if lacking:
                raise UserError(
                    f"{experiment.name} at scale {self.name} needs {' and '.join(lacking)}. {self.needs} "
                    "`--plan` shows what would run without any images."
                )


CLASSES = 5
"""The number of private classes of the MNIST and CIFAR-10 settings. Their recipes use every class."""


def identities_of(recipe: Recipe) -> int:
    """The number of private identities, as far as it is known before images are read."""
    known = None if recipe.private is None else recipe.private.identity_count
    return recipe.identities or known or CLASSES


def with_transforms(recipe: Recipe, transforms: Transforms | None) -> Recipe:
    """The recipe with these parts of its augmentation only. Brightness and contrast do not change either."""
    if transforms is None:
        return recipe
    augmentation = recipe.own_training.augmentation.model_copy(
        update={
            "crop_probability": float(transforms.crop),
            "flip_probability": float(transforms.flip),
            "rotation_probability": float(transforms.rotation),
            "jitter_probability": 0.0,
        }
    )
    training = recipe.own_training.model_copy(update={"augmentation": augmentation})
    return recipe.model_copy(update={"training": training})
