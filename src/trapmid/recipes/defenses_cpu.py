"""All defenses that work with a small network, on real faces under the same attack, for two cores."""

from trapmid.audit import Recipe
from trapmid.defenses import MID, MIDRE, BiDO, Defense, parse_defense
from trapmid.recipes.celeba64_cpu import celeba64_cpu

FOR_FEW_IMAGES: tuple[Defense, ...] = (
    MID(features="drawn"),
    BiDO(sampler="anew"),
    MIDRE(area=(0.1, 0.4), fill="training"),
)
"""Defenses with settings other than the published ones.

The published sampler of BiDO leaves out a sixth of 57 times 27 images, and the published squares of MIDRE cover up to four
fifths of a face, where a recipe of a few thousand steps has no images to spare.
"""


def defenses_cpu() -> Recipe:
    """`celeba64-cpu` with all defenses and one seed.

    Trapdoors have the settings of that recipe, MID, BiDO and MIDRE those of `FOR_FEW_IMAGES`, and all other defenses
    have the published settings.

    Command: `trapmid audit --recipe defenses-cpu --private PRIVATE.parquet --public PUBLIC.parquet`. docs/results.md
        has the expected results. Two defenses are left out: `tl` needs weights that were trained on public images
        (`--set model.weights=FILE`), and `rolss` needs a residual network (`--set model.kind=small-resnet
        judges.classifier.model.kind=tiny`).
    """
    recipe = celeba64_cpu()
    names = ("negls", "trapmid+negls", "mid", "bido", "ls", "ted", "ted+", "midre", "atat", "loft", "dpsgd")
    others = tuple(parse_defense(name, (*recipe.defenses, *FOR_FEW_IMAGES)) for name in names)
    return recipe.model_copy(
        update={
            "name": "defenses-cpu",
            "about": "Real faces, 64 px: every defense under PLG-MI, one seed, in about an hour and a half on two cores.",
            "defenses": (*recipe.defenses, *others),
            "seeds": (0,),
        }
    )
