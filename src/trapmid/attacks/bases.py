"""The attacks that an adaptive wrapper can hold: all that are content with white-box access and wrap nothing themselves."""

from typing import Annotated

from pydantic import Field

from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.ppa import PPA

AnyBase = Annotated[PLGMI | PPA | IFGMI, Field(discriminator="kind")]
