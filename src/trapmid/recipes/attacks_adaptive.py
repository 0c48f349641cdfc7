"""The attacker who knows about the trapdoor, on two cores: a base attack and every wrapper around it, and two audits of them."""

from trapmid.attacks import PLGMI, AnyAttack, Distilled, Evading, Robust, Smoothed, Unlearned
from trapmid.audit import Recipe
from trapmid.augment import Degradation, WarpAugmentation
from trapmid.models import Tiny
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.demo import demo

STUDY = WarpAugmentation(
    crop_area=(0.7, 1.0),
    crop_probability=0.8,
    brightness=0.2,
    contrast=0.2,
    jitter_probability=0.5,
    rotation_degrees=10.0,
)
"""What surrogates learn from public images under: stronger than what classifiers here are trained with, since there are few of them."""


def adaptive(base: PLGMI) -> tuple[AnyAttack, ...]:
    """`base` by itself and inside every wrapper, with surrogates that train in minutes on one core."""
    return (
        base,
        Distilled(base=base, student=Tiny(), augmentation=STUDY, steps=800, rate=3e-3),
        Robust(base=base, student=Tiny(), augmentation=STUDY, steps=500, rate=3e-3, perturbation_steps=2),
        Smoothed(base=base, degradation=Degradation(), draws=2),
        Unlearned(base=base, augmentation=STUDY, steps=300, rate=3e-4, trigger_steps=300, trigger_step=0.02),
        Evading(base=base),
    )


def adaptive_cpu() -> Recipe:
    """`celeba64-cpu` under PLG-MI and its five wrappers, one seed.

    Command: `trapmid audit --recipe adaptive-cpu --private PRIVATE.parquet --public PUBLIC.parquet`. It was not run in full: by its
    parts some three hours on two cores, twelve attacks of which take most.
    """
    recipe = celeba64_cpu()
    return recipe.model_copy(
        update={
            "name": "adaptive-cpu",
            "about": "Real faces, 64 px: unprotected and Trap-MID under PLG-MI and the attacks that know of the trapdoor.",
            "attacks": adaptive(_plgmi(recipe)),
            "seeds": (0,),
        }
    )


def adaptive_demo() -> Recipe:
    """`demo` under PLG-MI and its five wrappers.

    Command: `trapmid audit --recipe adaptive-demo`. docs/results.md has the like on real faces.
    """
    recipe = demo()
    return recipe.model_copy(
        update={
            "name": "adaptive-demo",
            "about": "Faces drawn by code, 32 px: the demo under the attacks that know of the trapdoor.",
            "attacks": adaptive(_plgmi(recipe)),
        }
    )


def _plgmi(recipe: Recipe) -> PLGMI:
    (base,) = (attack for attack in recipe.attacks if isinstance(attack, PLGMI))
    return base
