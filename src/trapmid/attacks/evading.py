"""An attack that lowers the score of the trapdoor's detector (Trap-MID, Sec. 4.2: PLG-MI++, here with a hinge)."""

from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Run
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.config import Fraction, NonNegative
from trapmid.data.images import ImageSet, to_unit
from trapmid.targets import InformedTarget, ViewedTarget
from trapmid.types import Features, Images, Prediction


@final
class Evading(Wrapper[InformedTarget]):
    """`evading`: a base attack on logits that are lowered where the features look like the class's trapdoor signature.

    logit_y' = logit_y - weight * max(0, cos(g(x), S_y) - threshold), the threshold being the detector's, set on the
    attacker's public images. PLG-MI++ adds a linear penalty to its own loss, at every similarity and for the predicted
    class only; here nothing is paid below the threshold, whatever the base attack's loss, and the images that stand
    for a class are chosen by the lowered logits too.

    Attributes:
        weight: of the excess; the default is PLG-MI++'s.
        false_positives: share of public images that the attacker's detector flags.
    """

    title: ClassVar[str] = "Detector evasion"
    paper: ClassVar[str] = "Trap-MID (Liu & Chen, NeurIPS 2024), Sec. 4.2 and App. E.7, with a hinge"
    kind: Literal["evading"] = "evading"
    weight: NonNegative = 10.0
    false_positives: Fraction = 0.05

    def stand_in(self, target: InformedTarget, public: ImageSet, run: Run) -> StandIn:
        """The target with lowered logits."""
        del run
        threshold = self.threshold(target, public)
        answer = partial(_lowered, target, threshold, self.weight)
        return StandIn(ViewedTarget(target, answer), {"detector_threshold": threshold})

    @torch.no_grad()
    def threshold(self, target: InformedTarget, public: ImageSet) -> float:
        """The similarity to the predicted class's signature that only `false_positives` of the public images exceed."""
        scores = []
        for pixels in public.pixels.split(256):
            said = target.predict(to_unit(pixels.to(target.device)))
            own = said.logits.argmax(1, keepdim=True)
            scores.append(similarity(said.features, target.signatures).gather(1, own).squeeze(1))
        return float(torch.cat(scores).quantile(1 - self.false_positives))


def _lowered(target: InformedTarget, threshold: float, weight: float, images: Images) -> Prediction:
    said = target.predict(images)
    excess = F.relu(similarity(said.features, target.signatures) - threshold)
    return said._replace(logits=said.logits - weight * excess)


def similarity(features: Features, signatures: Tensor) -> Tensor:
    """(n, num_classes): cosine between features (n, d) and signatures (num_classes, d) of unit length."""
    return F.normalize(features.float(), dim=1) @ signatures.T
