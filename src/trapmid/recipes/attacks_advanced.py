"""Small versions, for two cores, of attacks that search a StyleGAN2's styles or that see only labels or scores."""

from trapmid.attacks import BREP, IFGMI, MIRROR, PPA, MIRRORWhiteBox
from trapmid.augment import WarpAugmentation
from trapmid.priors import AnyPrior, StyleGAN2


def small_stylegan2() -> StyleGAN2:
    """A StyleGAN2 whose generator has 0.2 M weights, for 32 and 64 px.

    The published weight of the R1 penalty, 10, is for 1024 px. It is smaller here, since StyleGAN2-ADA scales it with
    the number of pixels.
    """
    return StyleGAN2(
        latent_size=64,
        style_size=64,
        mapping_layers=3,
        capacity=256,
        widest=64,
        iterations=2000,
        batch_size=16,
        rate=3e-3,
        r1=0.1,
        ema=0.995,
        augmentation=WarpAugmentation(crop_area=(0.88, 1.0), shift=0.04, rotation_degrees=4.0, padding="reflection"),
        log_every=50,
    )


def small_ppa(prior: StyleGAN2) -> PPA:
    """`ppa` with 1,000 candidates instead of 5,000, and 10 starts per identity instead of 200."""
    crop = WarpAugmentation(crop_area=(0.9, 1.0), crop_probability=1.0, flip_probability=0.0, rotation_probability=0.0)
    return PPA(
        prior=prior,
        truncation=0.7,
        cutoff=None,
        candidates=1000,
        starts=10,
        search_augmentation=crop,
        search_rate=0.02,
        selection_augmentation=crop.model_copy(update={"crop_area": (0.5, 0.9), "flip_probability": 0.5}),
        selection_draws=20,
        images_per_identity=5,
    )


def advanced_attacks(style: StyleGAN2, plain: AnyPrior) -> tuple[PPA, IFGMI, MIRROR, MIRRORWhiteBox, BREP]:
    """`ppa`, `ifgmi` and both forms of `mirror` with a style prior, and `brep` with any prior.

    Args:
        style: the prior whose styles are searched.
        plain: the prior whose latents are searched.
    """
    ppa = small_ppa(style)
    return (
        ppa,
        IFGMI(
            ppa=ppa,
            layer_steps=(15, 15, 15),
            balls="relative",
            radii=(0.1, 0.1, 0.1),
            picture="kept",
            final_selection=True,
        ),
        MIRROR(
            prior=style,
            candidates=1000,
            truncation=1.0,
            cutoff=None,
            population=10,
            breeding="ranked",
            children=10,
            generations=30,
            enough=None,
            strength=0.5,
            bounding_styles=10_000,
            images_per_identity=5,
        ),
        MIRRORWhiteBox(
            prior=style, candidates=1000, cutoff=None, search_steps=150, search_rate=0.05, images_per_identity=5
        ),
        BREP(
            prior=plain,
            start_batches=200,
            sphere=20,
            filled=0.75,
            moves="final",
            steps_per_radius=40,
            steps=100,
            images_per_identity=2,
        ),
    )
