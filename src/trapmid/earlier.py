"""What recipes of earlier versions meant, where they could not say it.

Here is the one table of values that fields had before they existed. A new field with a new default would change what a
stored recipe does. So a recipe that is read from a file, and that lacks the field, gets the value below, which is what
that version did. In the other direction, a field with this value is left out of fingerprints and manifests, so that
they stay those of earlier versions. Configs that are made in Python or on the command line get the defaults of their
class.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

EARLIER: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ModelConfig": {"start": None},
        "IRConfig": {"convolutions": "torch", "input_size": None},
        "Zoo": {"pixels": "symmetric", "input_size": None, "pooling": "average"},
        "KorniaAugmentation": {"one_draw": False},
        "Training": {"flip": 0.0},
        "TrapdoorSettings": {"anonymity_weight": 0.0, "poisoned_temperature": 1.0, "trigger_block": 1},
        "FeatureDiscriminator": {"images": "augmented", "aim": "clean"},
        "MID": {"features": "drawn"},
        "BiDO": {"sampler": "anew"},
        "TL": {"layers": "share", "statistics": "frozen"},
        "MIDRE": {"fill": "training"},
        "RoLSS": {"factors": []},
        "SNResNet": {"start": "xavier"},
        "CGAN": {"verdicts": "together"},
        "SemiGAN": {"company": "kept"},
        "PPA": {"cutoff": None},
        "IFGMI": {"balls": "relative", "style_radius": 1000.0, "picture": "kept", "final_selection": True},
        "MIRROR": {"cutoff": None, "breeding": "ranked", "enough": None, "bounding_styles": 10_000},
        "LOKT": {"ensemble": "logits"},
        "Distillation": {"batches": None, "schedule": "constant", "augmentation": None},
        "BREP": {"moves": "final"},
        "TACGAN": {"warm_up": 0},
    }
)
"""By the name of the class that has the field: the value of each field that a stored recipe may lack, as JSON."""


def earlier_values(kind: type) -> dict[str, Any]:
    """The values that recipes of earlier versions had in mind, by field, for a class and those it inherits from."""
    return {name: value for one in reversed(kind.__mro__) for name, value in EARLIER.get(one.__name__, {}).items()}
