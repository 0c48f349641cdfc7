"""What the recipes for two cores choose otherwise than the papers, beside what the papers say, on the demo's faces."""

from typing import TypeVar

from trapmid.attacks import IFGMI, AnyAttack
from trapmid.audit import Recipe
from trapmid.config import Config
from trapmid.defenses import parse_defense
from trapmid.earlier import earlier_values
from trapmid.recipes.attacks_cpu import attacks_demo
from trapmid.recipes.defenses_cpu import FOR_FEW_IMAGES
from trapmid.recipes.demo import demo

ConfigT = TypeVar("ConfigT", bound=Config)

COUNTS = ("warm_up",)
"""Fields that say how long something takes. They keep the recipe's values, since its trainings are short."""


def attacks_published_demo() -> Recipe:
    """Attacks of `attacks-demo` that behave otherwise than published, in both forms, on two of its classifiers.

    Numbers of steps, of candidates and the like stay those of the recipe, so a pair differs in its behaviour alone.

    Command: `trapmid audit --recipe attacks-published-demo`. It was not run.
    """
    recipe = attacks_demo()
    return recipe.model_copy(
        update={
            "name": "attacks-published-demo",
            "about": "Faces drawn by code, 32 px: attacks as the recipes for two cores have them, and as published.",
            "defenses": recipe.defenses[:2],
            "attacks": tuple(
                form
                for attack in recipe.attacks
                if as_published(attack) != attack
                for form in (attack, _published(attack))
            ),
        }
    )


def defenses_published_demo() -> Recipe:
    """The defenses with settings of our own, each as `defenses-cpu` has it and as published, under PLG-MI.

    Command: `trapmid audit --recipe defenses-published-demo`. It was not run.
    """
    recipe = demo()
    published = tuple(
        parse_defense(one.kind).model_copy(update={"label": f"{one.name}-published"}) for one in FOR_FEW_IMAGES
    )
    return recipe.model_copy(
        update={
            "name": "defenses-published-demo",
            "about": "Faces drawn by code, 32 px: defenses as the recipes for two cores have them, and as published.",
            "defenses": (*recipe.defenses[:2], *FOR_FEW_IMAGES, *published),
        }
    )


def as_published(config: ConfigT) -> ConfigT:
    """The same config with the published value wherever a recipe may choose another behaviour, parts included."""
    parts = {name: as_published(value) for name, value in config if isinstance(value, Config)}
    choices = [name for name in earlier_values(type(config)) if name not in COUNTS]
    fields = {name: type(config).model_fields[name].default for name in choices}
    return config.model_copy(update=parts | fields)


def _published(attack: AnyAttack) -> AnyAttack:
    published = as_published(attack).model_copy(update={"label": f"{attack.name}-published"})
    if isinstance(published, IFGMI):  # its radii are relative in one form and absolute in the other
        published = published.model_copy(update={"radii": IFGMI().radii[: len(published.layer_steps)]})
    return published
