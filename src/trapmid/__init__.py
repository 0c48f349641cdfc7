"""Model inversion: train classifiers that resist it, attack classifiers with it, report the difference.

Names are imported at first use, so that `import trapmid` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trapmid.attacks import PLGMI
    from trapmid.attacks import attack as run_attack
    from trapmid.audit import Recipe
    from trapmid.audit.run import run as run_audit
    from trapmid.defenses import (
        DPSGD,
        LS,
        MID,
        MIDRE,
        TL,
        BiDO,
        Defended,
        NegLS,
        NoDefense,
        OnePass,
        RoLSS,
        Stacked,
        TeD,
        TeDPlus,
        TrapMID,
        open_model,
        train,
    )
    from trapmid.detection import Detector
    from trapmid.recipes import choose as choose_recipe
    from trapmid.report.write import write_report
    from trapmid.trapdoor import OnePassTrapdoor, Secrets, Trapdoor, TrapdoorSettings

__version__ = "0.1.0"

__all__ = [
    "DPSGD",
    "LS",
    "MID",
    "MIDRE",
    "PLGMI",
    "TL",
    "BiDO",
    "Defended",
    "Detector",
    "NegLS",
    "NoDefense",
    "OnePass",
    "OnePassTrapdoor",
    "Recipe",
    "RoLSS",
    "Secrets",
    "Stacked",
    "TeD",
    "TeDPlus",
    "TrapMID",
    "Trapdoor",
    "TrapdoorSettings",
    "__version__",
    "choose_recipe",
    "open_model",
    "run_attack",
    "run_audit",
    "train",
    "write_report",
]

# The verbs on a whole run are called run_*: `trapmid.audit` is a package, and importing it anywhere would replace a
# function of that name.
_WHERE = {
    "BiDO": "trapmid.defenses:BiDO",
    "Defended": "trapmid.defenses:Defended",
    "Detector": "trapmid.detection:Detector",
    "DPSGD": "trapmid.defenses:DPSGD",
    "LS": "trapmid.defenses:LS",
    "MID": "trapmid.defenses:MID",
    "MIDRE": "trapmid.defenses:MIDRE",
    "NegLS": "trapmid.defenses:NegLS",
    "NoDefense": "trapmid.defenses:NoDefense",
    "OnePass": "trapmid.defenses:OnePass",
    "OnePassTrapdoor": "trapmid.trapdoor:OnePassTrapdoor",
    "PLGMI": "trapmid.attacks:PLGMI",
    "Recipe": "trapmid.audit:Recipe",
    "RoLSS": "trapmid.defenses:RoLSS",
    "Secrets": "trapmid.trapdoor:Secrets",
    "Stacked": "trapmid.defenses:Stacked",
    "TeD": "trapmid.defenses:TeD",
    "TeDPlus": "trapmid.defenses:TeDPlus",
    "TL": "trapmid.defenses:TL",
    "Trapdoor": "trapmid.trapdoor:Trapdoor",
    "TrapdoorSettings": "trapmid.trapdoor:TrapdoorSettings",
    "TrapMID": "trapmid.defenses:TrapMID",
    "choose_recipe": "trapmid.recipes:choose",
    "open_model": "trapmid.defenses:open_model",
    "run_attack": "trapmid.attacks:attack",
    "run_audit": "trapmid.audit.run:run",
    "train": "trapmid.defenses:train",
    "write_report": "trapmid.report.write:write_report",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'trapmid' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
