"""How well detection works on one model, as in Figures 3 and 7 of the Trap-MID paper."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from trapmid.attacks import Found
from trapmid.data.images import to_unit
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.detection.calibration import Calibration, lowest_rate
from trapmid.detection.detector import known_signatures, look
from trapmid.engine import generator, randomness
from trapmid.metrics.adversarial import Ball, adversarial
from trapmid.metrics.detecting import Detection, ScoredImages
from trapmid.metrics.scores import ScoreKey
from trapmid.trapdoor import Secrets
from trapmid.types import Labels, Pixels

DETECTION = "detection.parquet"

BALLS = (Ball("apgd-linf", "linf", 8 / 255), Ball("apgd-l2", "l2", 0.5))
"""The two balls of figure 3 in Trap-MID."""

ADVERSARIAL = {"apgd-linf": "Adversarial, L\u221e 8/255", "apgd-l2": "Adversarial, L2 0.5"}
"""The sets of adversarial examples: their names in the scores, and their titles."""

MOST_ADVERSARIAL = 512
"""The most test images that adversarial examples are made from; if there are more, a random part is used."""

PUBLISHED = 0.05
"""The share of clean training images that score above the threshold of the paper."""


def rows(detection: Detection) -> Iterator[dict[str, Any]]:
    """The score of every image, for histograms and curves."""
    for name, one in detection.sets.items():
        for score in one.scores.tolist():
            yield {"defense": detection.key.defense, "seed": detection.key.seed, "shown": name, "score": score}


def evaluate(
    key: ScoreKey,
    model: TrainedModel,
    secrets: Secrets,
    private: Split,
    public: Pixels,
    found: Mapping[str, Found],
    *,
    false_positives: float = 0.05,
) -> Detection:
    """Fit a detector and show it clean, public, recovered and adversarial images.

    Args:
        key: of the scores.
        model: a classifier with a trapdoor.
        secrets: its triggers.
        private: signatures come from train, the calibrated threshold from val, clean and adversarial images from test.
        public: (n, c, h, w), images of other people.
        found: reconstructions by attack.
        false_positives: for the calibrated threshold; where there are too few validation images for it, the lowest
            rate they vouch for.
    """
    classifier = model.classifier
    device = next(classifier.parameters()).device
    train, val, test = (private.part(name).images() for name in ("train", "val", "test"))
    known = known_signatures(classifier, secrets, train)

    def scored(pixels: Pixels, groups: Labels) -> ScoredImages:
        return ScoredImages(look(classifier, known, to_unit(pixels))[1], groups)

    allowed = max(false_positives, lowest_rate(len(val)))
    calibrated = Calibration(look(classifier, known, val)[1].sort().values, allowed).threshold
    published = float(look(classifier, known, train)[1].quantile(1 - PUBLISHED))
    labels = private.part("test").labels
    clean = ScoredImages(look(classifier, known, test)[1], labels)
    chosen = torch.randperm(len(test), generator=generator(0, "adversarial"))[:MOST_ADVERSARIAL]
    pairs = {}
    for ball in BALLS:
        with randomness(0, "adversarial", ball.name, device=device):  # a model may draw when it answers
            changed, _ = adversarial(
                classifier, test[chosen].to(device), labels[chosen].to(device), ball, generator(0, ball.name)
            )
        after = ScoredImages(look(classifier, known, changed)[1], labels[chosen])
        pairs[ball.name] = (ScoredImages(clean.scores[chosen], clean.groups[chosen]), after)
    return Detection(
        key,
        allowed=allowed,
        calibrated=calibrated,
        published=published,
        clean=clean,
        public=scored(public, torch.arange(len(public))),
        found={name: scored(one.pixels, one.labels) for name, one in found.items()},
        adversarial=pairs,
    )
