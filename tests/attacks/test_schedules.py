"""No attack shows the generator or the target more images than its published schedule does; hooks count them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers_attacks import CLASSES, CPU, PER_IDENTITY, SHORT_ATTACKS, faces, prior_of, target_for, trained_classifier
from trapmid.attacks import Run
from trapmid.models import Classifier
from trapmid.priors import Features, Prior
from trapmid.priors.stylegan2 import StyleGAN
from trapmid.types import logits_of

K, R, STEPS = 3, PER_IDENTITY, 4
LAYERS = 2
PUBLISHED: dict[str, tuple[int, int]] = {
    # restarts x steps of one generated image; then the pictures that are saved, and how sure the target is of them
    "gmi": (K * R * STEPS + K * R, K * R * STEPS + K * R),
    # one search per identity, then R samples of it
    "kedmi": (K * STEPS + K * R, K * STEPS + K * R),
    # two augmentations of each generated image
    "plgmi": (K * R * STEPS + K * R, 2 * K * R * STEPS + K * R),
    "plgmi+": (K * R * STEPS + K * R, 2 * K * R * STEPS + K * R),
    "plgmi++": (K * R * STEPS + K * R, 2 * K * R * STEPS + K * R),
    # as gmi; students are asked besides, not the target
    "lomma": (K * R * STEPS + K * R, K * R * STEPS + K * R),
    # 3 starts per identity; the final selection looks 3 times at each
    "ppa": (K * 3 * STEPS + K * 3, K * 3 * STEPS + K * 3 * 3 + K * R),
    # 6 points on the sphere and the point that is moved to, R searches per identity
    "brep": (K * R * STEPS * (6 + 1) + K * R, K * R * STEPS * (6 + 1) + K * R),
    # populations of 6, then 8 children a generation; how sure the target is of the fittest
    "mirror": (K * R * (6 + 8 * STEPS) + K * R, K * R * (6 + 8 * STEPS) + K * R),
    # R styles per identity, step by step
    "mirror-whitebox": (K * R * STEPS + K * R, K * R * STEPS + K * R),
    # 3 starts per identity through all layers; features where a layer begins and the picture where the last ends are
    # further runs
    "ifgmi": (K * 3 * (STEPS + LAYERS * (STEPS + 1) + 1), K * 3 * STEPS * (1 + LAYERS) + K * 3 * 3 + K * R),
    # the search asks surrogates, the target only whom it takes the results for
    "lokt": (K * R * STEPS + K * R, K * R),
    # no generator: its pixels, step by step
    "miface": (K * R * STEPS + K * R, K * R * STEPS + K * R),
}
"""Images through the generator and through the target in a search of K identities, at the sizes of `short`."""


def short(kind: str) -> Any:
    method = SHORT_ATTACKS[kind]
    if kind == "lomma":
        base = method.base.model_copy(update={"search_steps": STEPS})
        return method.model_copy(update={"base": base})
    if kind == "ifgmi":
        ppa = method.ppa.model_copy(update={"search_steps": STEPS})
        return method.model_copy(update={"ppa": ppa, "layer_steps": (STEPS,) * LAYERS})
    steps = {{"brep": "steps", "mirror": "generations"}.get(kind, "search_steps"): STEPS}
    of_plgmi = {"candidates": R, "augmentations": 2} if kind.startswith("plgmi") or kind == "lokt" else {}
    return method.model_copy(update=steps | of_plgmi)


@contextmanager
def counted(*networks: nn.Module) -> Iterator[list[int]]:
    """How many images went through each, while inside."""
    counts = [0] * len(networks)

    def count(number: int) -> Any:
        def hook(module: nn.Module, given: Any, made: Any) -> None:
            counts[number] += len(made.picture if isinstance(made, Features) else logits_of(made))

        return hook

    handles = [network.register_forward_hook(count(number)) for number, network in enumerate(networks)]
    yield counts
    for handle in handles:
        handle.remove()


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


def searched(ready: Any) -> nn.Module:
    """The generator in what an attack prepared; an empty module where there is none."""
    match ready:
        case StyleGAN():
            return ready.synthesis
        case Prior():
            return ready.generator
        case None:
            return nn.Module()
        case _:
            return ready.gan.generator


@pytest.mark.parametrize("kind", PUBLISHED)
def test_no_more_forward_passes_than_published(kind: str, model: Classifier, tmp_path: Path) -> None:
    method = short(kind)
    target = target_for(method, model)
    run = Run(3, CPU, tmp_path, prior_of(method))
    prior = method.prepare(target, faces(8, 4, first=100), run)
    asked = target.queries
    with counted(searched(prior), model) as counts:
        method.invert(target, prior, torch.arange(K), run)
    most = PUBLISHED[kind]
    counts[0] = counts[1] if prior is None else counts[0]  # without a generator, the pictures that are shown
    assert counts[0] <= most[0]
    assert counts[1] <= most[1]
    assert counts[1] == target.queries - asked
    if kind != "brep":  # whose searches may end before
        assert counts == list(most)


def test_kedmi_asks_once_for_each_image_where_the_authors_ask_at_every_step(model: Classifier, tmp_path: Path) -> None:
    method, public = short("kedmi"), faces(8, 4, first=100)
    with counted(model) as counts:
        method.prepare(target_for(method, model), public, Run(3, CPU, tmp_path, prior_of(method)))
    published = method.prior.iterations * method.prior.discriminator_steps * method.prior.batch_size
    assert counts == [len(public)]
    assert len(public) <= published


def test_plgmi_shows_public_images_once_and_generated_ones_once_a_step(model: Classifier, tmp_path: Path) -> None:
    method, public = short("plgmi"), faces(8, 4, first=100)
    with counted(model) as counts:
        method.prepare(target_for(method, model), public, Run(3, CPU, tmp_path, prior_of(method)))
    assert counts == [len(public) + method.prior.iterations * method.prior.batch_size]
