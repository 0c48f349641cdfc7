"""A judge together with the images that it is calibrated on and compared with."""

from collections.abc import Callable
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from trapmid.data.splits import Split
from trapmid.engine import generator
from trapmid.metrics.accuracy import Acceptance
from trapmid.metrics.distance import nearer_to_private
from trapmid.metrics.judge import Judge, Opinion
from trapmid.types import Features, Pixels


@final
class CalibratedJudge:
    """A judge, and its opinion of private and public images, which it is asked for once and not before it is needed.

    Args:
        judge: who decides.
        private: the private images and their split; train is what images are compared with, val sets the threshold.
        public: images of other people, (n, c, h, w), uint8; None where there are none.
    """

    def __init__(self, judge: Judge, private: Split, public: Pixels | None) -> None:
        self.judge, self._private, self._public = judge, private, public

    @cached_property
    def acceptance(self) -> Acceptance:
        """The distance to private images above which an image is not accepted as anybody."""
        train, val = self._private.part("train"), self._private.part("val")
        return Acceptance.calibrate(
            self.judge.opinion(train.pixels), train.labels, self.judge.opinion(val.pixels), val.labels
        )

    @cached_property
    def of_public(self) -> Opinion:
        """The opinion of the public images."""
        assert self._public is not None
        return self.judge.opinion(self._public)

    def asking(self, pixels: Pixels) -> Callable[[], Opinion]:
        """Asks for the opinion of images (n, c, h, w), uint8."""
        return lambda: self.judge.opinion(pixels)

    def asking_of_public(self) -> Callable[[], Opinion]:
        """Asks for the opinion of the public images."""
        return lambda: self.of_public

    def nearer_to_private(self, features: Features) -> Tensor:
        """(n,): whether a private image is nearest. The larger set is reduced at random to the size of the smaller."""
        private, public = self.acceptance.reference.features, self.of_public.features
        n = min(len(private), len(public))
        chosen = torch.randperm(len(private), generator=generator(0, "private or public"))[:n]
        return nearer_to_private(features, private[chosen], public[:n])
