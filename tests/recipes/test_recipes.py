"""Recipes: complete, frozen, changeable by name; the paper's has the paper's constants and takes its first steps."""

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from trapmid.attacks import ATTACKS, IFGMI, PPA
from trapmid.attacks.wrapping import Wrapper
from trapmid.audit import Recipe, plan
from trapmid.audit.run import settle
from trapmid.augment import KorniaAugmentation
from trapmid.data import FlatFolderSource, SplitConfig, SyntheticSource, split
from trapmid.data.folder import FolderSource
from trapmid.defenses import BiDO, NegLS, OnePass, Stacked, TrapMID, train
from trapmid.engine import Compute, read_log
from trapmid.models import VGG16, SmallResNet
from trapmid.priors import CGAN
from trapmid.recipes import RECIPES, choose_recipe, extend
from trapmid.recipes.attacks_advanced import advanced_attacks, small_stylegan2
from trapmid.recipes.published import as_published
from trapmid.types import UserError


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_equal_to_its_json(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert {"none", "trapmid"} <= {defense.kind for defense in recipe.defenses}


def test_the_papers_constants():
    recipe = choose_recipe("celeba64_vgg16")
    training, defense, attack = recipe.training, recipe.defense("trapmid"), recipe.attack("plgmi")
    assert (training.epochs, training.batch_size, training.schedule) == (50, 64, "constant")
    assert (training.optimizer.rate, training.optimizer.momentum, training.optimizer.weight_decay) == (0.01, 0.9, 1e-4)
    assert training.augmentation == KorniaAugmentation(
        crop_area=(0.8, 1.0), crop_probability=0.5, flip_probability=0.5, rotation_degrees=30, rotation_probability=0.5
    )
    assert defense == TrapMID()
    assert (defense.blend.at(0.0), defense.blend.at(1.0), defense.weight, defense.trigger_step) == (
        0.02,
        0.02,
        0.2,
        0.01,
    )
    assert (attack.top_n, attack.inversion_weight, attack.search_steps, attack.search_rate) == (30, 0.2, 600, 0.1)
    assert (attack.prior.iterations, attack.prior.discriminator_steps, attack.prior.rate) == (30_000, 5, 2e-4)
    assert (attack.prior.networks.kind, attack.prior.networks.width, attack.prior.betas) == (
        "sn-resnet",
        64,
        (0.0, 0.9),
    )
    assert attack.candidates == attack.images_per_identity == 5
    assert recipe.priors() == {}


def test_all_attacks_at_the_size_of_two_cores():
    """It has the demo's attack unchanged, its informed variants, and every attack that wraps or combines no others."""
    recipe, own = choose_recipe("attacks-demo"), choose_recipe("demo")
    bases = {kind.model_fields["kind"].default for kind in ATTACKS if not (issubclass(kind, Wrapper) or kind.combines)}
    assert {attack.kind for attack in recipe.attacks} == bases
    assert (recipe.model, recipe.training, recipe.judges) == (own.model, own.training, own.judges)
    assert (recipe.defenses, recipe.attack("plgmi")) == (own.defenses, own.attack("plgmi"))
    settings = own.attack("plgmi").model_dump(exclude={"kind"})
    for kind in ("plgmi+", "plgmi++"):
        assert settings.items() <= recipe.attack(kind).model_dump().items()
    assert {prior.kind for prior in recipe.priors().values()} == {"cgan", "dcgan", "diffusion", "stylegan2"}
    assert len(recipe.priors()) == 4
    attacked = {(task.member, task.defense) for task in plan(recipe) if task.kind == "attack"}
    assert ("plgmi++", "trapmid") in attacked
    assert ("plgmi++", "none") not in attacked
    assert {name for name, defense in attacked if defense == "none"} == {a.name for a in recipe.attacks} - {"plgmi++"}


@pytest.mark.slow
def test_the_papers_recipe_takes_its_first_steps(tmp_path):
    private = split(SyntheticSource(identities=4, images_per_identity=6).load(64), SplitConfig(val=0.17, test=0.17))
    recipe = choose_recipe("celeba64_vgg16")
    training = recipe.training.model_copy(update={"epochs": 1, "batch_size": 8})
    train(
        tmp_path / "model",
        private,
        model=VGG16(),
        defense=recipe.defense("trapmid"),
        training=training,
        compute=Compute("cpu"),
    )
    (row,) = read_log(tmp_path / "model" / "log.jsonl")
    assert 0 < row["loss_clean"] < 0.8 * 3 * torch.tensor(4.0).log()
    assert 0 < row["loss_poisoned"] < 0.2 * 5 * torch.tensor(4.0).log()
    assert row["blend_ratio"] == 0.02


def test_choosing_and_changing():
    recipe = choose_recipe(
        "demo", seeds=(1, 2), defenses=("trapmid",), changes=("training.epochs=3", "defenses.trapmid.blend.end=0.01")
    )
    assert recipe.seeds == (1, 2)
    assert [defense.kind for defense in recipe.defenses] == ["trapmid"]
    assert recipe.training.epochs == 3
    assert recipe.defense("trapmid").blend.end == 0.01


def test_any_defense_joins_any_recipe_and_stacks_are_named():
    recipe = choose_recipe(
        "demo",
        defenses=("none", "bido", "trapmid+negls"),
        also="ted+",
        changes=("defenses.trapmid+negls.parts.negls.images=clean", "defenses.bido.sigma=4"),
    )
    assert [defense.name for defense in recipe.defenses] == ["none", "bido", "trapmid+negls", "ted+"]
    tuned = choose_recipe("demo").defense("trapmid")
    assert recipe.defense("trapmid+negls") == Stacked(parts=(tuned, NegLS(images="clean")))
    assert recipe.defense("bido") == BiDO(sigma=4)
    assert extend(recipe, also="bido") == recipe
    assert {task.defense for task in plan(recipe) if task.kind == "train"} == {d.name for d in recipe.defenses}


def test_members_of_one_kind_stand_side_by_side_under_their_labels():
    recipe = choose_recipe("demo")
    faint = recipe.defense("trapmid").model_copy(update={"label": "trapmid-faint"})
    values = recipe.model_dump(mode="json")
    values["defenses"].append(faint.model_dump(mode="json"))
    both = Recipe.model_validate(values)
    assert [defense.name for defense in both.defenses] == ["none", "trapmid", "onepass+negls", "trapmid-faint"]
    trained = {task.defense for task in plan(both) if task.kind == "train"}
    assert trained == {"none", "trapmid", "onepass+negls", "trapmid-faint"}
    values["defenses"][-1]["label"] = ""
    with pytest.raises(ValidationError, match="each name may appear once"):
        Recipe.model_validate(values)
    values["defenses"][-1]["label"] = "../elsewhere"
    with pytest.raises(ValidationError, match="label"):
        Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("attack", "defense", "twice"),
    [
        ("plgmi-weak", "trapmid", "plgmi-weak-trapmid"),
        ("model", "trapmid", "model-none"),
        ("detection", "trapmid", "detection-none"),
    ],
)
def test_measurements_with_one_folder_are_refused(attack, defense, twice):
    values = choose_recipe("demo").model_dump(mode="json")
    values["attacks"].append({"kind": "plgmi", "label": attack})
    values["defenses"].append({"kind": "onepass", "label": f"weak-{defense}"})
    with pytest.raises(ValidationError, match=f"two measurements would be called {twice}"):
        Recipe.model_validate(values)


