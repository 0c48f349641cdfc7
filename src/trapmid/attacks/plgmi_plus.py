"""PLG-MI+ and PLG-MI++ (Trap-MID Sec. 4.2, App. E.7): attacks that know of trapdoors and avoid their signatures.

Deviation: the predicted label is taken from the augmented image that is being looked at, not from another pass over
the plain one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.margin import MarginSettings, Term
from trapmid.attacks.plgmi import PseudoLabelGuided
from trapmid.attacks.search import survey, top_n
from trapmid.config import Deviation, NonNegative
from trapmid.data.images import ImageSet
from trapmid.priors import GAN
from trapmid.targets import InformedTarget, WhiteBoxTarget
from trapmid.trapdoor import signature_similarity
from trapmid.types import Features, Labels, Prediction


def auxiliary_signatures(features: Features, pseudo_labels: Tensor) -> Tensor:
    """(num_classes, d): for each class the mean of the rows (num_classes, n) of `features` that stand for it."""
    return features[pseudo_labels].mean(1)


def towards(auxiliary: Tensor, weight: float) -> Term:
    """Minus the cosine of an image's features with its label's auxiliary signature (num_classes, d), weighted."""
    return partial(_towards, auxiliary, weight)


def _towards(auxiliary: Tensor, weight: float, seen: Prediction, labels: Labels) -> Tensor:
    return -weight * F.cosine_similarity(seen.features, auxiliary[labels], dim=1)


def away_from(signatures: Tensor, weight: float) -> Term:
    """The weighted cosine of an image's features with the trapdoor signature of the predicted label."""
    return partial(_away_from, signatures, weight)


def _away_from(signatures: Tensor, weight: float, seen: Prediction, labels: Labels) -> Tensor:
    del labels
    return weight * signature_similarity(seen, signatures)


@dataclass(frozen=True, eq=False)
class Guided:
    """What the search needs.

    Attributes:
        gan: the conditional GAN.
        auxiliary: (num_classes, d), the mean features of the public images that stand for each class.
    """

    gan: GAN
    auxiliary: Tensor


Terms = Callable[[Tensor], tuple[Term, ...]]
"""What joins the margin, given the auxiliary signatures (num_classes, d) on the target's device."""


def prepare_guided(
    attack: PseudoLabelGuided, target: WhiteBoxTarget, public: ImageSet, run: Run, terms: Terms
) -> Guided:
    """Pseudo-label the public images, average their features, then train the GAN."""
    seen = survey(target, public, run)
    pseudo_labels = top_n(seen.logits.softmax(1), attack.top_n)
    auxiliary = auxiliary_signatures(seen.features, pseudo_labels).to(target.device)
    return Guided(attack.train(target, public, pseudo_labels, run, terms(auxiliary)), auxiliary)


@final
class PLGMIPlus(PseudoLabelGuided, MarginSettings, Effort, Attack[WhiteBoxTarget, Guided]):
    """`plgmi+`: knows that there are trapdoors, but not which.

    Attributes:
        auxiliary_weight: l_aux, of the pull towards the features of public images with the same pseudo-label.
    """

    title: ClassVar[str] = "PLG-MI+"
    paper: ClassVar[str] = "Trap-MID (Liu & Chen, NeurIPS 2024), App. E.7, PLG-MI+"
    adaptive: ClassVar[bool] = True
    kind: Literal["plgmi+"] = "plgmi+"
    auxiliary_weight: NonNegative = 10.0

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Guided:
        """See `prepare_guided`."""
        return prepare_guided(self, target, public, run, self.terms)

    def invert(self, target: WhiteBoxTarget, ready: Guided, identities: Labels, run: Run) -> Found:
        """Search by the margin and the pull."""
        return self.margin_search(self.effort).run(target, ready.gan, identities, run, self.terms(ready.auxiliary))

    def terms(self, auxiliary: Tensor) -> tuple[Term, ...]:
        """The pull."""
        return (towards(auxiliary, self.auxiliary_weight),)


@final
class PLGMIPlusPlus(PseudoLabelGuided, MarginSettings, Effort, Attack[InformedTarget, Guided]):
    """`plgmi++`: knows the trapdoors' signatures and steers clear of them.

    Attributes:
        auxiliary_weight: l_aux, of the pull towards the features of public images with the same pseudo-label.
        trapdoor_weight: l_trap, of the push away from the signatures.
    """

    title: ClassVar[str] = "PLG-MI++"
    paper: ClassVar[str] = "Trap-MID (Liu & Chen, NeurIPS 2024), Sec. 4.2 and App. E.7, PLG-MI++"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "predicted label",
            "of the generated image",
            "of the augmented image in hand",
            "saves a pass; the code is not public",
        ),
    )
    adaptive: ClassVar[bool] = True
    kind: Literal["plgmi++"] = "plgmi++"
    auxiliary_weight: NonNegative = 10.0
    trapdoor_weight: NonNegative = 10.0

    def prepare(self, target: InformedTarget, public: ImageSet, run: Run) -> Guided:
        """See `prepare_guided`."""
        return prepare_guided(self, target, public, run, partial(self.terms, target))

    def invert(self, target: InformedTarget, ready: Guided, identities: Labels, run: Run) -> Found:
        """Search by the margin, the pull and the push."""
        return self.margin_search(self.effort).run(
            target, ready.gan, identities, run, self.terms(target, ready.auxiliary)
        )

    def terms(self, target: InformedTarget, auxiliary: Tensor) -> tuple[Term, ...]:
        """The pull and the push."""
        return (
            towards(auxiliary, self.auxiliary_weight),
            away_from(target.signatures, self.trapdoor_weight),
        )
