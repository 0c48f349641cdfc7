"""All defenses that work with a small network, on real faces under the same attack, for two cores."""

from trapmid.audit import Recipe
from trapmid.defenses import MID, MIDRE, BiDO, Defense, parse_defense
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.celeba64_pretrained import celeba64_pretrained

FOR_FEW_IMAGES: tuple[Defense, ...] = (
    MID(features="drawn"),
    BiDO(sampler="anew"),
    MIDRE(area=(0.1, 0.4), fill="training"),
)
"""Defenses with settings other than the published ones.

The published sampler of BiDO leaves out a sixth of 57 times 27 images, and the published squares of MIDRE cover up to
four fifths of a face, where a recipe of a few thousand steps has no images to spare.
"""


def defenses_cpu() -> Recipe:
    """`celeba64-cpu` with all defenses and one seed.

    Trapdoors have the settings of that recipe, MID, BiDO and MIDRE those of `FOR_FEW_IMAGES`, and all other defenses
    have the published settings.

    Command: `trapmid audit --recipe defenses-cpu --private PRIVATE.parquet --public PUBLIC.parquet`.
        docs/experiments/from-scratch.md has the expected results. Two defenses are left out: `tl` needs weights that
        were trained on public images (`--set model.weights=FILE`), and `rolss` needs a residual network (`--set
        model.kind=small-resnet judges.classifier.model.kind=tiny`).
    """
    return _with_defenses(celeba64_cpu(), "defenses-cpu", _KINDS)


def defenses_pretrained() -> Recipe:
    """`celeba64-pretrained` with all defenses and one seed. `tl` takes part, since there are weights to freeze.

    Command: `trapmid audit --recipe defenses-pretrained --private PRIVATE.parquet --public PUBLIC.parquet --teacher
        FILE.onnx`. It was not run. `rolss` is left out, because it needs a residual network.
    """
    return _with_defenses(celeba64_pretrained(), "defenses-pretrained", (*_KINDS, "tl"))


_KINDS = ("negls", "trapmid+negls", "mid", "bido", "ls", "ted", "ted+", "midre", "atat", "loft", "dpsgd")


def _with_defenses(recipe: Recipe, name: str, kinds: tuple[str, ...]) -> Recipe:
    others = tuple(parse_defense(kind, (*recipe.defenses, *FOR_FEW_IMAGES)) for kind in kinds)
    return recipe.model_copy(
        update={
            "name": name,
            "about": f"Real faces, 64 px: every defense under PLG-MI, with the networks of {recipe.name}, one seed.",
            "defenses": (*recipe.defenses, *others),
            "seeds": (0,),
        }
    )
