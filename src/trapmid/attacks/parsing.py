"""Attacks by name, as a command line gives them."""

from collections.abc import Sequence

from pydantic import ValidationError

from trapmid.attacks.wrapping import Wrapper
from trapmid.config import Member, explain
from trapmid.errors import UserError, did_you_mean


def parse_attack(text: str, known: Sequence[Member] = ()) -> Member:
    """The attack that a text names.

    Args:
        text: the name of one of `known`, or a kind, which then has its default settings, or the kind of an adaptive wrapper and
            the name of the attack that it wraps, joined by a hyphen: `smoothed-gmi`.
        known: attacks that have settings already, such as a recipe's.

    Raises:
        UserError: there is no such attack, or the wrapper cannot hold the other.
    """
    from trapmid.attacks import ATTACKS

    own = {attack.name: attack for attack in known}
    if text in own:
        return own[text]
    kinds = {str(kind.model_fields["kind"].default): kind for kind in ATTACKS}
    if text in kinds:
        return kinds[text].model_validate({})
    for name, kind in kinds.items():
        if issubclass(kind, Wrapper) and text.startswith(f"{name}-"):
            base = parse_attack(text.removeprefix(f"{name}-"), known)
            try:
                return kind.model_validate({"base": base.model_dump()})
            except ValidationError as problem:
                raise UserError(f"{name} cannot wrap {base.name}: {explain(problem)}.") from problem
    names = list(own | kinds)
    raise UserError(f"{text!r} is not an attack.{did_you_mean(text, names)} Expected one of {', '.join(names)}.")
