"""What an attack is: a frozen config that gets a target and public images - never private images, never secrets, never a judge."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from trapmid.config import Member
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Compute, Progress, no_progress
from trapmid.files import write_atomic
from trapmid.priors import GANConfig, Prior, PriorConfig, Setting
from trapmid.targets import LabelTarget
from trapmid.types import Images, Labels, Pixels

T = TypeVar("T", bound=LabelTarget)
NOTES = "notes.json"
E = TypeVar("E")


@dataclass(frozen=True)
class Run:
    """What an attack runs with, beside target and public images.

    Attributes:
        seed: of the prior and the search.
        compute: device and precision.
        folder: for checkpoints and logs; survives a crash.
        prior: what the attack's `public_prior` was trained to, None if it wants none.
        progress: who is told how far it is.
    """

    seed: int
    compute: Compute
    folder: Path
    prior: Prior | None = None
    progress: Progress = no_progress

    def setting(self, public: ImageSet, target: LabelTarget, kind: str) -> Setting:
        """For training a GAN with the target's help; its checkpoints keep the count of queries."""
        return Setting(
            public,
            target.num_classes,
            self.seed,
            self.compute,
            self.folder / "gan",
            self.progress,
            f"{kind} gan",
            {"target": target},
        )

    def note(self, **facts: float) -> None:
        """Keep numbers of the attack's own, such as how many identities it found no start for; the manifest will have them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / NOTES, json.dumps(self.notes() | facts))

    def notes(self) -> dict[str, float]:
        """What has been noted, over resumed runs."""
        file = self.folder / NOTES
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@final
class Equipped(Prior, Generic[E]):
    """A prior with what else an attack's `prepare` made for its `invert`.

    Attributes:
        prior: the prior.
        equipment: the rest.
        notes: the prior's, and those about the equipment.
    """

    def __init__(self, prior: Prior, equipment: E, notes: Mapping[str, float] | None = None) -> None:
        self.prior, self.equipment, self.notes = prior, equipment, {**prior.notes, **(notes or {})}
        self.generator, self.device, self.rows = prior.generator, prior.device, prior.rows
        self.latent_size, self.num_classes = prior.latent_size, prior.num_classes

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """The prior's."""
        return self.prior.decode(latents, labels)

    def save(self, folder: Path) -> list[str]:
        """The prior's."""
        return self.prior.save(folder)


def named_by(target: LabelTarget, pixels: Pixels, chunk: int = 256) -> Labels:
    """(n,), on the CPU: the identities that the target takes pictures (n, c, h, w) for, `chunk` of them shown at once."""
    return torch.cat([target.labels(to_unit(part.to(target.device))).cpu() for part in pixels.split(chunk)])


@dataclass(frozen=True, eq=False)
class Found:
    """Reconstructions.

    Attributes:
        pixels: (n, c, h, w), uint8.
        labels: (n,), the identity each is meant to show.
        confidence: (n,), the target's own probability of that identity: the attacker's view of success. Of a target that
            answers with labels only, 1 where it names the identity and 0 elsewhere.
    """

    pixels: Pixels
    labels: Labels
    confidence: Tensor


class Attack(Member, ABC, Generic[T]):
    """A way of getting pictures of a classifier's identities out of it.

    Attributes:
        needs: the access it takes.
        adaptive: whether it knows which defense it may face, and works around it.
    """

    needs: ClassVar[type[LabelTarget]]
    adaptive: ClassVar[bool] = False

    @abstractmethod
    def public_prior(self) -> PriorConfig | None:
        """The prior to train on the public images before any target is known; attacks with the same one share it."""

    def own_prior(self) -> GANConfig | None:
        """The GAN that `prepare` trains with the target's help, whose generator is kept with what is found; None, as here, if it trains none."""
        return None

    @abstractmethod
    def prepare(self, target: T, public: ImageSet, run: Run) -> Prior:
        """Train what does not depend on a single identity. Resumes from `run.folder`."""

    @abstractmethod
    def invert(self, target: T, prior: Prior, identities: Labels, run: Run) -> Found:
        """Search for all `identities` (k,) in one batch. Called batch after batch; finished batches are not repeated."""
