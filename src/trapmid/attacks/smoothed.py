"""Expectation over transformations (Athalye et al., ICML 2018): the target is attacked through blur, JPEG and noise."""

from functools import partial
from typing import ClassVar, Literal, final

import torch

from trapmid.attacks.attack import Run
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.augment import AnyAugmentation, Augment, Degradation
from trapmid.config import Count
from trapmid.data.images import ImageSet
from trapmid.targets import ViewedTarget, WhiteBoxTarget
from trapmid.types import Images, Prediction


@final
class Smoothed(Wrapper[WhiteBoxTarget]):
    """`smoothed`: a base attack on the target's mean answer over random degradations, which weaken faint triggers.

    Logits and features are averaged, so that what the base attack differentiates is E_t[f(t(x))] (Eq. 2 of the
    paper). With noise alone this is the soft form of randomised smoothing (Salman et al., NeurIPS 2019), of logits
    instead of probabilities.

    Attributes:
        degradation: what is drawn anew for every image and draw.
        draws: how many are averaged; each is a query.
    """

    title: ClassVar[str] = "Smoothed answers"
    paper: ClassVar[str] = "EOT (Athalye et al., ICML 2018), Eq. 2; randomised smoothing (Cohen et al., ICML 2019)"
    kind: Literal["smoothed"] = "smoothed"
    degradation: AnyAugmentation = Degradation()
    draws: Count = 4

    def stand_in(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> StandIn:
        """The target, seen through `draws` degradations of every image."""
        del run
        degrade = self.degradation.build(public.image_size)
        return StandIn(ViewedTarget(target, partial(_averaged, target, degrade, self.draws)))


def _averaged(target: WhiteBoxTarget, degrade: Augment, draws: int, images: Images) -> Prediction:
    said = target.predict(degrade(images.repeat(draws, 1, 1, 1)))
    logits, features = (torch.stack(part.chunk(draws)).mean(0) for part in (said.logits, said.features))
    return Prediction(logits, features)