def test_images_of_nobody_in_particular_are_public_only(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "00000.png")
    recipe = choose_recipe("celeba64-cpu", public=tmp_path, changes=("public.crop=88",))
    assert recipe.public == FlatFolderSource(path=tmp_path, crop=88)
    with pytest.raises(UserError, match=r"does not name identities.*IDENTITY/\*\.jpg"):
        choose_recipe("celeba64-cpu", private=tmp_path)


def test_a_folder_of_numbered_folders_can_be_said_to_name_nobody(tmp_path):
    for number in ("01", "02"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "a.png").touch()
    assert choose_recipe("celeba64-cpu", public=tmp_path).public == FolderSource(path=tmp_path)
    recipe = choose_recipe("celeba64-cpu", public=tmp_path, changes=("public.kind=flat-folder",))
    assert recipe.public == FlatFolderSource(path=tmp_path)


def test_another_kind_keeps_what_both_have_and_takes_its_own_defaults_for_the_rest():
    changes = (
        "model.kind=small-resnet",
        "model.width=16",
        "defenses.trapmid.kind=onepass",
        "judges.classifier.model.kind=tiny",
    )
    recipe = choose_recipe("celeba64-cpu", defenses=("none", "trapmid"), changes=changes)
    assert recipe.model == SmallResNet(width=16)
    before, now = choose_recipe("celeba64-cpu").defense("trapmid"), recipe.defenses[1]
    assert isinstance(now, OnePass)
    assert now.poisoned_share == OnePass().poisoned_share
    assert before.model_dump(exclude={"kind"}).items() <= now.model_dump().items()
    with pytest.raises(UserError, match=r"there is no 'widths'\. Did you mean 'width'\? Expected one of .*width"):
        choose_recipe("celeba64-cpu", changes=("model.kind=small-resnet", "model.widths=[8]"))
    with pytest.raises(UserError, match=r"private.*path"):
        choose_recipe("demo", changes=("private.kind=parquet",))


