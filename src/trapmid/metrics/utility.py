"""Calibration of a classifier: the expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017)."""

import torch

from trapmid.types import Labels, Logits

BINS = 15


def calibration_error(logits: Logits, labels: Labels, bins: int = BINS) -> float:
    """ECE: the mean gap between confidence and accuracy over bins of equal width, weighted by the number of images.

    From 0, where the model is right as often as it says, to 1. Of few images it comes out too high, by chance gaps in
    each bin: compare models on the same images.

    Args:
        logits: (n, num_classes), of held-out images.
        labels: (n,).
        bins: between 0 and 1.
    """
    confidence, said = logits.double().softmax(1).max(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, confidence - (said == labels).double())
    return float(gaps.abs().sum()) / len(labels)
