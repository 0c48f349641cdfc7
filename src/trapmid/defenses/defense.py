"""The interface of a defense: a frozen config that returns its changes to a training as one value."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from trapmid.config import Member
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext


@dataclass(frozen=True)
class Findings:
    """The findings of a defense about a finished training.

    Attributes:
        facts: recorded in the manifest, by name; values are JSON.
        notes: sentences for the person who trained the model.
        warnings: sentences about problems.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def then(self, other: "Findings") -> "Findings":
        """These findings and those of another defense."""
        return Findings({**self.facts, **other.facts}, (*self.notes, *other.notes), (*self.warnings, *other.warnings))


class Defense(Member, ABC):
    """A way of training a classifier so that it reveals less about its training images.

    A subclass is a frozen config with a `kind`. It implements `changes`; everything else has a default. docs/design.md,
    "Contracts: defenses", shows a complete example.
    """

    @abstractmethod
    def changes(self) -> Changes:
        """The changes that the defense makes to a training. They depend only on the config."""

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """Return the findings about a finished training.

        Args:
            context: the training.
            last: the row of the training log for the weights that were kept.
        """
        del context, last
        return Findings()

    @final
    @property
    def has_trapdoor(self) -> bool:
        """Whether a training produces triggers, and therefore secrets and signatures."""
        return self.changes().trapdoor