def test_a_wrapper_goes_by_its_kind_and_its_bases_name():
    recipe = choose_recipe(
        "adaptive-demo", changes=("attacks.smoothed-plgmi.draws=7", "attacks.evading-plgmi.base.top_n=3")
    )
    assert recipe.attack("smoothed-plgmi").draws == 7
    assert recipe.attack("evading-plgmi").base.top_n == 3
    assert len(recipe.priors()) == 1  # every wrapper starts from its base's
    assert {attack.name for attack in choose_recipe("adaptive-cpu").attacks} == {
        attack.name for attack in recipe.attacks
    }
    with pytest.raises(
        UserError, match=r"not in the list\. Did you mean 'distilled-plgmi'\? It has plgmi, distilled-plgmi"
    ):
        choose_recipe("adaptive-demo", changes=("attacks.distilled.steps=7",))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("nope", {}, "not a recipe. Expected one of demo"),
        ("demo", {"defenses": ("nope",)}, "'nope' is not a defense.* Expected one of none, trapmid"),
        ("demo", {"also": "nope"}, "'nope' is not a defense.* Expected one of none, trapmid"),
        ("demo", {"changes": ("training.epochs",)}, "has no '='"),
        (
            "demo",
            {"changes": ("training.epoch=3",)},
            "there is no 'epoch'. Did you mean 'epochs'. Expected one of epochs",
        ),
        ("demo", {"changes": ("training.epochs=many",)}, "training.epochs"),
        ("demo", {"changes": ("attacks.nope.top_n=3",)}, "not in the list. It has plgmi"),
    ],
)
def test_mistakes_are_told(name, options, told):
    with pytest.raises(UserError, match=told):
        choose_recipe(name, **options)


def test_advanced_attacks_fit_into_a_recipe():
    style = small_stylegan2()
    recipe = choose_recipe("demo").model_copy(update={"attacks": advanced_attacks(style, CGAN(iterations=5))})
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert [attack.name for attack in recipe.attacks] == ["ppa", "ifgmi", "mirror", "mirror-whitebox", "brep"]
    assert len(recipe.priors()) == 2


def test_a_judge_of_the_targets_architecture_is_refused_before_anything_is_trained(tmp_path):
    recipe = choose_recipe("celeba64-cpu", changes=("model.kind=small-resnet",))
    said = (
        r"judge classifier has the target's architecture \(small-resnet\).*--set judges\.classifier\.model\.kind=tiny"
    )
    with pytest.raises(UserError, match=said):
        settle(recipe, tmp_path)
    assert not list(tmp_path.iterdir())
    settle(
        choose_recipe("celeba64-cpu", changes=("model.kind=small-resnet", "judges.classifier.model.kind=tiny")),
        tmp_path,
    )


def test_published_behaviours_stand_beside_those_for_two_cores():
    recipe = choose_recipe("attacks-published-demo")
    ours, published = recipe.attacks[::2], recipe.attacks[1::2]
    for one, other in zip(ours, published, strict=True):
        assert other.name == f"{one.name}-published"
        assert as_published(one) != one
        assert other.effort.images_per_identity == one.effort.images_per_identity or one.kind == "ifgmi"
    ifgmi = next(attack for attack in published if attack.kind == "ifgmi")
    assert (ifgmi.balls, ifgmi.radii, ifgmi.picture, ifgmi.ppa.cutoff) == (
        IFGMI().balls,
        IFGMI().radii[:3],
        IFGMI().picture,
        PPA().cutoff,
    )
    defenses = {one.name: one for one in choose_recipe("defenses-published-demo").defenses}
    assert {"bido", "bido-published", "mid", "mid-published", "midre", "midre-published"} < set(defenses)
    assert defenses["bido-published"].sampler == BiDO().sampler != defenses["bido"].sampler
