"""PLG-MI (Yuan et al., AAAI 2023): a conditional GAN on pseudo-labelled public images, and a search in its latents."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.gans import kept, warm_start_of
from trapmid.attacks.margin import TRAINING_AUGMENTATION, MarginSettings, Term, margin_and_terms
from trapmid.attacks.search import score_public, top_n
from trapmid.augment import AnyAugmentation, Augment
from trapmid.config import Count, Member, NonNegative
from trapmid.data.images import ImageSet
from trapmid.priors import CGAN, GAN, GANConfig, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels


@dataclass(frozen=True, eq=False)
class TargetGuidance:
    """The loss of generated images by the target, for the generator. It can be sent to other processes.

    Attributes:
        target: what is attacked.
        augment: T_atk.
        weight: weight of the margin.
        terms: loss terms in addition to the margin.
    """

    target: WhiteBoxTarget
    augment: Augment
    weight: float
    terms: tuple[Term, ...]

    def __call__(self, images: Images, labels: Labels) -> Tensor:
        """The mean over the images (n, c, h, w), which were generated for the labels (n,)."""
        return margin_and_terms(self.target.predict(self.augment(images)), labels, self.weight, self.terms).mean()


class PseudoLabelGuided(Member):
    """The settings of an attack that trains PLG-MI's GAN; the defaults are the published constants.

    Attributes:
        prior: the conditional GAN.
        warm_start: a GAN of the same shapes, which is trained on the public images before the target is known. The
            attack's GAN starts from its weights. None for random weights, as published.
        top_n: number of public images that stand for each class.
        inversion_weight: weight of the max-margin loss on the target in the generator's loss.
        augmentation: T_atk while the GAN trains.
    """

    prior: CGAN = CGAN()
    warm_start: CGAN | None = None
    top_n: Count = 30
    inversion_weight: NonNegative = 0.2
    augmentation: AnyAugmentation = TRAINING_AUGMENTATION

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> GANConfig | None:
        """The conditional GAN."""
        return self.prior

    def train(
        self, target: WhiteBoxTarget, public: ImageSet, pseudo_labels: Tensor, run: Run, terms: tuple[Term, ...] = ()
    ) -> GAN:
        """Train the GAN with the target's feedback.

        Args:
            target: what is attacked.
            public: the attacker's images.
            pseudo_labels: (num_classes, n), the rows of `public` that stand for each class.
            run: seed, compute, folder; its prior is the warm start.
            terms: of the generator's loss, beside the weighted margin.
        """
        guidance = TargetGuidance(target, self.augmentation.build(public.image_size), self.inversion_weight, terms)
        gan = self.prior.fit(
            run.training(public, target, self.kind),
            pseudo_labels=pseudo_labels,
            guidance=guidance,
            start=warm_start_of(run, self.name),
        )
        return kept(gan, run)


@final
class PLGMI(PseudoLabelGuided, MarginSettings, Effort, Attack[WhiteBoxTarget, GAN]):
    """`plgmi`: the strongest attack of the paper's main table."""

    title: ClassVar[str] = "PLG-MI"
    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023), Alg. 1, Eq. 3-6"
    kind: Literal["plgmi"] = "plgmi"

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> GAN:
        """Pseudo-label the public images, then train the GAN with the target's feedback."""
        return self.train(target, public, top_n(score_public(target, public, run), self.top_n), run)

    def invert(self, target: WhiteBoxTarget, ready: GAN, identities: Labels, run: Run) -> Found:
        """Search by the margin alone."""
        return self.margin_search(self.effort).run(target, ready, identities, run)
