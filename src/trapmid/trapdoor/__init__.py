"""Trapdoors: triggers, the naturalness discriminator, the drop-ins for training loops, and the secrets."""

from trapmid.trapdoor.onepass import OnePassTrapdoor
from trapmid.trapdoor.planter import Planter
from trapmid.trapdoor.secrets import DETECTOR, SECRETS, Secrets, owner, refuse_others_secrets, trapdoor_success
from trapmid.trapdoor.settings import OnePassSettings, TrapdoorSettings
from trapmid.trapdoor.signature import signature_similarity, signatures
from trapmid.trapdoor.trapdoor import Trapdoor
from trapmid.trapdoor.triggers import BlendSchedule

__all__ = [
    "DETECTOR",
    "SECRETS",
    "BlendSchedule",
    "OnePassSettings",
    "OnePassTrapdoor",
    "Planter",
    "Secrets",
    "Trapdoor",
    "TrapdoorSettings",
    "owner",
    "refuse_others_secrets",
    "signature_similarity",
    "signatures",
    "trapdoor_success",
]
