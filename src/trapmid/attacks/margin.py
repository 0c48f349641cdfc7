"""PLG-MI's search (Yuan et al., AAAI 2023, Eq. 5-6): latents of a conditional generator descend the max-margin loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trapmid.attacks.attack import Effort, Found, Run
from trapmid.attacks.search import Descent, best_latents, decode_found, initial_latents, max_margin
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import Count, Member, Rate
from trapmid.engine import randomness
from trapmid.priors import Prior
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels, Prediction

Term = Callable[[Prediction, Labels], Tensor]
"""An additional loss term (n,), computed from the target's predictions on augmented images and their labels."""


SEARCH_AUGMENTATION = KorniaAugmentation(
    crop_probability=1.0,
    brightness=0.2,
    contrast=0.2,
    jitter_probability=1.0,
    rotation_degrees=5.0,
)
"""T_atk of PLG-MI during the search."""
TRAINING_AUGMENTATION = SEARCH_AUGMENTATION.model_copy(update={"jitter_probability": 0.5})
"""T_atk while PLG-MI's GAN trains."""


@dataclass(frozen=True)
class MarginSearch:
    """PLG-MI's search, as a part of an attack.

    Attributes:
        descent: the optimisation of the latents.
        images_per_identity: number of searches per identity.
        augmentation: T_atk during the search.
        augmentations: independent draws that a step sums over.
        candidates: random latents per identity, of which those for which the target is most confident start the
            search; up to `images_per_identity`, as published, there is no choice.
    """

    descent: Descent
    images_per_identity: int
    augmentation: AnyAugmentation
    augmentations: int
    candidates: int

    def run(
        self,
        target: WhiteBoxTarget,
        prior: Prior,
        identities: Labels,
        run: Run,
        terms: tuple[Term, ...] = (),
        beside: Sequence[WhiteBoxTarget] = (),
    ) -> Found:
        """Adam on the latents of all identities at once, two augmentations a step, no clipping.

        Args:
            target: the model under attack.
            prior: the prior to search in.
            identities: (k,), the identities to search for.
            run: seed, compute, folder.
            terms: loss terms in addition to the margin.
            beside: further models, each with its own augmentations. The objective is the mean over all models.
        """
        augment = self.augmentation.build(target.image_shape[-1])
        first = initial_latents(
            identities, target.num_classes, max(self.candidates, self.images_per_identity), prior.latent_size, run.seed
        )
        if self.candidates > self.images_per_identity:
            with randomness(
                run.seed,
                f"{self.descent.kind} search",
                "candidates",
                int(identities[0]),
                device=run.compute.torch_device,
            ):
                first = best_latents(
                    first, identities, self.images_per_identity, prior, target, augment, self.descent.chunk
                )
        labels = identities.repeat_interleave(self.images_per_identity)
        on_device = labels.to(run.compute.torch_device)

        def loss(latents: Tensor, part: slice) -> Tensor:
            images = prior.decode(latents, on_device[part])
            draws = [
                margin_and_terms(model.predict(augment(images)), on_device[part], 1.0, terms)
                for model in (target, *beside)
                for _ in range(self.augmentations)
            ]
            return torch.stack(draws).sum(0) / (1 + len(beside))

        prior.generator.requires_grad_(False)
        latents = self.descent.descend(first.flatten(0, 1), loss, identities, target, run)
        return decode_found(latents, labels, prior, target, self.descent.chunk)


class MarginSettings(Member):
    """The settings of an attack that searches as PLG-MI does; the defaults are the published constants.

    Attributes:
        search_augmentation: T_atk during the search.
        augmentations: independent draws of T_atk that a search step sums over.
        candidates: random latents per identity. The search starts from those for which the target is most confident.
            With no more than `images_per_identity`, as published, it starts from all of them.
        search_steps: number of steps of Adam.
        search_rate: learning rate of Adam.
    """

    search_augmentation: AnyAugmentation = SEARCH_AUGMENTATION
    augmentations: Count = 2
    candidates: Count = 5
    search_steps: Count = 600
    search_rate: Rate = 0.1

    def margin_search(self, effort: Effort) -> MarginSearch:
        """The search with these settings."""
        return MarginSearch(
            Descent(self.kind, self.search_steps, self.search_rate, effort.chunk),
            effort.images_per_identity,
            self.search_augmentation,
            self.augmentations,
            self.candidates,
        )


def margin_and_terms(prediction: Prediction, labels: Labels, margin_weight: float, terms: tuple[Term, ...]) -> Tensor:
    """The sum (n,) of the weighted margin and the terms."""
    margin = margin_weight * max_margin(prediction.logits, labels)
    return torch.stack([margin, *(term(prediction, labels) for term in terms)]).sum(0)
