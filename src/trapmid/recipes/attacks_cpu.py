"""Recipes with small versions of all base attacks, for two cores: one on the demo's drawn faces, one on real faces."""

from trapmid.attacks import (
    GMI,
    KEDMI,
    LOKT,
    LOMMA,
    PLGMI,
    PPDG,
    AnyAttack,
    DiffMI,
    MIFace,
    PLGMIPlus,
    PLGMIPlusPlus,
    PublicNearest,
)
from trapmid.attacks.distillation import Distillation
from trapmid.audit import Recipe
from trapmid.models import Tiny
from trapmid.priors import DCGAN, TACGAN, Diffusion, SemiGAN, UNet
from trapmid.recipes.attacks_advanced import advanced_attacks, small_stylegan2
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.celeba64_pretrained import celeba64_pretrained
from trapmid.recipes.demo import demo
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR


def attacks_cpu() -> Recipe:
    """All attacks on the classifiers of `celeba64-cpu`, one seed.

    Command: `trapmid audit --recipe attacks-cpu --private PRIVATE.parquet --public PUBLIC.parquet`; `--attacks gmi
        kedmi` runs only these two.
    """
    return _with_all_attacks(celeba64_cpu(), "attacks-cpu", distillation_epochs=2)


def attacks_pretrained() -> Recipe:
    """All attacks on the classifiers of `celeba64-pretrained`, one seed.

    Command: `trapmid audit --recipe attacks-pretrained --private PRIVATE.parquet --public PUBLIC.parquet --teacher
        FILE.onnx`. It was not run.
    """
    return _with_all_attacks(celeba64_pretrained(), "attacks-pretrained", distillation_epochs=2)


def attacks_demo() -> Recipe:
    """All attacks on the classifiers of `demo`.

    Command: `trapmid audit --recipe attacks-demo`; `--attacks gmi kedmi` runs only these two.
    """
    return _with_all_attacks(demo(), "attacks-demo", distillation_epochs=12)


def _with_all_attacks(recipe: Recipe, name: str, distillation_epochs: int) -> Recipe:
    plgmi = next(attack for attack in recipe.attacks if isinstance(attack, PLGMI))
    about = f"Every base attack on the classifiers of {recipe.name}, on two cores."
    changes = {"name": name, "about": about, "seeds": (0,), "attacks": cpu_attacks(plgmi, distillation_epochs)}
    return recipe.model_copy(update=changes)


def cpu_attacks(plgmi: PLGMI, distillation_epochs: int) -> tuple[AnyAttack, ...]:
    """Small versions of all attacks except the wrappers, which are in `attacks_adaptive`.

    Args:
        plgmi: the attack of the recipe. `plgmi+`, `plgmi++` and `lokt` take their settings from it.
        distillation_epochs: epochs over the public images in which LOMMA's students are trained.
    """
    settings = plgmi.model_dump(exclude={"kind", "label"})
    prior = DCGAN(width=16, iterations=600, batch_size=32, discriminator_steps=2, rate=5e-4, ema=0.99, log_every=50)
    gmi = GMI(prior=prior, search_steps=150, search_rate=0.02 / 6)
    kedmi = KEDMI(
        warm_start=prior,
        prior=SemiGAN(
            width=prior.width,
            iterations=200,
            batch_size=prior.batch_size,
            discriminator_steps=prior.discriminator_steps,
            ema=prior.ema,
            log_every=prior.log_every,
            company="kept",
        ),
        search_steps=150,
        search_rate=0.05,
    )
    students = tuple(Tiny(widths=(width, 2 * width, 4 * width), strides=(2, 2, 2)) for width in (12, 16, 24))
    distillation = Distillation(epochs=distillation_epochs)
    return (
        plgmi,
        PLGMIPlus.model_validate(settings),
        PLGMIPlusPlus.model_validate(settings),
        PPDG(base=plgmi, samples=20, iterations=100, tuned="together"),
        small_diffmi(plgmi),
        gmi,
        kedmi,
        LOMMA(label="lomma-gmi", base=gmi, students=students, distillation=distillation),
        LOMMA(
            label="lomma-kedmi",
            base=kedmi.model_copy(update={"box": (-1.0, 1.0)}),
            students=students,
            distillation=distillation,
        ),
        small_lokt(plgmi, students),
        MIFace(start_noise=0.3, images_per_identity=5, search_steps=100, search_rate=0.5),
        *advanced_attacks(small_stylegan2(), prior),
        PublicNearest(),
    )


def small_diffmi(plgmi: PLGMI) -> DiffMI:
    """`diffmi` with a network of 1.7 M weights that predicts velocities, and the augmentation of a recipe's PLG-MI.

    It found nobody in an unprotected model (docs/results.md), so it shows that the attack runs, not how strong the
    published one is.
    """
    prior = Diffusion(
        networks=UNet(width=48, multiples=(1, 2), blocks=1, attention=(8,), patch=4),
        iterations=800,
        batch_size=64,
        rate=1e-3,
        ema=0.99,
        predicts="velocity",
        log_every=50,
    )
    return DiffMI(
        prior=prior.model_copy(update={"iterations": 200}),
        warm_start=prior,
        tuning_epochs=5,
        search_augmentation=plgmi.search_augmentation,
        denoise_steps=10,
    )


def small_lokt(plgmi: PLGMI, students: tuple[Tiny, ...]) -> LOKT:
    """`lokt` with the networks, the warm start and the search of a recipe's PLG-MI."""
    shared = {"networks", "iterations", "batch_size", "rate", "ema", "log_every"}
    search = {"images_per_identity", "search_augmentation", "candidates", "search_steps", "search_rate"}
    return LOKT(
        prior=TACGAN(
            discriminator=LIGHT_DISCRIMINATOR,
            discriminator_steps=2,
            class_weight=1.0,
            warm_up=0,
            **plgmi.prior.model_dump(include=shared),
        ),
        warm_start=plgmi.warm_start,
        students=students,
        samples=4_000,
        ensemble="logits",
        distillation=Distillation(epochs=4),
        **plgmi.model_dump(include=search),
    )
