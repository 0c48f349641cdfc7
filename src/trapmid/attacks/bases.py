"""The attacks that an adaptive wrapper can hold: all that are content with white-box access and wrap nothing themselves."""

from typing import Annotated

from pydantic import Field

from trapmid.attacks.plgmi import PLGMI

AnyBase = Annotated[PLGMI, Field()]
