"""PLG-MI+ and PLG-MI++ (Trap-MID Sec. 4.2, App. E.7; reference 4.5): attackers who know of trapdoors pull towards public look-alikes, away from signatures.

Deviation: the predicted label is taken from the augmented image that is being looked at, not from another pass over the plain one.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, final

from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks.attack import Equipped, Found, Run
from trapmid.attacks.margin import Term
from trapmid.attacks.plgmi import PseudoLabelGuided, W
from trapmid.attacks.search import survey, top_n
from trapmid.config import NonNegative
from trapmid.data.images import ImageSet
from trapmid.priors import Prior
from trapmid.targets import InformedTarget, LabelTarget, WhiteBoxTarget
from trapmid.trapdoor import signature_similarity
from trapmid.types import Features, Labels, Prediction


def auxiliary_signatures(features: Features, pseudo_labels: Tensor) -> Tensor:
    """(num_classes, d): per class the mean features of the public images that stand for it, rows (num_classes, n) of `features`."""
    return features[pseudo_labels].mean(1)


def towards(auxiliary: Tensor, weight: float) -> Term:
    """Minus the cosine of an image's features with its label's auxiliary signature (num_classes, d), weighted."""
    return lambda seen, labels: -weight * F.cosine_similarity(seen.features, auxiliary[labels], dim=1)


def away_from(signatures: Tensor, weight: float) -> Term:
    """The cosine of an image's features with the trapdoor signature (num_classes, d) of the label predicted for it, weighted."""

    def term(seen: Prediction, labels: Labels) -> Tensor:
        del labels
        return weight * signature_similarity(seen, signatures)

    return term


class SignatureGuided(PseudoLabelGuided[W], ABC):
    """PLG-MI with terms on features, both while the GAN trains and during the search.

    Attributes:
        auxiliary_weight: l_aux, of the pull towards the features of public images pseudo-labelled alike.
    """

    auxiliary_weight: NonNegative = 10.0

    @abstractmethod
    def terms(self, target: W, auxiliary: Tensor) -> tuple[Term, ...]:
        """What joins the margin; `auxiliary` (num_classes, d) lies on the target's device."""

    def prepare(self, target: W, public: ImageSet, run: Run) -> Prior:
        """Pseudo-label the public images, average their features, then train the GAN."""
        seen = survey(target, public, run)
        pseudo_labels = top_n(seen.logits.softmax(1), self.top_n)
        auxiliary = auxiliary_signatures(seen.features, pseudo_labels).to(target.device)
        gan = self.train(target, public, pseudo_labels, run, self.terms(target, auxiliary))
        return Equipped(gan, auxiliary)

    def invert(self, target: W, prior: Prior, identities: Labels, run: Run) -> Found:
        """Search by the margin and the terms."""
        assert isinstance(prior, Equipped)
        return self.search(target, prior.prior, identities, run, self.terms(target, prior.equipment))


@final
class PLGMIPlus(SignatureGuided[WhiteBoxTarget]):
    """`plgmi+`: knows that there are trapdoors, not which."""

    title: ClassVar[str] = "PLG-MI+"
    paper: ClassVar[str] = "Trap-MID (Liu & Chen, NeurIPS 2024), App. E.7, PLG-MI+"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
    adaptive: ClassVar[bool] = True
    kind: Literal["plgmi+"] = "plgmi+"

    def terms(self, target: WhiteBoxTarget, auxiliary: Tensor) -> tuple[Term, ...]:
        """The pull."""
        del target
        return (towards(auxiliary, self.auxiliary_weight),)


@final
class PLGMIPlusPlus(SignatureGuided[InformedTarget]):
    """`plgmi++`: knows the trapdoors' signatures and steers clear of them.

    Attributes:
        trapdoor_weight: l_trap, of the push away from them.
    """

    title: ClassVar[str] = "PLG-MI++"
    paper: ClassVar[str] = "Trap-MID (Liu & Chen, NeurIPS 2024), Sec. 4.2 and App. E.7, PLG-MI++"
    needs: ClassVar[type[LabelTarget]] = InformedTarget
    adaptive: ClassVar[bool] = True
    kind: Literal["plgmi++"] = "plgmi++"
    trapdoor_weight: NonNegative = 10.0

    def terms(self, target: InformedTarget, auxiliary: Tensor) -> tuple[Term, ...]:
        """The pull and the push."""
        return (
            towards(auxiliary, self.auxiliary_weight),
            away_from(target.signatures, self.trapdoor_weight),
        )
