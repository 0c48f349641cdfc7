"""Every defense by itself. A new one joins by one line in this union."""

from typing import TypeAlias

from trapmid.defenses.bido import BiDO
from trapmid.defenses.dpsgd import DPSGD
from trapmid.defenses.ls import LS
from trapmid.defenses.mid import MID
from trapmid.defenses.midre import MIDRE
from trapmid.defenses.negls import NegLS
from trapmid.defenses.none import NoDefense
from trapmid.defenses.onepass import OnePass
from trapmid.defenses.rolss import RoLSS
from trapmid.defenses.ted import TeD, TeDPlus
from trapmid.defenses.tl import TL
from trapmid.defenses.trapmid import TrapMID

Single: TypeAlias = NoDefense | TrapMID | OnePass | MID | BiDO | NegLS | LS | TeD | TeDPlus | TL | MIDRE | RoLSS | DPSGD
