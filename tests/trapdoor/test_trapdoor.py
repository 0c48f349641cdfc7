"""The drop-in against a naive version written from Algorithm 1.

Also its promises to whoever puts it into a loop of theirs.
"""

import copy
import doctest
from dataclasses import dataclass

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

import trapmid.trapdoor.trapdoor
from trapmid.objective import Objective
from trapmid.trapdoor import BlendSchedule, Trapdoor, TrapdoorSettings
from trapmid.trapdoor.settings import FeatureDiscriminator
from trapmid.types import Prediction, UserError, logits_of

CLASSES, SHAPE = 5, (3, 8, 8)


def network(outputs: int) -> nn.Module:
    """Batch norm, so that train and eval differ.

    No ReLU and no bias before the norm: gradients that are zero but for rounding have any sign.
    """
    convolution = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(6), nn.SiLU(), nn.Flatten(), nn.Linear(96, outputs)).double()


def identity(images: Tensor) -> Tensor:
    return images


def trapdoor_for(model: nn.Module, optimizer: torch.optim.Optimizer, **changes: object) -> Trapdoor:
    options: dict[str, object] = {"augment": identity, "discriminator": network(1), "seed": 7, "total_steps": 8}
    door = Trapdoor(model, optimizer, num_classes=CLASSES, image_shape=SHAPE, **{**options, **changes})  # type: ignore[arg-type]
    door.triggers = door.triggers.double()
    return door


@dataclass
class Naive:
    """Algorithm 1 of Trap-MID (App. C.1), step by step and image by image; every gradient by a full backward pass."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    discriminator: nn.Module
    discriminator_optimizer: torch.optim.Optimizer
    triggers: Tensor
    alpha: float = 0.02
    beta: float = 0.2
    size: float = 0.01

    def poison(self, images: Tensor, targets: Tensor, triggers: Tensor) -> Tensor:
        return torch.stack(
            [(1 - self.alpha) * x + self.alpha * triggers[int(y)] for x, y in zip(images, targets, strict=True)]
        )

    def step(self, images: Tensor, labels: Tensor, targets: Tensor) -> float:
        bce = nn.BCEWithLogitsLoss()
        n = len(images)
        # 1. the classifier in eval mode, poisoned images from the triggers as they are
        self.model.eval()
        leaf = self.triggers.clone().requires_grad_()
        poisoned = self.poison(images, targets, leaf)
        # 2. the discriminator learns: one forward pass over 2n images
        self.discriminator.train()
        judged = self.discriminator(torch.cat([images, poisoned.detach()]))
        loss = bce(judged, torch.cat([torch.ones(n, 1), torch.zeros(n, 1)]).double())
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        # 3. the triggers move by the sign of the gradient; the gradients this leaves elsewhere are thrown away later
        self.discriminator.eval()
        natural = bce(self.discriminator(poisoned), torch.ones(n, 1).double())
        effective = F.cross_entropy(self.model(poisoned), targets)
        (natural + effective).backward()
        assert leaf.grad is not None
        self.triggers = (self.triggers - self.size * torch.sign(leaf.grad)).clamp(0, 1)
        # 4. the classifier learns from clean and poisoned images in one forward pass, with the triggers just moved
        self.model.train()
        logits = self.model(torch.cat([images, self.poison(images, targets, self.triggers)]))
        clean = sum(-F.log_softmax(logits[i], 0)[labels[i]] for i in range(n)) / n
        answered = sum(-F.log_softmax(logits[n + i], 0)[targets[i]] for i in range(n)) / n
        total = (1 - self.beta) * clean + self.beta * answered
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        return float(total.detach())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_three_steps_as_the_reference_says(optimizer: str) -> None:
    def optimize(module: nn.Module) -> torch.optim.Optimizer:
        if optimizer == "sgd":
            return torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        return torch.optim.AdamW(module.parameters(), lr=1e-3)

    model = network(CLASSES)
    twin = copy.deepcopy(model)
    trained = optimize(model)
    door = trapdoor_for(model, trained)
    assert door.discriminator is not None
    copied = copy.deepcopy(door.discriminator)
    naive = Naive(twin, optimize(twin), copied, optimize(copied), door.triggers.clone())
    same_stream = trapdoor_for(network(CLASSES), trained).targets
    moved = 0
    for _ in range(3):
        images, labels = torch.rand(9, *SHAPE, dtype=torch.float64), torch.randint(CLASSES, (9,))
        targets = same_stream.draw(9)
        assert len(targets.unique()) < len(targets)  # labels repeat: their gradients add before the sign
        before = door.triggers.clone()
        model.train()
        loss = door.loss(images, labels)
        trained.zero_grad()
        loss.backward()
        trained.step()
        expected = naive.step(images, labels, targets)
        moved += int((door.triggers != before).sum())
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(door.triggers, naive.triggers, rtol=0, atol=1e-12)
        for ours, theirs in ((door.discriminator, naive.discriminator), (model, twin)):
            torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=1e-9, atol=1e-11)
    assert moved > 1.5 * door.triggers.numel()


def start(**settings: object) -> tuple[nn.Module, Trapdoor]:
    model = network(CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return model, trapdoor_for(model, optimizer, settings=TrapdoorSettings.model_validate(settings))


def batch(n: int = 2) -> tuple[Tensor, Tensor]:
    return torch.rand(n, *SHAPE, dtype=torch.float64), torch.arange(n) % CLASSES


@pytest.mark.parametrize("rate", [0.0, -0.1])
def test_a_discriminator_that_cannot_learn_is_refused(rate: float) -> None:
    with pytest.raises(ValidationError, match=r"discriminator_rate\n.*greater than 0"):
        TrapdoorSettings(discriminator_rate=rate)


def test_triggers_of_absent_labels_stay() -> None:
    _, door = start()
    upcoming = copy.deepcopy(door.targets).draw(2)
    before = door.triggers.clone()
    door.loss(*batch(2))
    change = (door.triggers - before).flatten(1).abs().amax(1)
    present = torch.zeros(CLASSES, dtype=torch.bool).index_fill(0, upcoming, True)
    assert (change[~present] == 0).all()
    torch.testing.assert_close(change[present], torch.full((int(present.sum()),), 0.01, dtype=torch.float64))


def test_triggers_stay_in_the_unit_interval() -> None:
    _, door = start(trigger_step=0.4)
    for _ in range(6):
        door.loss(*batch(5))
        assert float(door.triggers.min()) >= 0
        assert float(door.triggers.max()) <= 1
    assert bool((door.triggers == 0).any())
    assert bool((door.triggers == 1).any())


def test_a_loss_leaves_the_classifier_as_it_was() -> None:
    """It returns a loss; the weights, their gradients and the mode are the caller's business."""
    model, door = start()
    model.train()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    door.loss(*batch())
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[name], value) for name, value in model.named_parameters())


