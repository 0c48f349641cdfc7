"""Anonymous triggers: the measure against loops over classes and images, and the steps that it changes."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.settings import context_for
from trapmid.defenses import TrapMID
from trapmid.models.tiny import Tiny
from trapmid.objective import Objective
from trapmid.trapdoor import OnePassTrapdoor, Planter, Trapdoor
from trapmid.trapdoor.anonymity import ENOUGH, Anonymity

CLASSES, SHAPE = 4, (3, 8, 8)


def embedder(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.SiLU(), nn.Flatten(), nn.Linear(45, 6)).double()


def batches(count: int, classes: int = CLASSES) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(5)
    return [(torch.rand(7, *SHAPE, dtype=torch.float64), torch.randint(classes, (7,))) for _ in range(count)]


def planter(kind: type[Planter], embedding: nn.Module | None = None, **settings: object) -> Planter:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, CLASSES)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return kind(
        model,
        optimizer,
        num_classes=CLASSES,
        image_shape=SHAPE,
        total_steps=40,
        settings=type(kind.defaults).model_validate(settings),
        augment=nn.Identity(),
        embedder=embedding,
    )


def likeness_of(door: Planter, measure: Anonymity) -> float:
    """The mean likeness of the triggers to their people, blended into the mean image."""
    hosts = measure.mean_image.expand(CLASSES, *SHAPE)
    everybody = torch.arange(CLASSES)
    return float(measure.likeness(door.poison(hosts, everybody, door.triggers, door.blend_ratio), everybody).mean())


def train(door: Planter, steps: int) -> None:
    for images, labels in batches(steps):
        loss = door.loss(images, labels)
        door.optimizer.zero_grad()
        loss.backward()
        door.optimizer.step()


def test_likeness_is_the_cosine_of_centred_embeddings() -> None:
    network = embedder()
    measure = Anonymity(copy.deepcopy(network), CLASSES, SHAPE)
    known: list[list[Tensor]] = [[] for _ in range(CLASSES)]
    pixels = []
    for images, labels in batches(5, CLASSES - 1):  # the last class has no image yet
        measure.observe(images, labels)
        for image, label in zip(images, labels, strict=True):
            output = network(image[None])[0].detach()
            known[int(label)].append(output / output.norm())
            pixels.append(image)
    everybody = torch.stack([one for person in known for one in person]).mean(0)
    shown = torch.rand(CLASSES, *SHAPE, dtype=torch.float64)
    found = measure.likeness(shown, torch.arange(CLASSES))
    for label in range(CLASSES - 1):
        output = network(shown[label : label + 1])[0]
        expected = F.cosine_similarity(
            output / output.norm() - everybody, torch.stack(known[label]).mean(0) - everybody, dim=0
        )
        torch.testing.assert_close(found[label], expected, rtol=1e-10, atol=1e-12)
    assert found[-1] == 0
    torch.testing.assert_close(measure.mean_image, torch.stack(pixels).mean(0), rtol=1e-12, atol=1e-12)


def test_enough_images_are_enough() -> None:
    measure = Anonymity(embedder(), CLASSES, SHAPE)
    for images, _ in batches(ENOUGH):
        assert int(measure.counts.min()) < ENOUGH
        measure.observe(images[:CLASSES], torch.arange(CLASSES))
    before = copy.deepcopy(measure.state_dict())
    measure.observe(*batches(1)[0])
    assert measure.counts.tolist() == [ENOUGH] * CLASSES
    torch.testing.assert_close(dict(measure.state_dict()), dict(before), rtol=0, atol=0)


def test_a_step_adds_both_gradients_at_the_same_size() -> None:
    door = planter(Trapdoor, embedder(), anonymity_weight=0.7, blend={"end": 0.3}, naturalness_weight=0.0)
    assert isinstance(door, Trapdoor)
    assert door.anonymity is not None
    images, labels = batches(1)[0]
    door.anonymity.observe(images, labels)
    targets = torch.tensor([0, 2, 2, 0, 2, 0, 2])
    leaf = door.triggers.clone().requires_grad_()
    effect = F.cross_entropy(door.model.eval()(0.7 * images + 0.3 * leaf[targets]), targets)
    (gradient,) = torch.autograd.grad(effect, leaf)
    for label in (0, 2):
        own = door.triggers[label].clone().requires_grad_()
        shown = (0.7 * door.anonymity.mean_image + 0.3 * own)[None]
        (away,) = torch.autograd.grad(door.anonymity.likeness(shown, torch.tensor([label])).sum(), own)
        gradient[label] += 0.7 * away * gradient[label].abs().mean() / away.abs().mean()
    before = door.triggers.clone()
    door._move_triggers(images, targets, 0.3, Objective())
    torch.testing.assert_close(door.triggers, (before - 0.01 * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-12)
    assert torch.equal(door.triggers[[1, 3]], before[[1, 3]])  # triggers of absent labels stay


@pytest.mark.parametrize("kind", [Trapdoor, OnePassTrapdoor])
def test_triggers_resemble_their_people_less(kind: type[Planter]) -> None:
    constants = {"blend": {"end": 0.5}, "trigger_step": 0.02, "trigger_step_end": None}
    found = {}
    for weight in (0.0, 4.0):
        door = planter(kind, embedder(), anonymity_weight=weight, **constants)
        measure = door.anonymity or Anonymity(embedder(), CLASSES, SHAPE)
        train(door, 40)
        if door.anonymity is None:
            for images, labels in batches(40):
                measure.observe(images, labels)
        found[weight] = likeness_of(door, measure)
    assert found[4.0] < found[0.0] - 0.2, found


def test_the_embedder_is_a_frozen_copy_of_the_classifier_by_default() -> None:
    door = planter(Trapdoor, anonymity_weight=1.0)
    assert door.anonymity is not None
    before = copy.deepcopy(door.anonymity.embedder.state_dict())
    torch.testing.assert_close(dict(door.model.state_dict()), dict(before), rtol=0, atol=0)
    train(door, 3)
    torch.testing.assert_close(dict(door.anonymity.embedder.state_dict()), dict(before), rtol=0, atol=0)
    assert not door.anonymity.embedder.training
    assert not torch.equal(door.model.state_dict()["3.weight"], before["3.weight"])


@pytest.mark.parametrize("kind", [Trapdoor, OnePassTrapdoor])
def test_a_resumed_training_has_the_embedder_of_its_start(kind: type[Planter]) -> None:
    whole, first = (planter(kind, anonymity_weight=1.0) for _ in range(2))
    train(whole, 3)
    train(first, 3)
    second = planter(kind, anonymity_weight=1.0)
    assert second.anonymity is not None
    nn.init.normal_(second.anonymity.embedder[0].weight)  # type: ignore[index]
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(whole, 2)
    train(second, 2)
    assert torch.equal(whole.triggers, second.triggers)


def test_without_the_term_there_is_no_embedder_and_the_state_is_as_before() -> None:
    door = planter(Trapdoor)
    assert door.anonymity is None
    assert "anonymity" not in door.state_dict()


@pytest.mark.parametrize(("pretrained", "warned"), [(False, True), (True, False)])
def test_random_features_bring_a_warning(pretrained: bool, warned: bool, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    defense = TrapMID(anonymity_weight=1.0)
    context = replace(context_for(defense), architecture=Tiny(weights=weights if pretrained else None))
    found = defense.findings(context, {"trapdoor_success": 1.0})
    assert any("pretrained start" in warning for warning in found.warnings) == warned


def test_triggers_that_do_not_move_cannot_become_anonymous() -> None:
    with pytest.raises(ValidationError, match="anonymity_weight needs trigger_updates above 0"):
        TrapMID(anonymity_weight=1.0, trigger_updates=0)
