"""Measures how well detection works on one model, as in figures 3 and 7 of Trap-MID (section 4.2 and appendix).

The results are rows of the table of scores, and the scores of single images behind them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trapmid.attacks import Found
from trapmid.data.images import to_unit
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.detection.calibration import Calibration, lowest_rate
from trapmid.detection.detector import known_signatures, look
from trapmid.detection.separation import auc
from trapmid.engine import generator, randomness
from trapmid.metrics.adversarial import Ball, adversarial
from trapmid.metrics.intervals import Interval, over_identities
from trapmid.metrics.scores import NOBODY, Cell, Score
from trapmid.trapdoor import Secrets
from trapmid.types import Labels, Pixels

DETECTION = "detection.parquet"
CLEAN, PUBLIC = "real", "public"
"""What the scores call the two sets that no attack made: held-out private images and public images."""

BALLS = (Ball("apgd-linf", "linf", 8 / 255), Ball("apgd-l2", "l2", 0.5))
"""The two balls of figure 3 in Trap-MID."""

ADVERSARIAL = {"apgd-linf": "Adversarial, L\u221e 8/255", "apgd-l2": "Adversarial, L2 0.5"}
"""The sets of adversarial examples: their names in the scores, and their titles."""

MOST_ADVERSARIAL = 512
"""The most test images that adversarial examples are made from; if there are more, a random part is used."""

PUBLISHED = 0.05
"""The share of clean training images that score above the threshold of the paper."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The scores of a set of images.

    Attributes:
        scores: (n,), from -1 to 1.
        groups: (n,), which images succeed and fail together, for example those of one identity.
    """

    scores: Tensor
    groups: Labels

    def share(self, threshold: float) -> Interval:
        """The share of images that score above a threshold, with its interval over groups."""
        return over_identities((self.scores > threshold).double(), self.groups)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of every set of images.

    Attributes:
        allowed: the false-positive rate that the calibrated threshold was set for.
        thresholds: by metric suffix: "" the calibrated one, "_published" the 95th percentile of clean training images.
        clean: the private test images.
        public: images of other people.
        found: the reconstructions, by attack.
        adversarial: by ball, the test images that adversarial examples were made from, and these examples.
    """

    allowed: float
    thresholds: Mapping[str, float]
    clean: Seen
    public: Seen
    found: Mapping[str, Seen]
    adversarial: Mapping[str, tuple[Seen, Seen]]

    def scores(self, defense: str, seed: int) -> Iterator[Score]:
        """Rows of the tidy table.

        `detection_auc`: of recovered against public images, of adversarial against clean test images.
            `detection_recall`: recovered images above
        the threshold. `detection_dsr`: of clean test and adversarial images together, the share on the right side of
        it.
        `detection_false_positives`: clean (`real`) and public images above it. `detection_score`: mean cosine. Those
            that
        depend on the threshold also as `..._published`.
        """

        def row(attack: str, metric: str, interval: Interval) -> Score:
            return Cell(defense, attack, seed).score(NOBODY, metric, interval)

        for metric, value in {
            "detection_allowed_false_positives": self.allowed,
            **{f"detection_threshold{suffix}": threshold for suffix, threshold in self.thresholds.items()},
        }.items():
            yield row(NOBODY, metric, Interval(value, float("nan"), float("nan")))
        for name, seen in ((CLEAN, self.clean), (PUBLIC, self.public)):
            yield row(name, "detection_score", over_identities(seen.scores, seen.groups))
            for suffix, threshold in self.thresholds.items():
                yield row(name, f"detection_false_positives{suffix}", seen.share(threshold))
        for name, seen in self.found.items():
            yield row(name, "detection_score", over_identities(seen.scores, seen.groups))
            yield row(name, "detection_auc", auc(seen.scores, self.public.scores, seen.groups))
            for suffix, threshold in self.thresholds.items():
                yield row(name, f"detection_recall{suffix}", seen.share(threshold))
        for name, (clean, seen) in self.adversarial.items():
            yield row(name, "detection_score", over_identities(seen.scores, seen.groups))
            yield row(name, "detection_auc", auc(seen.scores, clean.scores, seen.groups))
            for suffix, threshold in self.thresholds.items():
                right = torch.cat([clean.scores <= threshold, seen.scores > threshold])
                yield row(
                    name,
                    f"detection_dsr{suffix}",
                    over_identities(right.double(), torch.cat([clean.groups, seen.groups])),
                )

    def rows(self, defense: str, seed: int) -> Iterator[dict[str, Any]]:
        """One row for every image, for histograms and curves."""
        sets = {CLEAN: self.clean, PUBLIC: self.public, **self.found}
        sets |= {name: seen for name, (_, seen) in self.adversarial.items()}
        for name, seen in sets.items():
            for score in seen.scores.tolist():
                yield {"defense": defense, "seed": seed, "shown": name, "score": score}


def evaluate(
    model: TrainedModel,
    secrets: Secrets,
    private: Split,
    public: Pixels,
    found: Mapping[str, Found],
    *,
    false_positives: float = 0.05,
) -> Evaluation:
    """Fit a detector and apply it to clean, public, recovered and adversarial images.

    Args:
        model: a model with a trapdoor.
        secrets: its triggers.
        private: train gives the signatures, val the calibrated threshold, test the clean and adversarial images.
        public: (n, c, h, w), images of other people.
        found: reconstructions by attack.
        false_positives: the rate of the calibrated threshold, between 0 and 1. If there are too few validation images
            for it, the lowest rate that they can guarantee is used.
    """
    classifier = model.classifier
    device = next(classifier.parameters()).device
    train, val, test = (private.part(name).images() for name in ("train", "val", "test"))
    known = known_signatures(classifier, secrets, train)

    def see(pixels: Pixels, groups: Labels) -> Seen:
        return Seen(look(classifier, known, to_unit(pixels))[1], groups)

    allowed = max(false_positives, lowest_rate(len(val)))
    of_val = look(classifier, known, val)[1].sort().values
    thresholds = {
        "": Calibration(of_val, allowed).threshold,
        "_published": float(look(classifier, known, train)[1].quantile(1 - PUBLISHED)),
    }
    labels = private.part("test").labels
    clean = Seen(look(classifier, known, test)[1], labels)
    chosen = torch.randperm(len(test), generator=generator(0, "adversarial"))[:MOST_ADVERSARIAL]
    pairs = {}
    for ball in BALLS:
        with randomness(0, "adversarial", ball.name, device=device):  # a model may draw when it answers
            changed, _ = adversarial(
                classifier, test[chosen].to(device), labels[chosen].to(device), ball, generator(0, ball.name)
            )
        seen = Seen(look(classifier, known, changed)[1], labels[chosen])
        pairs[ball.name] = (Seen(clean.scores[chosen], clean.groups[chosen]), seen)
    return Evaluation(
        allowed,
        thresholds,
        clean,
        see(public, torch.arange(len(public))),
        {name: see(one.pixels, one.labels) for name, one in found.items()},
        pairs,
    )