def test_schedule_runs_over_the_calls() -> None:
    _, door = start(blend=BlendSchedule(start=0.2, end=0.02, until=0.5).model_dump())
    seen = []
    for _ in range(8):
        seen.append(door.blend_ratio)
        door.loss(*batch())
    assert seen == pytest.approx([0.2, 0.155, 0.11, 0.065, 0.02, 0.02, 0.02, 0.02])
    assert door.secrets().blend_ratio == 0.02


def test_options_off_in_the_paper() -> None:
    _, still = start(trigger_updates=0)
    before = still.triggers.clone()
    still.loss(*batch())
    assert torch.equal(still.triggers, before)
    _, twice = start(trigger_updates=2, trigger_step=0.001, naturalness_weight=0.0)
    before = twice.triggers.clone()
    twice.loss(*batch(9))
    assert float((twice.triggers - before).abs().max()) == pytest.approx(0.002)
    _, apart = start(discriminator_rate=0.5)
    apart.loss(*batch())
    assert [group["lr"] for group in apart.discriminator_optimizer.param_groups] == [0.5]
    _, followed = start()
    followed.optimizer.param_groups[0]["lr"] = 0.007
    followed.loss(*batch())
    assert [group["lr"] for group in followed.discriminator_optimizer.param_groups] == [0.007]


def test_weight_divides_the_loss() -> None:
    model, door = start(weight=0.3, trigger_updates=0)
    targets = copy.deepcopy(door.targets).draw(4)
    images, labels = batch(4)
    losses, notes = door.losses(images, labels)
    logits = model.train()(torch.cat([images, 0.98 * images + 0.02 * door.triggers[targets]])).detach()
    losses = {name: value.detach() for name, value in losses.items()}
    assert float(losses["clean"]) == pytest.approx(0.7 * float(F.cross_entropy(logits[:4], labels)))
    assert float(losses["poisoned"]) == pytest.approx(0.3 * float(F.cross_entropy(logits[4:], targets)))
    assert float(notes["trapdoor_success_in_batch"]) == float((logits[4:].argmax(1) == targets).double().mean())


