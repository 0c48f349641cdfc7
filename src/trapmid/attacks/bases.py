"""The attacks that an adaptive wrapper can hold: all that are content with white-box access and wrap nothing themselves."""

from typing import Annotated, Any, get_args

from pydantic import Field

from trapmid.attacks.attack import Attack
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.ppa import PPA

AnyBase = Annotated[PLGMI | PPA | IFGMI, Field(discriminator="kind")]
BASES: tuple[type[Attack[Any]], ...] = get_args(get_args(AnyBase)[0])
