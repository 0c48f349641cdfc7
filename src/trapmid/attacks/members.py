"""The package's own attacks, in the order of lists and tables. A new one joins by one line in `MEMBERS`."""

from typing import Any

from trapmid.attacks.aligned import Aligned
from trapmid.attacks.attack import Attack
from trapmid.attacks.brep import BREP
from trapmid.attacks.diffmi import DiffMI
from trapmid.attacks.distilled import Distilled
from trapmid.attacks.evading import Evading
from trapmid.attacks.gmi import GMI
from trapmid.attacks.ifgmi import IFGMI
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.lokt import LOKT
from trapmid.attacks.lomma import LOMMA
from trapmid.attacks.miface import MIFace
from trapmid.attacks.mirror import MIRROR
from trapmid.attacks.mirror_whitebox import MIRRORWhiteBox
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.plgmi_plus import PLGMIPlus, PLGMIPlusPlus
from trapmid.attacks.ppa import PPA
from trapmid.attacks.ppdg import PPDG
from trapmid.attacks.public_nearest import PublicNearest
from trapmid.attacks.robust import Robust
from trapmid.attacks.smoothed import Smoothed
from trapmid.attacks.strongest import Strongest
from trapmid.attacks.unlearned import Unlearned
from trapmid.attacks.wrk import WRK

MEMBERS: tuple[type[Attack[Any, Any]], ...] = (
    GMI,
    KEDMI,
    LOMMA,
    MIFace,
    PLGMI,
    PLGMIPlus,
    PLGMIPlusPlus,
    PPA,
    IFGMI,
    MIRROR,
    MIRRORWhiteBox,
    BREP,
    LOKT,
    PPDG,
    DiffMI,
    PublicNearest,
    Aligned,
    Distilled,
    Robust,
    Smoothed,
    Unlearned,
    WRK,
    Evading,
    Strongest,
)