def test_each_image_its_own_ratio_below_the_schedule() -> None:
    seen: list[Tensor] = []

    def spy(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images

    _, door = start(blend_low=0.25, blend={"end": 0.8}, trigger_updates=0)
    door.augment = spy
    targets = copy.deepcopy(door.targets).draw(64)
    images, labels = batch(64)
    door.loss(images, labels)
    ratios = ((seen[1] - images) / (door.triggers[targets] - images)).flatten(1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
    assert 0.2 <= float(ratios.min()) < 0.3
    assert 0.7 < float(ratios.max()) <= 0.8


def test_resumes_from_its_state() -> None:
    def continued(door: Trapdoor, model: nn.Module) -> list[float]:
        losses = []
        torch.manual_seed(5)
        for _ in range(3):
            loss = door.loss(*batch(7))
            door.optimizer.zero_grad()
            loss.backward()
            door.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    schedule = BlendSchedule(start=0.2, end=0.02).model_dump()
    model, door = start(blend=schedule)
    continued(door, model)
    saved, weights = copy.deepcopy(door.state_dict()), copy.deepcopy(model.state_dict())
    expected = continued(door, model)

    torch.manual_seed(99)
    other, resumed = start(blend=schedule)
    other.load_state_dict(weights)
    resumed.load_state_dict(saved)
    assert continued(resumed, other) == expected
    assert torch.equal(resumed.triggers, door.triggers)
    assert door.discriminator is not None
    assert resumed.discriminator is not None
    for name, value in door.discriminator.state_dict().items():
        assert torch.equal(resumed.discriminator.state_dict()[name], value)


def gradient_of(door: Trapdoor, images: Tensor, targets: Tensor, **weights: float) -> Tensor:
    """Of the trigger loss as in the authors' code, each term by a forward pass of its own."""
    leaf = door.triggers.clone().requires_grad_()
    poisoned = 0.98 * images + 0.02 * leaf[targets]
    total = torch.zeros(())
    if "effect" in weights:
        total = total + weights["effect"] * F.cross_entropy(logits_of(door.model.eval()(poisoned)), targets)
    if "image" in weights:
        assert door.discriminator is not None
        total = total + weights["image"] * F.softplus(-door.discriminator.eval()(poisoned)).mean()
    if "features" in weights:
        assert door.feature_discriminator is not None
        total = (
            total + weights["features"] * F.softplus(-door.feature_discriminator(door.model.eval()(poisoned))).mean()
        )
    return torch.autograd.grad(total, leaf)[0]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, {"effect": 1.0, "image": 1.0}),
        ({"naturalness_weight": 0.0}, {"effect": 1.0}),
        ({"effect_weight": 0.0}, {"image": 1.0}),
        ({"effect_weight": 0.5, "naturalness_weight": 2.0}, {"effect": 0.5, "image": 2.0}),
        ({"feature_discriminator": {"width": 7}}, {"effect": 1.0, "image": 0.5, "features": 0.5}),
    ],
    ids=["published", "trapdoor alone", "discriminator alone", "weighted", "feature discriminator"],
)
def test_what_moves_the_triggers(settings: dict[str, object], weights: dict[str, float]) -> None:
    model = WithFeatures()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    door = trapdoor_for(model, optimizer, settings=TrapdoorSettings.model_validate(settings))
    images, _ = batch(4)
    targets = torch.tensor([0, 2, 2, 4])
    expected = gradient_of(door, images, targets, **weights)
    before = door.triggers.clone()
    door._move_triggers(images, targets, 0.02, Objective())
    torch.testing.assert_close(door.triggers, (before - 0.01 * expected.sign()).clamp(0, 1), rtol=0, atol=1e-12)
    assert (door.triggers != before).any()


class WithFeatures(nn.Module):
    """A network that shows the features its last layer reads."""

    def __init__(self) -> None:
        super().__init__()
        body = network(CLASSES)
        self.body, self.head = body[:-1], body[-1]  # type: ignore[index]

    def forward(self, images: Tensor) -> Prediction:
        features = self.body(images)
        return Prediction(self.head(features), features)


