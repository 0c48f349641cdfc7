"""The interface of an attack: a frozen config that receives a target and public images, but no private images."""

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from trapmid.config import Config, Count, CountOrZero, Member
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Compute, Progress, no_progress
from trapmid.files import write_atomic
from trapmid.priors import OwnPrior, Prior, PriorConfig, PriorTraining
from trapmid.priors.gan import GENERATOR, save_network
from trapmid.targets import LabelTarget
from trapmid.types import Labels, Pixels, UserError

TargetT = TypeVar("TargetT", bound=LabelTarget)
ReadyT = TypeVar("ReadyT")
NOTES, GAN_LOG = "notes.json", "gan.jsonl"


@dataclass(frozen=True)
class Run:
    """The inputs of an attack, apart from the target and the public images.

    Attributes:
        seed: seed of the prior and the search.
        compute: device and precision.
        folder: folder for checkpoints and logs, from which the attack is resumed after a crash.
        prior: the trained prior of the attack's `public_prior`; None if it needs none.
        progress: called with the progress of the attack.
        evaluations: number of evaluations of the loss in each step of a gradient-based search. Their gradients are
            averaged, which matters if the loss is random.
    """

    seed: int
    compute: Compute
    folder: Path
    prior: Prior | None = None
    progress: Progress = no_progress
    evaluations: int = 1

    def training(self, public: ImageSet, target: LabelTarget, kind: str) -> PriorTraining:
        """Inputs for training a GAN with queries to the target. Its checkpoints store the number of queries."""
        return PriorTraining(
            public,
            target.num_classes,
            self.seed,
            self.compute,
            self.folder / "gan",
            self.progress,
            f"{kind} gan",
            {"target": target},
        )

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Store the training log of a network that the attack trained. Reports draw its curves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / GAN_LOG, "".join(json.dumps(row) + "\n" for row in rows))

    def keep_generator(self, network: nn.Module) -> None:
        """Store the weights of the generator that the attack trained. `Attack.own_prior` is the config to open them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_network(network, self.folder / GENERATOR)

    def note(self, **facts: float) -> None:
        """Store numbers for the manifest, such as the number of identities without a starting point."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / NOTES, json.dumps(self.notes() | facts))

    def notes(self) -> dict[str, float]:
        """All numbers that `note` stored, in this run and in the runs that it resumes."""
        file = self.folder / NOTES
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


class Effort(Config):
    """The number of images that an attack produces, in total and at once.

    An attack with these three settings inherits from this class. It is the first base class, as in
    `class GMI(Effort, Attack[WhiteBoxTarget, GAN])`. Any other attack returns an `Effort` from its property `effort`.

    Attributes:
        images_per_identity: number of reconstructions of each identity, from independent starting points.
        identities_per_batch: number of identities in one search; 0 for all.
        chunk: number of images that are decoded at once. It bounds memory.
    """

    images_per_identity: Count = 5
    identities_per_batch: CountOrZero = 0
    chunk: Count = 100

    @property
    def effort(self) -> "Effort":
        """These settings without the other settings of the attack."""
        return Effort(
            images_per_identity=self.images_per_identity,
            identities_per_batch=self.identities_per_batch,
            chunk=self.chunk,
        )


def given_prior(run: Run, attack: str) -> Prior:
    """The run's prior.

    Raises:
        UserError: there is none.
    """
    if run.prior is None:
        raise UserError(f"{attack} searches a prior that was trained before, and it was given none.")
    return run.prior


def named_by(target: LabelTarget, pixels: Pixels, chunk: int = 256) -> Labels:
    """The labels (n,), on the CPU, that the target predicts for pictures (n, c, h, w), with `chunk` at once."""
    return torch.cat([target.labels(to_unit(part.to(target.device))).cpu() for part in pixels.split(chunk)])


@dataclass(frozen=True, eq=False)
class Found:
    """Reconstructions.

    Attributes:
        pixels: (n, c, h, w), uint8.
        labels: (n,), the identity that each image is meant to show.
        confidence: (n,), the target's own probability of that identity, as the attacker sees it. If a target answers
            with labels only, it is 1 if the label is the identity and 0 otherwise.
    """

    pixels: Pixels
    labels: Labels
    confidence: Tensor


class Attack(Member, ABC, Generic[TargetT, ReadyT]):
    """A way to reconstruct images of a classifier's identities.

    A subclass declares two types: the access that it needs, and the value that `prepare` passes to `invert`.

    Attributes:
        needs: the access that the attack needs, which is the first of the two types.
        adaptive: whether the attack knows the defense, and adapts to it.
        searches: whether the attack searches for images. An adaptive attack can wrap an attack that does.
        wraps: whether the attack is such a wrapper.
        combines: whether the attack runs several others and picks from what they find.
    """

    needs: ClassVar[type[LabelTarget]]
    adaptive: ClassVar[bool] = False
    searches: ClassVar[bool] = True
    wraps: ClassVar[bool] = False
    combines: ClassVar[bool] = False

    def __class_getitem__(cls, types: Any) -> Any:
        """Return `Attack` for `Attack[Any, Any]`. Pydantic would create a class that has no attack as an instance."""
        return cls if types == (Any, Any) else super().__class_getitem__(types)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Determine the access from the type argument of the class."""
        super().__pydantic_init_subclass__(**kwargs)
        stated = (
            base.__pydantic_generic_metadata__["args"][0]
            for base in cls.__mro__
            if issubclass(base, Attack) and base.__pydantic_generic_metadata__["args"]
        )
        access = next((one for one in stated if isinstance(one, type) and issubclass(one, LabelTarget)), None)
        if access is not None:
            cls.needs = access
        elif not inspect.isabstract(cls):
            raise TypeError(
                f"{cls.__name__} does not state the access it needs. Write "
                f"`class {cls.__name__}(Attack[WhiteBoxTarget, Ready])` "
                "with a target class of trapmid.targets and the type that `prepare` returns."
            )

    @property
    @abstractmethod
    def effort(self) -> Effort:
        """The number of images that the attack produces of each identity, and at once."""

    @abstractmethod
    def public_prior(self) -> PriorConfig | None:
        """The prior to train on the public images without a target. Attacks with the same prior share it."""

    def own_prior(self) -> OwnPrior | None:
        """The prior that `prepare` trains with queries to the target.

        `prepare` stores its generator with `Run.keep_generator`. None if it trains none.
        """
        return None

    @abstractmethod
    def prepare(self, target: TargetT, public: ImageSet, run: Run) -> ReadyT:
        """Train or compute everything that all identities share. Resumes from `run.folder`."""

    @abstractmethod
    def invert(self, target: TargetT, ready: ReadyT, identities: Labels, run: Run) -> Found:
        """Search for all `identities` (k,) in one batch.

        This is called for each batch. Finished batches are not repeated.
        """
