"""Evidence: the inputs of metrics, by what they are about: models, images, attacks and priors.

A value that takes time is computed once, when a metric first asks for it.
"""

from trapmid.metrics.evidence.attacks import AttackCost, FinishedAttack, GeneratorSamples, PriorSamples
from trapmid.metrics.evidence.images import (
    ComparedSet,
    FeatureSet,
    JudgedImages,
    Judgement,
    NearestImages,
    PrivateFeatures,
    PublicImages,
)
from trapmid.metrics.evidence.models import TRIGGER_DRAWS, Model, TrainingCost

__all__ = [
    "TRIGGER_DRAWS",
    "AttackCost",
    "ComparedSet",
    "FeatureSet",
    "FinishedAttack",
    "GeneratorSamples",
    "JudgedImages",
    "Judgement",
    "Model",
    "NearestImages",
    "PriorSamples",
    "PrivateFeatures",
    "PublicImages",
    "TrainingCost",
]