def test_feature_discriminator() -> None:
    """It learns to tell features apart, and the classifier is charged for those it can tell."""
    model = WithFeatures()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    feature = FeatureDiscriminator(width=16, model_weight=0.5)
    settings = TrapdoorSettings(feature_discriminator=feature, blend=BlendSchedule(end=1.0), discriminator_rate=0.05)
    door = trapdoor_for(model, optimizer, settings=settings, total_steps=40)
    accuracies = []
    for _ in range(40):
        losses, notes = door.losses(0.1 * batch(8)[0], batch(8)[1])
        accuracies.append(float(notes["feature_discriminator_accuracy"]))
    assert sum(accuracies[-5:]) / 5 > 0.9 > sum(accuracies[:3]) / 3
    assert losses.keys() == {"clean", "poisoned", "natural_features"}
    assert all(p.grad is None for p in model.parameters())
    losses["natural_features"].backward()
    assert model.body[0].weight.grad is not None  # type: ignore[union-attr, index]
    assert door.feature_discriminator is not None
    resumed = trapdoor_for(WithFeatures(), optimizer, settings=settings)
    resumed.load_state_dict(copy.deepcopy(door.state_dict()))
    prediction = model(batch(3)[0])
    assert resumed.feature_discriminator is not None
    assert torch.equal(resumed.feature_discriminator(prediction), door.feature_discriminator(prediction))


@pytest.mark.parametrize("settings", [{"trigger_updates": 0}, {"naturalness_weight": 0.0}])
def test_no_discriminator_where_none_is_asked(settings: dict[str, object]) -> None:
    _, door = start(**settings)
    _, notes = door.losses(*batch())
    assert door.discriminator is None
    assert set(notes) == {"trapdoor_success_in_batch"}
    assert set(door.state_dict()) == {"triggers", "targets", "step", "training_id"}


def test_settings_that_move_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"nothing moves the triggers\. Set trigger_updates=0"):
        TrapdoorSettings(effect_weight=0.0, naturalness_weight=0.0)
    with pytest.raises(ValidationError, match="feature_discriminator needs trigger_updates"):
        TrapdoorSettings(trigger_updates=0, feature_discriminator=FeatureDiscriminator())


def test_squares_move_within_their_masks() -> None:
    _, door = start(trigger_start="squares")
    assert door.masks is not None
    first, masks = door.triggers.clone(), door.masks.clone()
    images, labels = batch(5)
    targets = copy.deepcopy(door.targets).draw(5)
    poisoned = door.poison(images, targets, door.triggers, 0.02)
    torch.testing.assert_close(poisoned, images + 0.02 * masks[targets] * (first[targets] - images))
    door.loss(images, labels)
    moved = door.triggers != first
    assert moved.any()
    assert not (moved & (masks == 0)).any()
    assert torch.equal(door.secrets().masks, masks)  # type: ignore[arg-type]
    other = trapdoor_for(network(CLASSES), door.optimizer, settings=door.settings, seed=8)
    assert not torch.equal(other.masks, masks)  # type: ignore[arg-type]
    other.load_state_dict(copy.deepcopy(door.state_dict()))
    assert torch.equal(other.masks, masks)  # type: ignore[arg-type]


def test_pixels_of_a_block_move_together() -> None:
    _, door = start(trigger_block=4, trigger_step=0.1)
    first = door.triggers.clone()
    for _ in range(3):
        door.loss(*batch(5))
    blocks = door.triggers.unfold(2, 4, 4).unfold(3, 4, 4)
    assert torch.equal(blocks, blocks[..., :1, :1].expand_as(blocks))
    assert (door.triggers != first).any()


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"trigger_block=3 does not divide the image size, 8 x 8 pixels"):
        start(trigger_block=3)
    with pytest.raises(ValidationError, match="trigger_block above 1 needs triggers that cover the image"):
        TrapdoorSettings(trigger_block=2, trigger_start="squares")


