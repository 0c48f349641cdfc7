"""PLG-MI (Yuan et al., AAAI 2023): trains a conditional GAN on public images that the target pseudo-labels, then searches its latents."""

from abc import ABC
from typing import ClassVar, Generic, Literal, TypeVar, final

from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.gans import kept, warm_start_of
from trapmid.attacks.margin import SEARCH_AUGMENTATION, MarginSearch, Term, margin_and_terms
from trapmid.attacks.search import Descent, score_public, top_n
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import Count, CountOrZero, NonNegative, Rate
from trapmid.data.images import ImageSet
from trapmid.priors import CGAN, GAN, GANConfig, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels

W = TypeVar("W", bound=WhiteBoxTarget)
R = TypeVar("R")


class PseudoLabelGuided(Attack[W, R], ABC, Generic[W, R]):
    """PLG-MI's settings and its training; the defaults are the published constants.

    Attributes:
        prior: the conditional GAN.
        warm_start: how a GAN of the same shapes is trained on the public images before the target is known, from whose weights
            the attack's starts; None for random weights, as published.
        top_n: public images that stand for each class.
        inversion_weight: of the max-margin loss on the target in the generator's loss.
        augmentation: T_atk while the GAN trains.
        search_augmentation: T_atk during the search.
        augmentations: independent draws that a search step sums over.
        candidates: random latents per identity, of which those for which the target is most confident start the search; up to
            `images_per_identity`, as published, there is no choice.
        search_steps: of the optimiser.
        search_rate: learning rate of the optimiser.
        images_per_identity: searches per identity, from independent starts.
        identities_per_batch: identities that are searched at once; 0 for all.
        chunk: images that are decoded at once. It bounds memory.
    """

    prior: CGAN = CGAN()
    warm_start: CGAN | None = None
    top_n: Count = 30
    inversion_weight: NonNegative = 0.2
    augmentation: AnyAugmentation = KorniaAugmentation(
        crop_probability=1.0,
        brightness=0.2,
        contrast=0.2,
        jitter_probability=0.5,
        rotation_degrees=5.0,
        rotation_probability=1.0,
    )
    search_augmentation: AnyAugmentation = SEARCH_AUGMENTATION
    augmentations: Count = 2
    candidates: Count = 5
    search_steps: Count = 600
    search_rate: Rate = 0.1
    images_per_identity: Count = 5
    identities_per_batch: CountOrZero = 0
    chunk: Count = 100

    @property
    def effort(self) -> Effort:
        """How many images of each identity the attack makes, and how many at once."""
        return Effort(
            images_per_identity=self.images_per_identity,
            identities_per_batch=self.identities_per_batch,
            chunk=self.chunk,
        )

    @property
    def search(self) -> MarginSearch:
        """The search, with these settings."""
        descent = Descent(self.kind, self.search_steps, self.search_rate, self.chunk)
        return MarginSearch(
            descent, self.images_per_identity, self.search_augmentation, self.augmentations, self.candidates
        )

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def own_prior(self) -> GANConfig | None:
        """The conditional GAN."""
        return self.prior

    def train(self, target: W, public: ImageSet, pseudo_labels: Tensor, run: Run, terms: tuple[Term, ...] = ()) -> GAN:
        """Train the GAN with the target's feedback.

        Args:
            target: what is attacked.
            public: the attacker's images.
            pseudo_labels: (num_classes, n), the rows of `public` that stand for each class.
            run: seed, compute, folder; its prior is the warm start.
            terms: of the generator's loss, beside the weighted margin.
        """
        augment = self.augmentation.build(public.image_size)

        def guidance(images: Images, labels: Labels) -> Tensor:
            return margin_and_terms(target.predict(augment(images)), labels, self.inversion_weight, terms).mean()

        gan = self.prior.fit(
            run.training(public, target, self.kind),
            pseudo_labels=pseudo_labels,
            guidance=guidance,
            start=warm_start_of(run, self.name),
        )
        return kept(gan, run)


@final
class PLGMI(PseudoLabelGuided[WhiteBoxTarget, GAN]):
    """`plgmi`: the strongest attack of the paper's main table."""

    title: ClassVar[str] = "PLG-MI"
    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023), Alg. 1, Eq. 3-6"
    kind: Literal["plgmi"] = "plgmi"

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> GAN:
        """Pseudo-label the public images, then train the GAN with the target's feedback."""
        return self.train(target, public, top_n(score_public(target, public, run), self.top_n), run)

    def invert(self, target: WhiteBoxTarget, ready: GAN, identities: Labels, run: Run) -> Found:
        """Search by the margin alone."""
        return self.search.run(target, ready, identities, run)
