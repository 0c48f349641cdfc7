"""Metrics: the contract, the table of all of them, the evidence that they are computed from, and the judges."""

from trapmid.metrics.detecting import Detection
from trapmid.metrics.evidence import (
    AttackCost,
    ComparedSet,
    FeatureSet,
    FinishedAttack,
    GeneratorSamples,
    JudgedImages,
    Judgement,
    Model,
    NearestImages,
    PriorSamples,
    PublicImages,
    TrainingCost,
)
from trapmid.metrics.intervals import Interval, over_identities, without
from trapmid.metrics.metric import Evidence, Measured, Metric
from trapmid.metrics.recognition import by_judge
from trapmid.metrics.scores import Score, ScoreKey, find, read_scores
from trapmid.metrics.table import METRICS, measure, metrics, of_name, register, registered
from trapmid.metrics.units import Unit, format_value

__all__ = [
    "METRICS",
    "AttackCost",
    "ComparedSet",
    "Detection",
    "Evidence",
    "FeatureSet",
    "FinishedAttack",
    "GeneratorSamples",
    "Interval",
    "JudgedImages",
    "Judgement",
    "Measured",
    "Metric",
    "Model",
    "NearestImages",
    "PriorSamples",
    "PublicImages",
    "Score",
    "ScoreKey",
    "TrainingCost",
    "Unit",
    "by_judge",
    "find",
    "format_value",
    "measure",
    "metrics",
    "of_name",
    "over_identities",
    "read_scores",
    "register",
    "registered",
    "without",
]
