"""Attacks by name, as a command line gives them."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from trapmid.attacks.attack import Attack
from trapmid.attacks.union import ATTACKS
from trapmid.config import explain
from trapmid.errors import UserError, did_you_mean
from trapmid.registry import kind_of


def parse_attack(text: str, known: Sequence[Attack[Any, Any]] = ()) -> Attack[Any, Any]:
    """The attack that a text names.

    Args:
        text: the name of one of `known`; or a kind, which is the one of `known` that has it and no label, or else
            has its default settings; or the import path of a class, `package.module:Class`; or the kind of an adaptive
            wrapper and the name of the attack that it wraps, joined by a hyphen: `smoothed-gmi`.
        known: attacks that have settings already, such as a recipe's.

    Raises:
        UserError: there is no such attack, several of `known` are of this kind, or the wrapper cannot hold the other.
    """
    own = {attack.name: attack for attack in known}
    if text in own:
        return own[text]
    if ":" in text:
        return _of_kind(ATTACKS.import_member(text), known)
    kinds = {kind_of(member): member for member in ATTACKS}
    if text in kinds:
        return _of_kind(kinds[text], known)
    for name, wrapper in kinds.items():
        if wrapper.wraps and text.startswith(f"{name}-"):
            base = parse_attack(text.removeprefix(f"{name}-"), known)
            try:
                return wrapper.model_validate({"base": base.model_dump()})
            except ValidationError as problem:
                raise UserError(f"{name} cannot wrap {base.name}: {explain(problem)}.") from problem
    names = list(own | kinds)
    raise UserError(
        f"{text!r} is not an attack.{did_you_mean(text, names)} Expected one of {', '.join(names)}, or the import "
        "path of a class, package.module:Class."
    )


def _of_kind(member: type[Attack[Any, Any]], known: Sequence[Attack[Any, Any]]) -> Attack[Any, Any]:
    """The only one of `known` that is of this class and has no label, or one with default settings if there is none."""
    alike = [attack for attack in known if type(attack) is member and not attack.label]
    if len(alike) > 1:
        names = " or ".join(attack.name for attack in alike)
        raise UserError(f"{kind_of(member)!r} may be {names}. Name the ones that you want.")
    return alike[0] if alike else member.model_validate({})
