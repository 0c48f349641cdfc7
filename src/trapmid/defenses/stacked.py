"""Stacks: several defenses in one training, such as the paper's Trap-MID with NegLS (Trap-MID, Table 17)."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import Any, Literal, final

from pydantic import Field, ValidationError, model_validator

from trapmid.config import explain
from trapmid.defenses.changes import Changes, joined
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense, Findings
from trapmid.defenses.negls import NegLS
from trapmid.defenses.trapmid import TrapMID
from trapmid.defenses.union import DEFENSES, SINGLE_DEFENSES, SingleDefense
from trapmid.errors import UserError, did_you_mean
from trapmid.registry import kind_of


@final
class Stacked(Defense):
    """`stacked`: several defenses in one training; on a command line their names joined by +, as in `trapmid+negls`.

    Network, augmentation and terms are changed in the order of the parts (`joined` says who changes the network last).
    Two parts that both set the same thing, such as the classification loss, are refused.

    Attributes:
        parts: the defenses. The default is the published combination that smooths the labels of clean and poisoned
            images; `NegLS(images="clean")` is the other variant in the authors' code.
    """

    title = "Stacked defenses"
    paper = "Trap-MID, Table 17 (Trap-MID + NegLS)"
    kind: Literal["stacked"] = "stacked"
    parts: tuple[SingleDefense, ...] = Field((TrapMID(), NegLS()), min_length=2)

    @property
    def name(self) -> str:
        """The label, or the names of the parts joined by +."""
        return self.label or "+".join(part.name for part in self.parts)

    @property
    def heading(self) -> str:
        """The label, or the headings of the parts joined by +."""
        return self.label or " + ".join(part.heading for part in self.parts)

    @model_validator(mode="after")
    def _they_combine(self) -> "Stacked":
        if any(part.kind == "none" for part in self.parts):
            raise ValueError("none is no defense, so it cannot be part of a stack. Leave it out")
        for one, other in combinations(self.parts, 2):
            if one.kind == other.kind:
                raise ValueError(f"{one.kind} is in the stack twice. Leave one of them out")
            for decision in one.changes().decided_twice(other.changes()):
                raise ValueError(
                    f"{one.kind} and {other.kind} cannot be combined: both decide {decision}, and a training has one "
                    "answer to that. Leave one of them out"
                )
        return self

    def changes(self) -> Changes:
        """See `Defense`. Combines those of all parts."""
        return joined([part.changes() for part in self.parts])

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """See `Defense`. Combines those of all parts."""
        return reduce(Findings.then, (part.findings(context, last) for part in self.parts))


def parse_defense(text: str, known: Sequence[Defense] = ()) -> Defense:
    """Return the defense for a name from the command line.

    It is one of `known` by its name, or a kind with its defaults, or several of them joined by +, or the import
    path of a class, `package.module:Class`, which then has its defaults and may be named by its kind from then on.

    Raises:
        UserError: there is no such defense, or its parts cannot be combined.
    """
    if ":" in text:
        kind = kind_of(DEFENSES.import_member(text))
        own = next((one for one in known if one.name == kind), None)
        return own or DEFENSES.member(kind).model_validate({})
    members = {kind_of(member): member.model_validate({}) for member in SINGLE_DEFENSES}
    members |= {defense.name: defense for defense in known}
    if text in members:
        return members[text]
    parts = _parts(text, members)
    if not parts:
        raise UserError(
            f"{text!r} is not a defense.{did_you_mean(text, members)} Expected one of {', '.join(members)}, several "
            "joined by +, or the import path of a class, package.module:Class."
        )
    try:
        return Stacked(parts=parts)
    except ValidationError as problem:
        raise UserError(f"{text}: {explain(problem)}.") from problem


def _parts(text: str, members: Mapping[str, Defense]) -> tuple[Any, ...]:
    """The members whose names, joined by +, make up the text, or nothing. A name may hold a + itself: `ted+`."""
    if text in members:
        return (members[text],)
    for name, member in members.items():
        if text.startswith(f"{name}+") and (rest := _parts(text.removeprefix(f"{name}+"), members)):
            return (member, *rest)
    return ()
