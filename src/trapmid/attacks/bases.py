"""The attacks that an adaptive wrapper can hold: all that search, are content with white-box access and wrap nothing themselves."""

from typing import Annotated

from pydantic import Field

from trapmid.attacks.brep import BREP
from trapmid.attacks.gmi import GMI
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.lokt import LOKT
from trapmid.attacks.lomma import LOMMA
from trapmid.attacks.miface import MIFace
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.plgmi_plus import PLGMIPlus
from trapmid.attacks.ppa import PPA

AnyBase = Annotated[
    GMI | KEDMI | LOMMA | MIFace | PLGMI | PLGMIPlus | PPA | IFGMI | MIRROR | BREP | LOKT,
    Field(discriminator="kind"),
]
