"""The scale for two CPU cores: small recipes replace the paper's networks, data and budgets.

The recipes work on given images or on faces drawn by code.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, final

from trapmid.attacks import AnyAttack
from trapmid.audit import Recipe
from trapmid.data import Source, SyntheticSource, guess_source
from trapmid.defenses import Defense
from trapmid.models import SmallResNet, Tiny
from trapmid.recipes import changed, choose_recipe
from trapmid.recipes.costs import DRAWN, SMALL_FACES, Cost
from trapmid.reproduction.experiment import Experiment, ExperimentRow, Target
from trapmid.reproduction.scale import Scale, identities_of, with_transforms
from trapmid.reproduction.variants import attack_variant, defense_variant

DIGITS = (
    "channels=1",
    "model.start=null",
    "training.batch_size=32",
    "training.epochs=38",
    "training.evaluate_every=4",
    "training.augmentation.flip_probability=0",
    "judges.classifier.training.epochs=9",
    "judges.classifier.training.augmentation.flip_probability=0",
    "attacks.plgmi.warm_start.augmentation.flip_probability=0",
    "attacks.plgmi.prior.augmentation.flip_probability=0",
    "attacks.plgmi.augmentation.flip_probability=0",
    "attacks.plgmi.search_augmentation.flip_probability=0",
)
"""Changes of the demo recipe for digits (docs/experiments/demo-data.md).

Images are grey and are not flipped. The number of epochs suits about 500 images per class.
"""

OBJECTS = (
    "model.start=null",
    "training.batch_size=32",
    "training.epochs=38",
    "training.evaluate_every=4",
    "judges.classifier.training.epochs=9",
)
"""Changes of the demo recipe for photographs of objects."""

UNTARGETED = 0.3
"""Share of the identities that BREP-MI's untargeted protocol selects: 300 of 1,000."""

NETWORKS = {
    "facenet64": SmallResNet(width=24, dropout=0.0),
    "ir152": Tiny(widths=(32, 64, 64, 128, 128), strides=(2, 1, 2, 2, 2)),
    "resnest101e": Tiny(),
    "resnet152": SmallResNet(width=24, dropout=0.0),
    "densenet169": Tiny(widths=(32, 64, 64, 128, 128), strides=(2, 1, 2, 2, 2)),
}
"""Replacements for the paper's other architectures.

They are a residual network of another width than the judge's, and a deeper stack of strided convolutions.
"""


@final
@dataclass(frozen=True)
class CPUScale(Scale):
    """`cpu`: the recipe `celeba64-cpu` on given images, or `demo` on drawn faces if no images are given."""

    name: ClassVar[str] = "cpu"
    unit: ClassVar[str] = "core"
    needs: ClassVar[str] = (
        "Give images of one folder per identity or an image Parquet file with --private, other people's with --public "
        "(both or none; without them faces are drawn), and a second public set with --ffhq."
    )

    @property
    def drawn(self) -> bool:
        """Whether the faces are drawn by code."""
        return self.images.private is None and self.images.public is None

    def recipe(self, target: Target, defense: str) -> Recipe:
        """See `Scale.recipe`. The training is the same for every defense."""
        del defense
        base = self._base(target)
        parts = [base.name] + [
            part for part in (target.data, target.network, target.public) if part not in ("faces", "main", "same")
        ]
        changes: dict[str, Any] = {"name": "-".join(parts)}
        if target.network != "main":
            changes["model"] = NETWORKS[target.network]
        if target.public != "same":
            changes["public"] = self._other(target.public)
        return with_transforms(base.model_copy(update=changes), target.augmentation)

    def _other(self, name: str) -> Source | None:
        if self.drawn and getattr(self.images, name) is None:
            return SyntheticSource(identities=2000, images_per_identity=1, seed={"ffhq": 1, "facescrub": 2}[name])
        return self.images.other(name)

    def defense(self, row: ExperimentRow) -> Defense:
        """See `Scale.defense`. Trapdoors have the constants of the recipe, all other defenses the published ones."""
        return defense_variant(row.defense, self._base(row.target).defenses)

    def attack(self, row: ExperimentRow) -> AnyAttack | None:
        """See `Scale.attack`. The settings are those of the recipes for CPUs."""
        base = self._base(row.target)
        if row.attack == "brep-untargeted":
            wanted = round(UNTARGETED * identities_of(base))
            return attack_variant(base.attack("brep"), row.attack, (f"wanted={wanted}",))
        return next((attack for attack in base.attacks if attack.name == row.attack), None)

    def _base(self, target: Target) -> Recipe:
        return _recipe_for(target.data, self.images.private, self.images.public)

    def seeds(self, experiment: Experiment) -> tuple[int, ...]:
        """See `Scale.seeds`. There are three on given images if the paper has five, and otherwise one."""
        return (0, 1, 2) if experiment.several and not self.drawn else (0,)

    def cost(self, target: Target) -> Cost:
        """See `Scale.cost`. The cost depends on the kind of images."""
        del target
        return DRAWN if self.drawn else SMALL_FACES

    def differs(self, experiment: Experiment) -> tuple[str, ...]:
        """See `Scale.differs`. The data, networks and budgets differ."""
        targets = {row.target for row in experiment.rows}
        recipe = self.recipe(next(iter(targets)), "none")
        network = (
            "a strided network of 0.25 to 0.4 M weights from scratch"
            if "main" in {t.network for t in targets}
            else "small networks from scratch"
        )
        faces = not {target.data for target in targets} & {"digits", "objects"}
        images = "drawn faces" if self.drawn and faces else "the given images"
        published = (
            ("CelebA's 1,000 identities", "VGG-16 and other pretrained ones")
            if faces
            else ("64 px", "a pretrained ResNet-18")
        )
        said = [
            f"{images} at {recipe.image_size} px instead of {published[0]}",
            (
                f"{network} instead of {published[1]}, trained for {recipe.own_training.epochs} epochs with AdamW, "
                "every defense alike"
            ),
            "trapdoors begin with strong triggers that fade, since the published constants want some 20,000 steps",
            "every defense, none included, trains with the same augmentation, and no epoch is chosen on test images",
            (
                "attacks with small generators, a fraction of the published iterations, "
                "and a warm start from a prior of the public images"
            ),
            (
                "FID counts all pictures and, without `fidelity`, is over the judge's features; "
                "KNN distances are of that judge: compare orders, not values"
            ),
        ]
        if experiment.several:
            said.append(f"{'one run' if self.drawn else 'three runs'} instead of five, unless --seeds says otherwise")
        if any(target.public != "same" for target in targets) and self.drawn:
            said.append("the other public set is another population of drawn faces: nothing shifts but who is drawn")
        if any(target.data == "portraits" for target in targets):
            said.append("no high resolution, and a StyleGAN2 that was trained on the public images in minutes")
        return tuple(said)


@cache
def _recipe_for(data: str, private: Path | None, public: Path | None) -> Recipe:
    """The recipe for CPUs with every attack. It keeps the name of the plain recipe, because the cells are the same."""
    if data in ("digits", "objects"):
        base = choose_recipe("demo").model_copy(update={"private": None, "public": None})
        given = {"private": private, "public": public}
        sources = {side: guess_source(path) for side, path in given.items() if path is not None}
        return changed(base, DIGITS if data == "digits" else OBJECTS).model_copy(update=sources)
    drawn = private is None and public is None
    plain = choose_recipe("demo" if drawn else "celeba64-cpu", private=private, public=public)
    attacks = choose_recipe("attacks-demo" if drawn else "attacks-cpu").attacks
    return plain.model_copy(update={"attacks": attacks})
