"""Recipes with attackers who know about the trapdoor, for two cores: a base attack, alone and inside every wrapper."""

from trapmid.attacks import PLGMI, WRK, Aligned, AnyAttack, Distilled, Evading, Robust, Smoothed, Unlearned
from trapmid.audit import Recipe
from trapmid.augment import Degradation, WarpAugmentation
from trapmid.models import Tiny
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.celeba64_pretrained import celeba64_pretrained
from trapmid.recipes.demo import demo

STUDY = WarpAugmentation(
    crop_area=(0.7, 1.0),
    crop_probability=0.8,
    brightness=0.2,
    contrast=0.2,
    jitter_probability=0.5,
    rotation_degrees=10.0,
)
"""The augmentation for training surrogates; stronger than for classifiers, since there are few public images."""

SCRATCH = Tiny()
"""A student that starts from random weights."""


def adaptive(base: PLGMI, student: Tiny = SCRATCH) -> tuple[AnyAttack, ...]:
    """`base` alone and inside every wrapper, with surrogates that train in minutes on one core.

    Args:
        base: the attack that is wrapped.
        student: the network of the distilled and of the robust copy.
    """
    return (
        base,
        Distilled(base=base, student=student, augmentation=STUDY, steps=800, rate=3e-3),
        Robust(base=base, student=student, augmentation=STUDY, steps=500, rate=3e-3, perturbation_steps=2),
        Smoothed(base=base, degradation=Degradation(), draws=2),
        Unlearned(base=base, augmentation=STUDY, steps=300, rate=3e-4, trigger_steps=300, trigger_step=0.02),
        WRK(base=base, share=0.2, rate=1e-2),
        Evading(base=base),
        Aligned(base=base, neighbours=4),
    )


def adaptive_cpu() -> Recipe:
    """`celeba64-cpu` under PLG-MI and its seven wrappers, one seed.

    Command: `trapmid audit --recipe adaptive-cpu --private PRIVATE.parquet --public PUBLIC.parquet`. It was not run in
        full. The measured times of its parts add up to about three hours on two cores, most of it for the attacks
        of the first five wrappers; those of `wrk` and `aligned` were not measured.
    """
    recipe = celeba64_cpu()
    return recipe.model_copy(
        update={
            "name": "adaptive-cpu",
            "about": (
                "Real faces, 64 px: unprotected and Trap-MID under PLG-MI and the attacks that know of the trapdoor."
            ),
            "attacks": adaptive(_plgmi(recipe)),
            "seeds": (0,),
        }
    )


def adaptive_pretrained() -> Recipe:
    """`celeba64-pretrained` under PLG-MI and its seven wrappers, one seed. Students start as the target does.

    Command: `trapmid audit --recipe adaptive-pretrained --private PRIVATE.parquet --public PUBLIC.parquet --teacher
        FILE.onnx`. It was not run.
    """
    recipe = celeba64_pretrained()
    assert isinstance(recipe.model, Tiny)
    return recipe.model_copy(
        update={
            "name": "adaptive-pretrained",
            "about": "Real faces, 64 px: pretrained networks under PLG-MI and the attacks that know of the trapdoor.",
            "attacks": adaptive(_plgmi(recipe), recipe.model),
            "seeds": (0,),
        }
    )


def adaptive_demo() -> Recipe:
    """`demo` under PLG-MI and its seven wrappers. Students start as the target does.

    Command: `trapmid audit --recipe adaptive-demo`. docs/results.md has results of the same attacks on real faces.
    """
    recipe = demo()
    assert isinstance(recipe.model, Tiny)
    return recipe.model_copy(
        update={
            "name": "adaptive-demo",
            "about": "Faces drawn by code, 32 px: the demo under the attacks that know of the trapdoor.",
            "attacks": adaptive(_plgmi(recipe), recipe.model),
        }
    )


def _plgmi(recipe: Recipe) -> PLGMI:
    (base,) = (attack for attack in recipe.attacks if isinstance(attack, PLGMI))
    return base
