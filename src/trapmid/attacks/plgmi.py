"""PLG-MI (Yuan et al., AAAI 2023): public images pseudo-labelled by the target train a conditional GAN, whose latents are searched (reference 4.4)."""

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.search import best_latents, decode_found, initial_latents, max_margin, optimise, top_n
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import randomness
from trapmid.priors import CGAN, GAN, Prior, PriorConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, Labels


@final
class PLGMI(Attack[WhiteBoxTarget]):
    """`plgmi`: the strongest attack of the paper's main table; the defaults are the published constants.

    Attributes:
        prior: the conditional GAN.
        warm_start: how a GAN of the same shapes is trained on the public images before the target is known, from whose weights
            the attack's starts; None for random weights, as published.
        top_n: public images that stand for each class.
        inversion_weight: of the max-margin loss on the target in the generator's loss.
        augmentation: T_atk while the GAN trains.
        search_augmentation: T_atk during the search.
        augmentations: independent draws a search step sums over.
        images_per_identity: searches per identity, from independent latents.
        candidates: random latents per identity of which the target's favourites start the search; equal to
            `images_per_identity`, as published, there is no choice.
        search_steps: of Adam.
        search_rate: of Adam.
        identities_per_batch: how many identities are searched at once; 0 for all.
        chunk: images decoded at once, which bounds memory.
    """

    paper: ClassVar[str] = "PLG-MI (Yuan et al., AAAI 2023), Alg. 1, Eq. 3-6"
    needs: ClassVar[type[LabelTarget]] = WhiteBoxTarget
    kind: Literal["plgmi"] = "plgmi"
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
    images_per_identity: int = Field(5, ge=1)
    candidates: int = Field(5, ge=1)
    search_steps: int = Field(600, ge=1)
    search_rate: float = 0.1
    identities_per_batch: int = Field(0, ge=0)
    chunk: int = Field(100, ge=1)

    def public_prior(self) -> PriorConfig | None:
        """The warm start."""
        return self.warm_start

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Prior:
        """Pseudo-label the public images, then train the GAN with the target's feedback."""
        assert run.prior is None or isinstance(run.prior, GAN)
        augment = self.augmentation.build(public.image_size)

        def guidance(images: Images, labels: Labels) -> Tensor:
            return self.inversion_weight * max_margin(target.predict(augment(images)).logits, labels).mean()

        return self.prior.fit(
            public,
            target.num_classes,
            pseudo_labels=top_n(_scores(target, public, run), self.top_n),
            guidance=guidance,
            start=run.prior,
            also={"target": target},
            seed=run.seed,
            compute=run.compute,
            folder=run.folder / "gan",
            progress=run.progress,
            name=f"plgmi gan {run.folder.name.split('.')[0]}",
        )

    def invert(self, target: WhiteBoxTarget, prior: Prior, identities: Labels, run: Run) -> Found:
        """Adam on the latents of all identities at once, two augmentations a step, no clipping."""
        augment = self.search_augmentation.build(target.image_shape[-1])
        name = f"plgmi search {run.folder.name.split('.')[0]}"
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
            margins = [
                max_margin(target.predict(augment(images)).logits, on_device[part]) for _ in range(self.augmentations)
            ]
            return torch.stack(margins).sum(0)

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


def _scores(target: WhiteBoxTarget, public: ImageSet, run: Run) -> Tensor:
    """(images, num_classes): what the target says about every public image."""
    parts = []
    for pixels in public.pixels.split(256):
        parts.append(target.scores(to_unit(pixels.to(target.device))).cpu())
        run.progress("pseudo-label public images", sum(map(len, parts)), len(public), "")
    return torch.cat(parts)
