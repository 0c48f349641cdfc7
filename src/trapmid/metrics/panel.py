"""The panel: judges with the private images that they are calibrated on.

It makes the evidence that metrics of images take.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from trapmid.data.images import to_pixels
from trapmid.data.splits import Split
from trapmid.engine import generator
from trapmid.metrics.calibrated import CalibratedJudge
from trapmid.metrics.controls import triggers_alone
from trapmid.metrics.evidence import (
    ComparedSet,
    FeatureSet,
    GeneratorSamples,
    JudgedImages,
    Judgement,
    NearestImages,
    PriorSamples,
    PrivateFeatures,
    PublicImages,
)
from trapmid.metrics.fidelity import FidelityNetwork
from trapmid.metrics.judge import Judge
from trapmid.metrics.metric import Evidence
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, PUBLIC, TRIGGERS_ALONE, ScoreKey
from trapmid.priors import Prior
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Features, Labels, Pixels

SAMPLES_PER_IDENTITY = 20
"""Random samples of a generator for each identity, and public images at most."""

RAW_SAMPLES = 64
"""Samples of a prior whose range of values is measured."""


@final
class Panel:
    """The judges of an audit and, optionally, a feature network for FID and KID.

    Args:
        judges: who decides.
        private: the private images and their split.
        fidelity: the feature network.
        public: images of other people, (n, c, h, w), uint8, in random order.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        private: Split,
        fidelity: FidelityNetwork | None = None,
        public: Pixels | None = None,
    ) -> None:
        self.private, self.judges, self.fidelity, self.public = private, judges, fidelity, public
        self.num_classes = len(private.images.identities)
        self._calibrated = [CalibratedJudge(judge, private, public) for judge in judges]

    def judge(self, pixels: Pixels, labels: Labels) -> tuple[Judgement, ...]:
        """What each judge says about images that are meant to show `labels`."""
        return tuple(Judgement(one, labels, one.asking(pixels)) for one in self._calibrated)

    def images(self, key: ScoreKey, pixels: Pixels, labels: Labels) -> tuple[JudgedImages, ComparedSet, NearestImages]:
        """Reconstructions, or images that are compared with them, as the evidence of all metrics of images.

        Args:
            key: of their scores.
            pixels: (n, c, h, w), uint8.
            labels: (n,), whom they are meant to show.
        """
        judgements = self.judge(pixels, labels)
        return (
            JudgedImages(key, pixels, labels, judgements),
            self._compared(key, pixels, labels, judgements),
            self._nearest(key, judgements, labels),
        )

    def ceiling(self) -> tuple[Evidence, ...]:
        """Held-out private test images: the most that a perfect reconstruction could score."""
        test = self.private.part("test")
        return self.images(ScoreKey(NOT_APPLICABLE, HELD_OUT, None), test.pixels, test.labels)

    def floor(self, name: str, pixels: Pixels, seed: int = 0) -> tuple[Evidence, ...]:
        """Images that no target has influenced, each with a random identity: the score of guessing.

        Args:
            name: `prior:NAME` for random samples of a prior.
            pixels: (n, c, h, w), uint8.
            seed: of the draw.
        """
        return self.images(ScoreKey(NOT_APPLICABLE, name, None), pixels, self._drawn(name, len(pixels), seed))

    def prior(self, name: str, prior: Prior) -> tuple[Evidence, ...]:
        """Random samples of a prior that knows no target: a floor, and the range of its values.

        Args:
            name: of the prior.
            prior: the generator.
        """
        labels = self._every_identity()
        floor = self.floor(f"{PRIOR_FLOOR}{name}", to_pixels(prior.sample(labels, generator(0, "prior floor"))))
        return (*floor, PriorSamples(floor[0].key, prior, labels[:RAW_SAMPLES]))

    def generator(self, key: ScoreKey, prior: Prior) -> GeneratorSamples:
        """Random samples of the generator that an attack trained with the target's help.

        As many of each identity as a floor has, where the Trap-MID paper (Table 3) draws 30,000 in all.
        """
        labels = self._every_identity()
        pixels = to_pixels(prior.sample(labels, generator(0, "generator samples")))
        return GeneratorSamples(key, self._nearest(key, self.judge(pixels, labels), labels))

    def public_floor(self, seed: int = 0) -> Iterator[Evidence]:
        """The public images: a floor, and strangers whom judges should not accept as private identities.

        Nothing without public images.
        """
        if self.public is None:
            return
        key, labels = ScoreKey(NOT_APPLICABLE, PUBLIC, None), self._drawn("public", len(self.public), seed)
        judgements = tuple(Judgement(one, labels, one.asking_of_public()) for one in self._calibrated)
        yield JudgedImages(key, self.public, labels, judgements)
        yield self._compared(key, self.public, labels, judgements)
        yield PublicImages(key, judgements)

    def triggers_alone(self, defense: str, seed: int | None, secrets: Secrets) -> JudgedImages:
        """A negative control: the triggers of a trapdoor in the mean private training image, each taken for its class.

        A judge that names the class is fooled by what fools the target, and takes a trigger for a person.
        """
        pixels = self.private.part("train").pixels
        mean = (pixels.sum(0, dtype=torch.float64) / (255 * len(pixels))).float()
        shown, labels = to_pixels(triggers_alone(secrets, mean)), torch.arange(self.num_classes)
        return JudgedImages(ScoreKey(defense, TRIGGERS_ALONE, seed), shown, labels, self.judge(shown, labels))

    def _drawn(self, name: str, n: int, seed: int) -> Labels:
        return stratified_labels(n, self.num_classes, generator(seed, "floor", name))

    def _every_identity(self) -> Labels:
        return torch.arange(self.num_classes).repeat(SAMPLES_PER_IDENTITY)

    def _nearest(self, key: ScoreKey, judgements: Sequence[Judgement], labels: Labels) -> NearestImages:
        def ask() -> dict[str, Tensor]:
            if self.public is None:
                return {}
            return {said.judge: said.calibrated.nearer_to_private(said.opinion.features) for said in judgements}

        return NearestImages(key, labels, ask)

    def _compared(self, key: ScoreKey, pixels: Pixels, labels: Labels, judgements: Sequence[Judgement]) -> ComparedSet:
        train = self.private.part("train").labels
        sets = [FeatureSet(said.judge, labels, train, self.num_classes, said.features_of_both) for said in judgements]
        if (fidelity := self.fidelity) is not None:

            def ask() -> tuple[Features, PrivateFeatures]:
                return fidelity.features(pixels), self._private_fidelity

            sets.append(FeatureSet(fidelity.name, labels, train, self.num_classes, ask))
        return ComparedSet(key, tuple(sets))

    @cached_property
    def _private_fidelity(self) -> Features:
        assert self.fidelity is not None
        return self.fidelity.features(self.private.part("train").pixels)
