"""The contract of a defense: a frozen config that says in one value what it changes in a training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from trapmid.config import Member
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext


@dataclass(frozen=True)
class Findings:
    """What a defense has to say about a finished training.

    Attributes:
        facts: recorded in the manifest, by name; values are JSON.
        notes: sentences for the person who trained the model.
        warnings: the same, where something is wrong.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def then(self, other: "Findings") -> "Findings":
        """These findings and those of another defense."""
        return Findings({**self.facts, **other.facts}, (*self.notes, *other.notes), (*self.warnings, *other.warnings))


class Defense(Member, ABC):
    """A way of training a classifier so that it gives less of its training images away.

    A subclass is a frozen config with a `kind`. It implements `changes`; everything else has a default. docs/design.md,
    "Contracts: defenses", shows a whole one.
    """

    @abstractmethod
    def changes(self) -> Changes:
        """What the defense changes in a training: a function of the config alone."""

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """What there is to say about a finished training.

        Args:
            context: the training.
            last: the row of the training log that belongs to the weights that were kept.
        """
        del context, last
        return Findings()

    @final
    @property
    def has_trapdoor(self) -> bool:
        """Whether a training leaves triggers, and so secrets and signatures, behind."""
        return self.changes().trapdoor
