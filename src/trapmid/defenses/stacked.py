"""Stacking: several defenses in one training, as the paper's Trap-MID + NegLS (reference 2.4)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, Literal, TypeAlias, final, get_args

import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from trapmid.config import misfits
from trapmid.defenses.defense import Defense, DefenseRun, Modifier, Setting
from trapmid.defenses.members import Single
from trapmid.defenses.negls import NegLS
from trapmid.defenses.none import NoDefense
from trapmid.defenses.trapmid import TrapMID
from trapmid.models import Classifier
from trapmid.types import Labels, UserError


@final
class Stacked(Defense):
    """`stacked`: several defenses in one training; on a command line their names joined by +, e.g. `trapmid+negls`.

    Network, augmentation and objective are changed in the order of the parts, the network last by the part that decides how the
    weights take a step. At most one part may decide that; likewise what a classification costs, and which images make a batch.

    Attributes:
        parts: the defenses; the published combination by default, with smoothing on clean and poisoned images
            (`NegLS(images="clean")` is the other published variant).
    """

    title = "Stacked defenses"
    paper = "Trap-MID, Table 17 (Trap-MID + NegLS)"
    kind: Literal["stacked"] = "stacked"
    parts: tuple[Annotated[Single, Field(discriminator="kind")], ...] = Field((TrapMID(), NegLS()), min_length=2)

    @property
    def name(self) -> str:
        """The label, or the names of the parts joined by +."""
        return self.label or "+".join(part.name for part in self.parts)

    @property
    def heading(self) -> str:
        """The label, or the headings of the parts joined by +."""
        return self.label or " + ".join(part.heading for part in self.parts)

    @property
    def has_trapdoor(self) -> bool:
        """Whether a part has one."""
        return any(part.has_trapdoor for part in self.parts)

    @property
    def is_in_its_losses(self) -> bool:
        """Whether all parts are."""
        return all(part.is_in_its_losses for part in self.parts)

    @model_validator(mode="after")
    def _they_combine(self) -> "Stacked":
        if any(part.kind == "none" for part in self.parts):
            raise ValueError("none defends nothing and is no part of a stack")
        for one, other in combinations(self.parts, 2):
            if one.kind == other.kind:
                raise ValueError(f"{one.kind} stands twice in a stack; once is what can be trained")
            for decision in sorted(one.decides & other.decides):
                raise ValueError(
                    f"{one.kind} and {other.kind} cannot be combined: both decide {decision}, and a training has one answer to that. Leave one of them out"
                )
        return self

    def start(self, setting: Setting) -> DefenseRun:
        """The one part that decides how the weights take a step starts the run, in a setting that all others have changed."""
        modifiers = [part for part in self.parts if isinstance(part, Modifier)]
        others: list[Defense] = [part for part in self.parts if not isinstance(part, Modifier)]
        leading = others[0] if others else NoDefense()
        return leading.start(setting.with_modifiers(modifiers))

    def adapt(self, model: Classifier) -> Classifier:
        """Part after part, those that decide on steps last: they have to be able to work with what they find."""
        for part in sorted(self.parts, key=lambda part: not isinstance(part, Modifier)):
            model = part.adapt(model)
        return model

    def batches(self, labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
        """As the part that decides them says, if there is one."""
        for part in self.parts:
            if "which images make a batch" in part.decides:
                return part.batches(labels, batch_size, rng)
        return super().batches(labels, batch_size, rng)

    def facts(self, setting: Setting) -> Mapping[str, Any]:
        """Those of all parts."""
        return {name: fact for part in self.parts for name, fact in part.facts(setting).items()}

    def notes(self, setting: Setting) -> Iterator[str]:
        """Those of all parts."""
        for part in self.parts:
            yield from part.notes(setting)

    def advice(self, setting: Setting, last: Mapping[str, float]) -> Iterator[str]:
        """That of all parts."""
        for part in self.parts:
            yield from part.advice(setting, last)


AnyDefense: TypeAlias = Annotated[Single | Stacked, Field(discriminator="kind")]


def parse_defense(text: str, known: Sequence[Defense] = ()) -> Defense:
    """The defense that a command line names: one of `known` by its name, else a kind with its defaults, or several joined by +.

    Raises:
        UserError: there is no such defense, or its parts cannot be combined.
    """
    members = {kind.model_fields["kind"].default: kind() for kind in get_args(Single)}
    members |= {defense.name: defense for defense in known}
    if text in members:
        return members[text]
    parts = _parts(text, members)
    if not parts:
        raise UserError(f"{text!r} is not a defense. Expected one of {', '.join(members)}, or several joined by +.")
    try:
        return Stacked(parts=parts)
    except ValidationError as problem:
        raise UserError(f"{text}: {misfits(problem)}.") from problem


def _parts(text: str, members: Mapping[str, Defense]) -> tuple[Any, ...]:
    """The members whose names, joined by +, are the text; none if there are no such. Names may hold a + themselves: `ted+`."""
    if text in members:
        return (members[text],)
    for name, member in members.items():
        if text.startswith(f"{name}+") and (rest := _parts(text.removeprefix(f"{name}+"), members)):
            return (member, *rest)
    return ()
