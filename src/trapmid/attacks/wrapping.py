"""Adaptive attacks (Tramer et al., NeurIPS 2020): any base attack, run against a stand-in for the target."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.search import found_of
from trapmid.attacks.union import AnyBase
from trapmid.data.images import ImageSet
from trapmid.engine import randomness
from trapmid.priors import OwnPrior, PriorConfig
from trapmid.targets import ScoreTarget, WhiteBoxTarget
from trapmid.types import Labels

S = TypeVar("S", bound=ScoreTarget)


@dataclass(frozen=True, eq=False)
class StandIn:
    """What the base attack is shown.

    Attributes:
        target: in the target's place.
        notes: numbers about it that belong in the manifest.
    """

    target: WhiteBoxTarget
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shown:
    """What a wrapped search needs.

    Attributes:
        target: what the base attack is shown.
        ready: what the base attack prepared for it.
    """

    target: WhiteBoxTarget
    ready: Any


class Wrapper(Attack[S, Shown], ABC, Generic[S]):
    """An attack that knows about the defense, around a base attack that does not.

    The base attack gets another target object, and that is all that changes for it: its GAN, its search and its
    choice of results ask the stand-in. Confidence is the target's own, and queries are what the target was shown.

    Attributes:
        base: the attack that is wrapped.
    """

    adaptive: ClassVar[bool] = True
    wraps: ClassVar[bool] = True
    base: AnyBase = PLGMI()

    @abstractmethod
    def stand_in(self, target: S, public: ImageSet, run: Run) -> StandIn:
        """What to show the base attack. Called once per process; resumes from `run.folder`."""

    @property
    def name(self) -> str:
        """The label, or the kind and the base's name."""
        return self.label or f"{self.kind}-{self.base.name}"

    @property
    def heading(self) -> str:
        """The label, or the base's heading with the title: "PLG-MI (distilled copy)"."""
        return self.label or f"{self.base.heading} ({self.title.lower()})"

    @property
    def effort(self) -> Effort:
        """The base's."""
        return self.base.effort

    def public_prior(self) -> PriorConfig | None:
        """The base's."""
        return self.base.public_prior()

    def own_prior(self) -> OwnPrior | None:
        """The base's."""
        return self.base.own_prior()

    def prepare(self, target: S, public: ImageSet, run: Run) -> Shown:
        """Make the stand-in, then let the base attack prepare for it."""
        shown = self.stand_in(target, public, run)
        run.note(**shown.notes)
        with randomness(run.seed, self.kind, "prepare", device=run.compute.torch_device):
            return Shown(shown.target, self.base.prepare(shown.target, public, run))

    def invert(self, target: S, ready: Shown, identities: Labels, run: Run) -> Found:
        """The base's search on the stand-in; the target is asked once more, how sure it is of what was found."""
        with randomness(run.seed, self.kind, "invert", int(identities[0]), device=run.compute.torch_device):
            found = self.base.invert(ready.target, ready.ready, identities, run)
        return found_of(found.pixels, found.labels, target, chunk=256)
