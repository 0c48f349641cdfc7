"""PLG-MI (Yuan et al., AAAI 2023): public images pseudo-labelled by the target train a conditional GAN, whose latents are searched (reference 4.4)."""

from abc import ABC
from collections.abc import Callable
from typing import ClassVar, Generic, Literal, TypeVar, final

import torch
from pydantic import Field
from torch import Tensor

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import (
    SearchConfig,
    best_latents,
    decode_found,
    initial_latents,
    max_margin,
    optimise,
    score_public,
    top_n,
)
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.data.images import ImageSet
from trapmid.engine import randomness
from trapmid.priors import CGAN, GAN, Prior, PriorConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, Prediction

W = TypeVar("W", bound=WhiteBoxTarget)
Term = Callable[[Prediction, Labels], Tensor]
"""A term of the objective beside the margin: (n,), of what the target says about augmented images and of their labels."""


class PseudoLabelGuided(SearchConfig, Attack[W], ABC, Generic[W]):
    """PLG-MI's settings, its training and its search; the defaults are the published constants.

    Attributes:
        prior: the conditional GAN.
        warm_start: how a GAN of the same shapes is trained on the public images before the target is known, from whose weights
            the attack's starts; None for random weights, as published.
        top_n: public images that stand for each class.
        inversion_weight: of the max-margin loss on the target in the generator's loss.
        augmentation: T_atk while the GAN trains.
        search_augmentation: T_atk during the search.
        augmentations: independent draws a search step sums over.
        candidates: random latents per identity of which the target's favourites start the search; up to
            `images_per_identity`, as published, there is no choice.
    """

    prior: CGAN = CGAN()
    warm_start: CGAN | None = None
    top_n: int = Field(30, ge=1)
    inversion_weight: float = 0.2
    augmentation: AnyAugmentation = KorniaAugmentation(
        crop_probability=1.0,
        brightness=0.2,
        contrast=0.2,
        jitter_probability=0.5,
        rotation_degrees=5.0,
        rotation_probability=1.0,
    )
    search_augmentation: AnyAugmentation = KorniaAugmentation(
        crop_probability=1.0,
        brightness=0.2,
        contrast=0.2,
        jitter_probability=1.0,
        rotation_degrees=5.0,
        rotation_probability=1.0,
    )
    augmentations: int = Field(2, ge=1)
    candidates: int = Field(5, ge=1)
    search_steps: int = Field(600, ge=1)
    search_rate: float = 0.1

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def train(self, target: W, public: ImageSet, pseudo_labels: Tensor, run: Run, terms: tuple[Term, ...] = ()) -> GAN:
        """Train the GAN with the target's feedback.

        Args:
            target: what is attacked.
            public: the attacker's images.
            pseudo_labels: (num_classes, n), the rows of `public` that stand for each class.
            run: seed, compute, folder; its prior is the warm start.
            terms: of the generator's loss, beside the weighted margin.
        """
        assert run.prior is None or isinstance(run.prior, GAN)
        augment = self.augmentation.build(public.image_size)

        def guidance(images: Images, labels: Labels) -> Tensor:
            return _objective(target.predict(augment(images)), labels, self.inversion_weight, terms).mean()

        return self.prior.fit(
            public,
            target.num_classes,
            pseudo_labels=pseudo_labels,
            guidance=guidance,
            start=run.prior,
            also={"target": target},
            seed=run.seed,
            compute=run.compute,
            folder=run.folder / "gan",
            progress=run.progress,
            name=f"{self.kind} gan",
        )

    def search(self, target: W, prior: Prior, identities: Labels, run: Run, terms: tuple[Term, ...] = ()) -> Found:
        """Adam on the latents of all identities at once, two augmentations a step, no clipping; `terms` join the margin."""
        augment = self.search_augmentation.build(target.image_shape[-1])
        name = f"{self.kind} search"
        first = initial_latents(
            identities, target.num_classes, max(self.candidates, self.images_per_identity), prior.latent_size, run.seed
        )
        if self.candidates > self.images_per_identity:
            with randomness(run.seed, name, "candidates", int(identities[0]), device=run.compute.target):
                first = best_latents(first, identities, self.images_per_identity, prior, target, augment, self.chunk)
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.target)

        def loss(latents: Tensor, part: slice) -> Tensor:
            images = prior.decode(latents, on_device[part])
            draws = [
                _objective(target.predict(augment(images)), on_device[part], 1.0, terms)
                for _ in range(self.augmentations)
            ]
            return torch.stack(draws).sum(0)

        prior.generator.requires_grad_(False)
        latents = optimise(
            first.flatten(0, 1),
            loss,
            steps=self.search_steps,
            rate=self.search_rate,
            run=run,
            name=name,
            chunk=self.chunk,
            folder=run.folder / f"search-{int(identities[0])}",
            also={"target": target},
        )
        return decode_found(latents, labels, prior, target, self.chunk)


def _objective(prediction: Prediction, labels: Labels, margin_weight: float, terms: tuple[Term, ...]) -> Tensor:
    margin = margin_weight * max_margin(prediction.logits, labels)
    return torch.stack([margin, *(term(prediction, labels) for term in terms)]).sum(0)


@final
class PLGMI(PseudoLabelGuided[WhiteBoxTarget]):
    """`plgmi`: the strongest attack of the paper's main table."""

    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023), Alg. 1, Eq. 3-6"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
    kind: Literal["plgmi"] = "plgmi"

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prior:
        """Pseudo-label the public images, then train the GAN with the target's feedback."""
        return self.train(target, public, top_n(score_public(target, public, run), self.top_n), run)

    def invert(self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Search by the margin alone."""
        return self.search(target, prior, identities, run)
