"""Attacks: the contract, every member, and how one is run."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.inversion import attack, open_found
from trapmid.attacks.plgmi import PLGMI

AnyAttack = Annotated[PLGMI, Field()]
ATTACKS: tuple[type[Attack[Any]], ...] = get_args(get_args(AnyAttack)[0]) or (PLGMI,)

__all__ = ["ATTACKS", "PLGMI", "AnyAttack", "Attack", "Found", "Run", "attack", "open_found"]
