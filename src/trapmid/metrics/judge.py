"""The contract of a judge, which decides which identity a reconstruction shows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trapmid.config import Member
from trapmid.data.splits import Split
from trapmid.engine import Compute, Progress, no_progress
from trapmid.types import Features, Pixels

ACCEPTED_SHARE = 0.95


@dataclass(frozen=True, eq=False)
class Opinion:
    """The answer of a judge on n images.

    Attributes:
        scores: (n, num_classes); the higher, the more an image looks like the identity.
        features: (n, d); distances between images are measured in them.
    """

    scores: Tensor
    features: Features


class Judge(ABC):
    """A model that recognises the private identities and that no attack has access to.

    Attributes:
        name: its name in scores and tables.
        teacher: the digest of the file that it is or that its start learned from, or `PUBLIC_IDENTITIES`; None if
            neither is known.
    """

    name: str
    teacher: str | None = None

    @abstractmethod
    def opinion(self, pixels: Pixels) -> Opinion:
        """The judge's answer on images (n, c, h, w), uint8, on the CPU."""


class JudgeConfig(Member, ABC):
    """The configuration of a judge, which trains or loads it."""

    @abstractmethod
    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> Judge:
        """Train or load the judge; what is trained goes into `folder` and is opened from there the next time."""
