"""The paper's heart: triggers, the discriminator that keeps them natural, the drop-in that plants them, the secrets that remain."""

from trapmid.trapdoor.secrets import SECRETS, Secrets, refuse_others_secrets, trapdoor_success
from trapmid.trapdoor.settings import TrapdoorSettings
from trapmid.trapdoor.signature import signatures
from trapmid.trapdoor.trapdoor import Trapdoor
from trapmid.trapdoor.triggers import BlendSchedule

__all__ = [
    "SECRETS",
    "BlendSchedule",
    "Secrets",
    "Trapdoor",
    "TrapdoorSettings",
    "refuse_others_secrets",
    "signatures",
    "trapdoor_success",
]
