"""Recipes of earlier versions do what they did, under the names that they had."""

import pytest

from helpers.configs import configs, instance
from trapmid.config import Config
from trapmid.defenses import BiDO, TrapMID
from trapmid.earlier import EARLIER, earlier_values
from trapmid.manifests import recorded
from trapmid.models import FaceNet64
from trapmid.priors import CGAN, SNResNet
from trapmid.recipes import RECIPES, Recipe

OF_NOW = sorted(
    (kind for kind in configs() if earlier_values(kind)), key=lambda kind: kind.__name__
)  # as in every worker


def test_the_table_names_classes_and_fields_that_exist() -> None:
    known = {base.__name__: base for kind in configs() for base in kind.__mro__}
    for name, values in EARLIER.items():
        assert name in known, name
        assert set(values) <= set(known[name].model_fields), name


@pytest.mark.parametrize("kind", OF_NOW, ids=lambda kind: kind.__name__)
def test_what_a_stored_config_lacks_is_as_it_was(kind: type[Config]) -> None:
    before = earlier_values(kind)
    today = instance(kind)
    stored = {name: value for name, value in today.model_dump(mode="json").items() if name not in before}
    then = kind.from_file(stored)
    dumped = then.model_dump(mode="json")
    assert {name: dumped[name] for name in before} == before
    # its fingerprint and its record are those of the version that had no such fields
    assert not before.keys() & then.canonical().keys()
    assert not before.keys() & recorded(then).keys()
    # while today's defaults are stated in full, and are read back as they are
    assert kind.from_file(today.model_dump(mode="json")) == today
    assert (today == then) == (today.canonical() == then.canonical())


def test_python_and_the_command_line_get_todays_defaults() -> None:
    assert BiDO.model_validate({}).sampler == "chunked"
    assert BiDO.from_file({}).sampler == "anew"


@pytest.mark.parametrize("name", RECIPES)
def test_a_stored_recipe_is_completed_all_the_way_down(name: str) -> None:
    recipe = RECIPES[name]()
    assert Recipe.from_file(recipe.canonical()) == recipe
    assert ("flip" in recipe.canonical()["training"]) == (name == "celeba64_vgg16")  # two cores keep what they did


def test_nested_configs_are_left_out_of_fingerprints_one_by_one() -> None:
    old = CGAN(networks=SNResNet(start="xavier"), verdicts="together")
    assert "start" not in old.canonical()["networks"]
    assert "verdicts" not in old.canonical()
    assert CGAN().canonical()["networks"]["start"] == "published"
    assert old.fingerprint() != CGAN().fingerprint()
    assert recorded(TrapMID(discriminator=FaceNet64(convolutions="torch")))["discriminator"].keys() == {
        "weights",
        "kind",
    }
