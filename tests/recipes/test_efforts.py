"""What the efforts of an audit of a given model take: a quick one fits in ten minutes on one core."""

from importlib import import_module

import pytest
import torch
from torch import nn

from trapmid.audit import Recipe, plan
from trapmid.audit.examination import Speed
from trapmid.data import SyntheticSource
from trapmid.metrics.embedders import FaceEmbedder
from trapmid.priors import PRIORS
from trapmid.recipes.durations import GeneratorSpeed, durations, durations_of_tasks
from trapmid.recipes.given import QUICK_FULL, QUICK_PUBLIC, battery_of, left_out
from trapmid.recipes.judging import Effort
from trapmid.recipes.memory import memory
from trapmid.subjects import AccessName, hold
from trapmid.subjects.live import Live

RESNET10T = Speed(0.0024, 0.0053)
"""Seconds an image of 64 px of timm's resnet10t, measured on one core that did other work besides."""
GENERATORS = {
    "cgan": GeneratorSpeed(0.28, 0.0010),
    "dcgan": GeneratorSpeed(0.43, 0.0012),
    "stylegan2": GeneratorSpeed(0.18, 0.0026),
    "diffusion": GeneratorSpeed(0.8, 0.3),
}
"""The same of the generators."""
ACCESS: tuple[AccessName, ...] = ("white-box", "scores", "labels")


@pytest.mark.parametrize("access", ACCESS)
def test_a_quick_audit_of_fifty_identities_takes_less_than_ten_minutes(access: AccessName) -> None:
    found = durations(access, 50, 1250, RESNET10T, GENERATORS)
    assert 240 < found["quick"] < 600
    assert found["quick"] < found["standard"] < found["thorough"]
    many = durations(access, 500, 12500, RESNET10T, GENERATORS)
    assert many["quick"] == found["quick"]  # which has fifty of them
    assert many["standard"] > found["standard"]


@pytest.mark.parametrize("access", ACCESS)
def test_searches_of_a_quick_audit_take_as_long_for_many_identities_as_for_some(access: AccessName) -> None:
    def tries(identities: int) -> list[int]:
        battery = battery_of(access, "quick", identities)
        return [identities * one.effort.images_per_identity for one in battery if one.searches]

    assert all(many <= some for many, some in zip(tries(50), tries(QUICK_FULL), strict=True) if some > 50)
    assert all(many <= 50 for many, some in zip(tries(50), tries(QUICK_FULL), strict=True) if some <= 50)
    own = {one.name: one.effort.images_per_identity for one in battery_of(access, "standard", 50)}
    for one in battery_of(access, "quick", QUICK_FULL):
        assert one.effort.images_per_identity == own[one.name]
    assert all(one.effort.images_per_identity >= 1 for one in battery_of(access, "quick", 1000))
    assert left_out(access, "quick")


def test_every_generator_that_efforts_train_has_a_speed() -> None:
    kinds = {prior.kind for one in battery_of("white-box", "thorough", 50) if (prior := one.public_prior()) is not None}
    assert kinds <= set(GENERATORS) <= {prior.model_fields["kind"].default for prior in PRIORS}


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_the_tasks_of_an_audit_take_as_long_as_the_audit(effort: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("trapmid.recipes.durations"), "_speed", lambda prior, *_: GENERATORS[prior.kind])
    everybody = SyntheticSource(identities=50, images_per_identity=2)
    images = everybody.load(32, 3)
    recipe = Recipe(
        name="audit",
        about="-",
        private=everybody,
        public=everybody,
        public_images=QUICK_PUBLIC if effort == "quick" else None,
        image_size=64,
        subjects=(Live(path=hold(Wide(8)), image_size=64, label="net"),),
        access="white-box",
        attacks=battery_of("white-box", effort, 50),
        judges=(FaceEmbedder(),),
    )
    seconds = durations_of_tasks(recipe, images, RESNET10T)
    assert seconds.keys() == plan(recipe).keys()
    expected = durations("white-box", 50, len(images), RESNET10T, GENERATORS)[effort]
    assert sum(seconds.values()) == pytest.approx(expected, rel=1e-6)


class Wide(nn.Module):
    """A classifier that keeps `width` maps of 64 x 64 for a backward pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 1), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def test_memory_grows_with_what_the_model_keeps() -> None:
    import timm

    def needed(model: nn.Module, identities: int = 50) -> dict[str, int]:
        subject = Live(path=hold(model.eval()), image_size=64).open("white-box")
        return dict(memory(subject, identities, 64, 3))

    small, large = needed(Wide(8)), needed(Wide(800))
    # 100 images at once, two draws, 792 maps of 64 x 64 floats more; twice with the backward pass
    more = 2 * 100 * 2 * 792 * 64 * 64 * 4
    assert large["quick"] - small["quick"] == pytest.approx(more, rel=0.15)
    assert small["quick"] <= small["standard"] <= small["thorough"]
    few = needed(Wide(800), identities=2)  # ten searches
    assert few["quick"] - small["quick"] < 0.2 * more
    assert needed(timm.create_model("test_vit", num_classes=5, img_size=64))["quick"] < large["quick"]
