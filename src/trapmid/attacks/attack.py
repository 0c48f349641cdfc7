"""The contract of an attack: a frozen config that gets a target and public images, and nothing private."""

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
from trapmid.priors import GANConfig, Prior, PriorConfig, PriorTraining
from trapmid.priors.gan import GENERATOR, save_network
from trapmid.targets import LabelTarget
from trapmid.types import Labels, Pixels, UserError

TargetT = TypeVar("TargetT", bound=LabelTarget)
ReadyT = TypeVar("ReadyT")
NOTES, GAN_LOG = "notes.json", "gan.jsonl"


@dataclass(frozen=True)
class Run:
    """What an attack runs with, beside target and public images.

    Attributes:
        seed: of the prior and the search.
        compute: device and precision.
        folder: for checkpoints and logs; survives a crash.
        prior: what the attack's `public_prior` was trained to, None if it wants none.
        progress: called with how far it is.
        evaluations: of the loss in each step of a search that descends gradients. Their gradients are averaged, which
            makes a difference where something is drawn at random.
    """

    seed: int
    compute: Compute
    folder: Path
    prior: Prior | None = None
    progress: Progress = no_progress
    evaluations: int = 1

    def training(self, public: ImageSet, target: LabelTarget, kind: str) -> PriorTraining:
        """For training a GAN with the target's help; its checkpoints keep the count of queries."""
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
        """Keep the training log of a network that the attack trained; reports draw its curves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / GAN_LOG, "".join(json.dumps(row) + "\n" for row in rows))

    def keep_generator(self, network: nn.Module) -> None:
        """Keep the weights of the generator that the attack trained; `Attack.own_prior` says how to open them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_network(network, self.folder / GENERATOR)

    def note(self, **facts: float) -> None:
        """Keep numbers that belong in the manifest, such as the number of identities without a starting point."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / NOTES, json.dumps(self.notes() | facts))

    def notes(self) -> dict[str, float]:
        """All numbers that were kept by `note`, by this run and by those it resumes."""
        file = self.folder / NOTES
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


class Effort(Config):
    """How many images an attack makes, and how many at once.

    An attack that has these three settings names this class among its bases. It comes first, as in
    `class GMI(Effort, Attack[WhiteBoxTarget, GAN])`. Any other attack returns an `Effort` from its property `effort`.

    Attributes:
        images_per_identity: reconstructions of each identity, from independent starts.
        identities_per_batch: identities that are searched at once; 0 for all.
        chunk: images that are decoded at once. It bounds memory.
    """

    images_per_identity: Count = 5
    identities_per_batch: CountOrZero = 0
    chunk: Count = 100

    @property
    def effort(self) -> "Effort":
        """These settings without the rest of the attack's."""
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
    """(n,), on the CPU: the labels that the target predicts for pictures (n, c, h, w), `chunk` at once."""
    return torch.cat([target.labels(to_unit(part.to(target.device))).cpu() for part in pixels.split(chunk)])


@dataclass(frozen=True, eq=False)
class Found:
    """Reconstructions.

    Attributes:
        pixels: (n, c, h, w), uint8.
        labels: (n,), the identity each is meant to show.
        confidence: (n,), the target's own probability of that identity: the attacker's view of success. Of a target
            that answers with labels only, 1 where it names the identity and 0 elsewhere.
    """

    pixels: Pixels
    labels: Labels
    confidence: Tensor


class Attack(Member, ABC, Generic[TargetT, ReadyT]):
    """A way to reconstruct images of a classifier's identities.

    A member states two types: the access it needs, and what its `prepare` hands to its `invert`.

    Attributes:
        needs: the access that the attack takes, which is the first of the two types.
        adaptive: whether the attack knows which defense it may face, and works around it.
        searches: whether the attack searches for images. An adaptive attack can wrap an attack that does.
        wraps: whether the attack is such a wrapper.
    """

    needs: ClassVar[type[LabelTarget]]
    adaptive: ClassVar[bool] = False
    searches: ClassVar[bool] = True
    wraps: ClassVar[bool] = False

    def __class_getitem__(cls, types: Any) -> Any:
        """`Attack[Any, Any]` is `Attack`; pydantic would make a class that no attack is an instance of."""
        return cls if types == (Any, Any) else super().__class_getitem__(types)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Read the access off the class's type argument."""
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
        """How many images of each identity the attack makes, and how many at once."""

    @abstractmethod
    def public_prior(self) -> PriorConfig | None:
        """The prior to train on the public images before any target is known; attacks with the same one share it."""

    def own_prior(self) -> GANConfig | None:
        """The GAN that `prepare` trains with the target's help and keeps with `Run.keep_generator`.

        None if it trains none.
        """
        return None

    @abstractmethod
    def prepare(self, target: TargetT, public: ImageSet, run: Run) -> ReadyT:
        """Train or look up what all identities share. Resumes from `run.folder`."""

    @abstractmethod
    def invert(self, target: TargetT, ready: ReadyT, identities: Labels, run: Run) -> Found:
        """Search for all `identities` (k,) in one batch.

        Called batch after batch; finished batches are not repeated.
        """
