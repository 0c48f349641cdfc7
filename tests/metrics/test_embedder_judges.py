"""Judges of images that are no faces: a timm network with local weights, which recognises by the nearest centroid."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.faces import CPU
from helpers.patterns import patterns
from trapmid.data import ImageSet, Split, SplitConfig, split
from trapmid.engine import generator
from trapmid.manifests import recorded, sha256
from trapmid.metrics.embedders import CentroidJudge, ImageEmbedder
from trapmid.metrics.judges import check_independent
from trapmid.recipes.judging import parse_judge, suitable_judges
from trapmid.subjects.network import Resized
from trapmid.types import UserError

PARTS = SplitConfig(val=0.1, test=0.1)


@pytest.fixture(scope="module")
def private() -> Split:
    return split(patterns(5, 6), SplitConfig(val=0.2, test=0.3))


def weights_of(name: str, file: Path, classes: int = 1000) -> Path:
    import timm

    torch.manual_seed(0)
    save_file(timm.create_model(name, num_classes=classes).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ImageEmbedder:
    file = weights_of("test_vit", tmp_path_factory.mktemp("judge") / "vit.safetensors")
    judge = parse_judge("timm:test_vit", file)
    assert judge is not None
    return judge


def test_held_out_patterns_are_recognised_and_blank_squares_are_not(config: ImageEmbedder, private: Split) -> None:
    judge = config.appoint(Path(), private, seed=0, compute=CPU)
    test = private.part("test")
    assert judge.name == "image-embedder"
    assert judge.teacher == f"sha256:{sha256(config.weights)}"
    assert judge.recognises(test) == 1
    opinion = judge.opinion(test.pixels)
    torch.testing.assert_close(opinion.features.norm(dim=1), torch.ones(len(test)))
    assert opinion.scores.shape == (len(test), 5)
    wrong = replace(test, labels=(test.labels + 1) % 5)
    assert judge.recognises(wrong) == 0


def test_images_are_resized_and_normalised_as_timm_says(config: ImageEmbedder) -> None:
    embedder = config.embedder(CPU)
    seen: list[torch.Tensor] = []
    embedder.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    grey = embedder(torch.full((2, 1, 32, 32), 0.75))
    assert grey.shape == (2, embedder.network.num_features)
    torch.testing.assert_close(seen[0], torch.full((2, 3, 160, 160), 0.5))  # mean and deviation of test_vit are 0.5


def test_a_recipe_names_the_weights_by_their_content(config: ImageEmbedder, tmp_path: Path) -> None:
    moved = config.model_copy(update={"weights": tmp_path / "moved.safetensors"})
    moved.weights.write_bytes(config.weights.read_bytes())
    assert recorded(moved) == recorded(config)
    assert recorded(config)["weights"] == f"sha256:{sha256(config.weights)}"


def test_a_network_that_cannot_judge_is_refused(config: ImageEmbedder, private: Split, tmp_path: Path) -> None:
    import timm

    def refused(network: str, weights: Path, told: str) -> None:
        with pytest.raises(UserError, match=told):
            ImageEmbedder(network=network, weights=weights).embedder(CPU)

    refused("test_vit3", config.weights, "holds the weights of another network")
    refused("test_vit9", config.weights, r"timm:test_vit9 is not a timm model\. Did you mean .*test_")
    refused("test_vit.r160_in2k", config.weights, r"timm:test_vit\.r160_in2k is not a timm model")
    refused("test_vit", tmp_path / "none", "cannot be read")
    broken = timm.create_model("test_vit", num_classes=0).state_dict()
    broken["norm.weight"].fill_(torch.nan)
    save_file(broken, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match="NaN or infinity"):
        ImageEmbedder(network="test_vit", weights=tmp_path / "nan.safetensors").appoint(
            Path(), private, seed=0, compute=CPU
        )


def test_a_target_that_may_have_begun_as_the_judge_is_refused(config: ImageEmbedder, private: Split) -> None:
    import timm

    judge = CentroidJudge(config, private.part("train"), CPU)
    tuned: nn.Module = timm.create_model("test_vit", num_classes=7)
    with pytest.raises(UserError, match=r"The judge image-embedder has the target's architecture.*--judge another"):
        check_independent(judge, Resized(tuned, (3, 160, 160), 32, 3), None)
    check_independent(judge, timm.create_model("test_vit3", num_classes=7), None)
    with pytest.raises(UserError, match="has the target's architecture"):
        suitable_judges(private.images, PARTS, "quick", config, [tuned])


def shuffled(images: ImageSet) -> ImageSet:
    """The same images under random names: nobody can recognise them."""
    return replace(images, labels=images.labels[torch.randperm(len(images), generator=generator(1, "shuffled"))])


def test_who_judges_follows_from_who_recognises(config: ImageEmbedder) -> None:
    told: list[str] = []
    few = patterns(5, 3)  # one image of each to know it by, and one held out
    assert config in suitable_judges(few, PARTS, "quick", config, (), told.append)
    assert not [text for text in told if "timm:test_vit" in text]
    with pytest.raises(UserError, match=r"Nobody can judge this audit\..*at least 10 training images.*there are 1\."):
        suitable_judges(shuffled(few), PARTS, "quick")
    with pytest.raises(UserError, match=r"timm:test_vit recognises \d+.% of the held-out private images and does"):
        suitable_judges(shuffled(few), PARTS, "quick", config)
    (judge,) = suitable_judges(shuffled(patterns(3, 14)), PARTS, "quick", config, (), told.append)
    assert judge.kind == "classifier"
    assert told[-1].startswith("timm:test_vit recognises")


@pytest.mark.parametrize(
    ("judge", "weights", "told"),
    [
        (None, Path("w"), "name its network with --judge"),
        ("resnet50", Path("w"), "expected timm:NAME"),
        ("timm:resnet50", None, "needs --judge-weights FILE"),
    ],
)
def test_what_the_command_line_has_to_say(judge: str | None, weights: Path | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_judge(judge, weights)
    assert parse_judge(None, None) is None
