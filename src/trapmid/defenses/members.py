"""The package's own defenses, in the order of lists and tables. A new one joins by one line in `MEMBERS`."""

from trapmid.defenses.anonymous import Anonymous
from trapmid.defenses.atat import ATAT
from trapmid.defenses.bido import BiDO
from trapmid.defenses.defense import Defense
from trapmid.defenses.dpsgd import DPSGD
from trapmid.defenses.loft import LoFt
from trapmid.defenses.ls import LS
from trapmid.defenses.mid import MID
from trapmid.defenses.midre import MIDRE
from trapmid.defenses.negls import NegLS
from trapmid.defenses.none import NoDefense
from trapmid.defenses.onepass import OnePass
from trapmid.defenses.rolss import RoLSS
from trapmid.defenses.stacked import Stacked
from trapmid.defenses.ted import TeD, TeDPlus
from trapmid.defenses.tl import TL
from trapmid.defenses.trapmid import TrapMID

MEMBERS: tuple[type[Defense], ...] = (
    NoDefense,
    TrapMID,
    OnePass,
    Anonymous,
    MID,
    BiDO,
    NegLS,
    LS,
    TeD,
    TeDPlus,
    TL,
    MIDRE,
    RoLSS,
    ATAT,
    LoFt,
    DPSGD,
    Stacked,
)
