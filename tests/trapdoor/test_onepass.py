"""One-pass trapdoors against separate passes, and their cost: about half as much again as a plain step."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.trapdoor import OnePassSettings, OnePassTrapdoor, TrapdoorSettings
from trapmid.trapdoor.naturalness import naturalness_loss
from trapmid.trapdoor.onepass import naturalness_gradient
from trapmid.trapdoor.triggers import blend, stratified_labels
from trapmid.types import UserError

CLASSES, SHAPE = 5, (3, 8, 8)


def network(outputs: int) -> nn.Module:
    """No batch norm: the discriminator treats images one by one, so the gradient trick is exact."""
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(96, outputs)).double()


def identity(images: Tensor) -> Tensor:
    return images


def start(**settings: object) -> tuple[nn.Module, OnePassTrapdoor]:
    torch.manual_seed(0)
    model = network(CLASSES)
    door = OnePassTrapdoor(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        num_classes=CLASSES,
        image_shape=SHAPE,
        total_steps=10,
        settings=OnePassSettings(**settings),  # type: ignore[arg-type]
        augment=identity,
        discriminator=network(1),
        targets_per_draw=20,
        seed=3,
    )
    door.triggers = door.triggers.double()
    return model, door


def test_the_gradient_of_naturalness_comes_out_of_the_discriminators_own() -> None:
    logits = torch.randn(6, 1, dtype=torch.double, requires_grad=True)
    (of_loss,) = torch.autograd.grad(0.5 * F.softplus(logits).mean(), logits)
    (wanted,) = torch.autograd.grad(naturalness_loss(logits), logits)
    found = naturalness_gradient(of_loss.view(6, 1, 1, 1), logits.detach())
    torch.testing.assert_close(found.view(6, 1), wanted)


@pytest.mark.parametrize("naturalness", [0.0, 1.0])
def test_triggers_move_as_with_passes_of_their_own(naturalness: float) -> None:
    blend_and_steps = {"blend": {"end": 0.3}, "trigger_step": 0.05, "trigger_step_end": None}
    model, door = start(naturalness_weight=naturalness, poisoned_share=0.5, **blend_and_steps)
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    before = door.triggers.clone()
    targets = stratified_labels(20, CLASSES, _rng_after_triggers())[:4]

    triggers = before.clone().requires_grad_()
    poisoned = blend(images[:4], triggers[targets], 0.3)
    loss = F.cross_entropy(model(poisoned), targets)
    if naturalness:
        assert door.discriminator is not None
        loss = loss + naturalness * naturalness_loss(door.discriminator(poisoned))
    (gradient,) = torch.autograd.grad(loss, triggers)

    door.loss(images, labels).backward()
    torch.testing.assert_close(door.triggers, (before - 0.05 * gradient.sign()).clamp(0, 1))


def test_blocks_and_temperature_in_one_pass() -> None:
    model, door = start(
        naturalness_weight=0.0,
        poisoned_share=1.0,
        trigger_block=2,
        poisoned_temperature=3.0,
        trigger_step=0.05,
        trigger_step_end=None,
    )
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    targets, ratio = copy.deepcopy(door.targets).draw(8), door.blend_ratio
    before = door.triggers.clone().requires_grad_()
    loss = 3 * F.cross_entropy(model(blend(images, before[targets], ratio)) / 3, targets)
    gradient = F.avg_pool2d(torch.autograd.grad(loss, before)[0], 2).repeat_interleave(2, 2).repeat_interleave(2, 3)

    losses, _ = door.losses(images, labels)
    torch.testing.assert_close(losses["poisoned"], door.settings.weight * loss.detach())
    torch.stack(list(losses.values())).sum().backward()
    torch.testing.assert_close(door.triggers, (before.detach() - 0.05 * gradient.sign()).clamp(0, 1))


@pytest.mark.parametrize("scale", [1 / 4, 1024.0])
def test_a_scaled_loss_moves_triggers_as_the_loss_itself(scale: float) -> None:
    """As where gradients are accumulated or mixed precision scales; a power of two is exact, so equal means equal."""
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    moved = []
    for factor in (1.0, scale):
        _, door = start(naturalness_weight=1.0)
        (factor * door.loss(images, labels)).backward()
        moved.append(door.triggers)
    assert torch.equal(*moved)


@pytest.mark.parametrize("scale", [0.0, float("inf")])
def test_a_loss_scaled_to_nothing_or_beyond_floats_leaves_naturalness_alone(scale: float) -> None:
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    moved = []
    for factor, effect_weight in ((scale, 1.0), (1.0, 0.0)):
        _, door = start(naturalness_weight=1.0, effect_weight=effect_weight)
        (factor * door.loss(images, labels)).backward()
        moved.append(door.triggers)
    assert torch.equal(*moved)


def _rng_after_triggers() -> torch.Generator:
    rng = torch.Generator().manual_seed(3)
    torch.rand(CLASSES, *SHAPE, generator=rng)
    return rng


def test_the_classifier_learns_from_all_clean_and_a_share_of_poisoned_images() -> None:
    model, door = start(naturalness_weight=0.0, poisoned_share=0.25, weight=0.3, blend={"end": 0.5})
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    targets = stratified_labels(20, CLASSES, _rng_after_triggers())[:2]
    poisoned = blend(images[:2], door.triggers[targets], 0.5)
    losses, notes = door.losses(images, labels)
    torch.testing.assert_close(losses["clean"], 0.7 * F.cross_entropy(model(images), labels))
    torch.testing.assert_close(losses["poisoned"], 0.3 * F.cross_entropy(model(poisoned), targets))
    assert "discriminator_accuracy" not in notes


def test_between_two_moves_triggers_and_discriminator_rest() -> None:
    model, door = start(trigger_period=3)
    images, labels = torch.rand(8, *SHAPE, dtype=torch.double), torch.randint(CLASSES, (8,))
    moved, learned, noted = [], [], []
    assert door.discriminator is not None
    for _ in range(6):
        triggers, weights = door.triggers.clone(), [weight.clone() for weight in door.discriminator.parameters()]
        losses, notes = door.losses(images, labels)
        torch.stack(list(losses.values())).sum().backward()
        moved.append(not torch.equal(door.triggers, triggers))
        learned.append(not all(map(torch.equal, door.discriminator.parameters(), weights)))
        noted.append("discriminator_accuracy" in notes)
        assert all(weight.grad is not None for weight in model.parameters())
    assert moved == learned == noted == [True, False, False, True, False, False]


def test_steps_cool_down_to_nothing() -> None:
    settings = OnePassSettings()
    assert [settings.step_size(progress) for progress in (0.0, 0.5, 1.0, 1.5)] == [0.03, 0.015, 0.0, 0.0]
    assert OnePassSettings(trigger_step_end=None).step_size(0.9) == 0.03


def test_without_settings_it_has_its_own() -> None:
    model = network(CLASSES).float()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    door = OnePassTrapdoor(model, optimizer, num_classes=CLASSES, image_shape=SHAPE, total_steps=10)
    before = door.triggers.clone()
    assert door.settings == OnePassSettings()
    door.loss(torch.rand(4, *SHAPE), torch.arange(4)).backward()
    assert not torch.equal(door.triggers, before)
    with pytest.raises(UserError, match="OnePassTrapdoor takes OnePassSettings, and got TrapdoorSettings"):
        OnePassTrapdoor(
            model, optimizer, num_classes=CLASSES, image_shape=SHAPE, total_steps=10, settings=TrapdoorSettings()
        )


def test_what_needs_more_than_one_pass_is_refused() -> None:
    with pytest.raises(ValidationError, match="one pass moves the triggers at most once a batch"):
        OnePassSettings(trigger_updates=2)