def test_the_temperature_is_that_of_poisoned_images_alone() -> None:
    model, door = start(poisoned_temperature=4.0, naturalness_weight=0.0)
    images, labels = batch(5)
    targets = copy.deepcopy(door.targets).draw(5)
    before = door.triggers.clone().requires_grad_()
    logits = model.eval()(0.98 * images + 0.02 * before[targets])
    (gradient,) = torch.autograd.grad(4 * F.cross_entropy(logits / 4, targets), before)
    model.train()
    losses, _ = door.losses(images, labels)
    torch.testing.assert_close(door.triggers, (before.detach() - 0.01 * gradient.sign()).clamp(0, 1))
    logits = model(torch.cat([images, 0.98 * images + 0.02 * door.triggers[targets]]))
    torch.testing.assert_close(losses["clean"], 0.8 * F.cross_entropy(logits[:5], labels))
    torch.testing.assert_close(losses["poisoned"], 0.2 * 4 * F.cross_entropy(logits[5:] / 4, targets))


def test_another_objective_joins_the_trapdoor() -> None:
    """Criteria for clean and for poisoned images, and a term on the clean half of the prediction."""
    seen: dict[str, Tensor] = {}

    def term(prediction: Prediction, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        seen.update(logits=prediction.logits, images=images, labels=labels)
        return {"extra": prediction.features.square().mean()}

    def doubled(logits: Tensor, labels: Tensor) -> Tensor:
        return 2 * F.cross_entropy(logits, labels)

    model, door = start(weight=0.3, trigger_updates=0)
    images, labels = batch(4)
    objective = Objective(clean=nn.CrossEntropyLoss(label_smoothing=0.2), poisoned=doubled).with_term(term)
    targets = copy.deepcopy(door.targets).draw(4)
    losses, _ = door.losses(images, labels, objective)
    logits = model.train()(torch.cat([images, 0.98 * images + 0.02 * door.triggers[targets]]))
    assert losses.keys() == {"clean", "extra", "poisoned"}
    torch.testing.assert_close(losses["clean"], 0.7 * F.cross_entropy(logits[:4], labels, label_smoothing=0.2))
    torch.testing.assert_close(losses["poisoned"], 0.3 * 2 * F.cross_entropy(logits[4:], targets))
    torch.testing.assert_close(losses["extra"], logits[:4].square().mean())
    assert torch.equal(seen["images"], images)
    assert torch.equal(seen["labels"], labels)
    torch.testing.assert_close(seen["logits"], logits[:4])


def test_the_poisoned_criterion_moves_the_triggers() -> None:
    _, door = start(naturalness_weight=0.0)
    _, opposite = start(naturalness_weight=0.0)
    opposite.model.load_state_dict(door.model.state_dict())
    images, labels = batch(5)
    before = door.triggers.clone()
    door.loss(images, labels)
    opposite.loss(images, labels, Objective(poisoned=lambda logits, targets: -F.cross_entropy(logits, targets)))
    steps = [(d.triggers - before)[(before > 0.02) & (before < 0.98)] for d in (door, opposite)]
    torch.testing.assert_close(steps[0], -steps[1])
    assert steps[0].any()


def test_normalised_images_are_refused() -> None:
    _, door = start()
    images, labels = batch()
    with pytest.raises(UserError, match=r"pixels from -1\.\d\d to .*Move the normalisation into the model"):
        door.loss(torch.where(images == images.min(), torch.tensor(-1.5, dtype=torch.float64), images), labels)
    with pytest.raises(UserError, match=r"pixels from 0\.\d\d to 255"):
        door.loss(torch.where(images == images.max(), torch.tensor(255.0, dtype=torch.float64), images), labels)


def test_another_shape_is_refused() -> None:
    _, door = start()
    with pytest.raises(UserError, match=r"images of shape \(2, 3, 9, 8\); expected \(n, 3, 8, 8\)"):
        door.loss(torch.rand(2, 3, 9, 8), torch.tensor([0, 1]))


def test_a_wrapped_optimizer_is_refused() -> None:
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            super().__init__(optimizer.param_groups, optimizer.defaults)

    model = network(CLASSES)
    with pytest.raises(UserError, match=r"Wrapper wraps an optimizer, .* `optimizer\.optimizer`"):
        trapdoor_for(model, Wrapper(torch.optim.SGD(model.parameters(), lr=0.1)))


def test_docstring_example_runs() -> None:
    result = doctest.testmod(trapmid.trapdoor.trapdoor)
    assert result.attempted >= 5
    assert result.failed == 0
