"""Every defense that fits a small network, on real faces and two cores, under the same attack."""

from trapmid.audit import Recipe
from trapmid.defenses import parse_defense
from trapmid.recipes.celeba64_cpu import celeba64_cpu


def defenses_cpu() -> Recipe:
    """`celeba64-cpu` with every defense, one seed; constants as published but for the trapdoors, which have that recipe's.

    Command: `trapmid audit --recipe defenses-cpu --private PRIVATE.parquet --public PUBLIC.parquet`. docs/results.md holds the
    numbers to expect. Not among them: `tl`, which wants weights from public images (`--set model.weights=FILE`), and `rolss`, which
    wants a residual network (`--set model.kind=small-resnet judges.classifier.model.kind=tiny`).
    """
    recipe = celeba64_cpu()
    names = ("negls", "trapmid+negls", "mid", "bido", "ls", "ted", "ted+", "midre", "dpsgd")
    others = tuple(parse_defense(name, recipe.defenses) for name in names)
    return recipe.model_copy(
        update={
            "name": "defenses-cpu",
            "about": "Real faces, 64 px: every defense under PLG-MI, one seed, in about an hour and a half on two cores.",
            "defenses": (*recipe.defenses, *others),
            "seeds": (0,),
        }
    )
