"""A scale: how an experiment's targets, defenses and attacks become recipes, and what that costs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from trapmid.attacks import AnyAttack
from trapmid.audit import Recipe
from trapmid.data import Source
from trapmid.data.sources import guess_flat
from trapmid.defenses import Defense
from trapmid.reproduction.experiment import Experiment, ExperimentRow, Target, Transforms
from trapmid.types import UserError

CROPS = {"ffhq": 88, "facescrub": 54}
"""The central square that Trap-MID's code crops, in pixels: of FFHQ's thumbnails of 128 px, and of FaceScrub's faces resized to 64 px."""


@dataclass(frozen=True)
class Images:
    """Where the images of a reproduction lie; None where they were not given.

    Attributes:
        private: what classifiers learn.
        public: the attacker's, of the same data set.
        ffhq: a flat folder of FFHQ's thumbnails, or any other second public set.
        facescrub: a third one.
    """

    private: Path | None = None
    public: Path | None = None
    ffhq: Path | None = None
    facescrub: Path | None = None

    def other(self, name: str) -> Source | None:
        """A public set of another data set; folders are flat and cropped as published."""
        path: Path | None = getattr(self, name)
        return None if path is None else guess_flat(path, CROPS[name])


@dataclass(frozen=True)
class Cost:
    """What cells cost on a machine: estimates, told as such.

    Attributes:
        plain: seconds of a training without defense.
        trainings: multiples of it by the defense's kind; those not named take one.
        attacks: seconds by name, prior and search together.
        priors: seconds by kind, each trained once.
        judge: seconds, once.
        measure: seconds of a measurement for each trained model and each attack.
        memory: GiB that one process takes.
        basis: where the numbers are from.
    """

    plain: float
    trainings: Mapping[str, float]
    attacks: Mapping[str, float]
    priors: Mapping[str, float]
    judge: float
    measure: float
    memory: float
    basis: str


@dataclass(frozen=True)
class Scale(ABC):
    """The size at which an experiment runs.

    Attributes:
        images: where they lie.
    """

    name: ClassVar[str]
    needs: ClassVar[str]
    images: Images = field(default_factory=Images)

    @abstractmethod
    def recipe(self, target: Target, defense: str) -> Recipe:
        """What decides how a defense (by key) is trained on a target: a recipe whose defenses, attacks and seeds do not count yet."""

    @abstractmethod
    def defense(self, row: ExperimentRow) -> Defense:
        """The defense of a row."""

    @abstractmethod
    def attack(self, row: ExperimentRow) -> AnyAttack | None:
        """The attack of a row; None where nothing is attacked here."""

    @abstractmethod
    def seeds(self, experiment: Experiment) -> tuple[int, ...]:
        """Of training and attack."""

    @abstractmethod
    def cost(self, target: Target) -> Cost:
        """Of its cells."""

    @abstractmethod
    def differs(self, experiment: Experiment) -> tuple[str, ...]:
        """What differs from the paper's setting, a line each."""

    def check(self, experiment: Experiment) -> None:
        """Whether the images that the experiment takes were given.

        Raises:
            UserError: which are missing, and what they are.
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
"""Private classes of the MNIST and CIFAR-10 settings, whose recipes take all there are."""


def identities_of(recipe: Recipe) -> int:
    """The number of private identities, as far as it is known before images are read."""
    known = None if recipe.private is None else recipe.private.identity_count
    return recipe.identities or known or CLASSES


def with_transforms(recipe: Recipe, transforms: Transforms | None) -> Recipe:
    """The recipe with only these parts of its augmentation; no change of brightness or contrast either."""
    if transforms is None:
        return recipe
    augmentation = recipe.training.augmentation.model_copy(
        update={
            "crop_probability": float(transforms.crop),
            "flip_probability": float(transforms.flip),
            "rotation_probability": float(transforms.rotation),
            "jitter_probability": 0.0,
        }
    )
    training = recipe.training.model_copy(update={"augmentation": augmentation})
    return recipe.model_copy(update={"training": training})
