"""Diff-MI against its steps written out: the loss, fine-tuning, the search and what follows it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from helpers_attacks import (
    CLASSES,
    CPU,
    PER_IDENTITY,
    SIZE,
    TINY_ATTACKS,
    faces,
    prior_of,
    target_of,
    trained_classifier,
)
from trapmid.attacks import DiffMI, Run
from trapmid.attacks.diffmi_likeness import Likeness
from trapmid.attacks.diffmi_search import Norms, Reconstruction
from trapmid.attacks.diffmi_tuning import Epoch, Tuning
from trapmid.attacks.search import max_margin
from trapmid.augment import NoAugmentation
from trapmid.data.images import to_unit
from trapmid.engine import generator, randomness
from trapmid.priors import Diffusion, DiffusionPrior
from trapmid.types import Prediction, UserError

TINY = TINY_ATTACKS["diffmi"]
assert isinstance(TINY, DiffMI)
EVERYONE = torch.arange(CLASSES)


@pytest.fixture(scope="module")
def target() -> Any:
    return target_of(trained_classifier(faces(CLASSES, 10)))


def untrained(config: Diffusion = TINY.prior) -> DiffusionPrior:
    with randomness(0, "untrained"):
        network = config.networks.build(CLASSES, SIZE, 3)
        for weight in network.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.05)
    return DiffusionPrior(network, config, CLASSES, (3, SIZE, SIZE))


def plain_likeness(target: Any) -> Likeness:
    """Without a random draw."""
    features = target.predict(faces(8, 4, first=100).images()).features
    rows = torch.arange(4 * CLASSES).view(CLASSES, 4)
    return replace(Likeness.of(features, rows, 2, 0.5), deviations=torch.zeros(CLASSES, features.shape[1]))


def reconstruction(**changes: Any) -> Reconstruction:
    few: dict[str, Any] = {
        "kind": "diffmi",
        "images_per_identity": PER_IDENTITY,
        "rounds": 2,
        "rate": 0.1,
        "augmentations": 1,
        "clipping": 1.25,
        "denoise_from": 0.2,
        "denoise_steps": 3,
        "radius": 0.5,
        "perturbation_step": 0.1,
        "perturbation_steps": 10,
        "chunk": 3,
    }
    return Reconstruction(**few | changes)


def test_constants() -> None:
    method = DiffMI()
    assert (method.top_n, method.others, method.feature_images, method.augmentations) == (30, 20, 50, 4)
    assert (method.tuning_rate, method.tuning_batch, method.tuning_epochs, method.tuned_enough) == (2e-4, 4, 100, 0.99)
    assert (method.search_rounds, method.search_rate, method.clipping, method.denoise_steps) == (30, 1.0, 1.25, 100)
    assert (method.radius, method.perturbation_step, method.perturbation_steps) == (0.5, 0.1, 10)


def test_the_margin_is_over_the_mean_of_the_best_others() -> None:
    logits, labels = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 5.0, -1.0, 7.0]]), torch.tensor([1, 3])
    torch.testing.assert_close(max_margin(logits, labels, 2), torch.tensor([3.5 - 1, 2.5 - 7]))
    torch.testing.assert_close(max_margin(logits, labels), torch.tensor([4.0 - 1, 5.0 - 7]))
    torch.testing.assert_close(max_margin(logits, labels, 20), torch.tensor([3.0 - 1, 4 / 3 - 7]))


def test_the_loss_is_the_margin_and_the_distance_to_drawn_features() -> None:
    torch.manual_seed(0)
    features, rows = torch.randn(9, 5), torch.tensor([[0, 4, 7], [2, 2, 8]])
    loss = Likeness.of(features, rows, others=1, feature_weight=0.3)
    seen, labels = Prediction(torch.randn(4, 2), torch.randn(4, 5)), torch.tensor([1, 0, 0, 1])
    with randomness(0, "draw"):
        found = loss(seen, labels)
    with randomness(0, "draw"):
        noise = torch.randn(4, 5)
    for row, label in enumerate(labels.tolist()):
        of_class = features[rows[label]]
        spread = ((of_class - of_class.mean(0)) ** 2).mean(0).sqrt()
        distance = ((seen.features[row] - of_class.mean(0) - spread * noise[row]) ** 2).mean()
        margin = seen.logits[row, 1 - label] - seen.logits[row, label]
        torch.testing.assert_close(found[row], margin + 0.3 * distance)


def test_only_label_embeddings_and_the_middle_are_tuned(target: Any, tmp_path: Path) -> None:
    prior, loss = untrained(), plain_likeness(target)
    tuned = Tuning("diffmi", 1, CLASSES, 1e-2, 1.1).run(prior, target, loss, Run(0, CPU, tmp_path))
    before, after = prior.generator.state_dict(), tuned.generator.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"label", "middle"}


def test_a_step_of_the_tuning_is_one_of_adamw_on_generated_images(target: Any, tmp_path: Path) -> None:
    prior, loss = untrained(), plain_likeness(target)
    tuned = Tuning("diffmi", 1, CLASSES, 1e-2, 1.1).run(prior, target, loss, Run(0, CPU, tmp_path))
    written = prior.copy()
    network = written.generator.requires_grad_(False)
    parts = [*network.label.parameters(), *network.middle.parameters()]
    for weight in parts:
        weight.requires_grad_()
    descent = torch.optim.AdamW(parts, 1e-2)
    with randomness(0, "diffmi fine-tuning", "step", 0, 0):
        labels = torch.randperm(CLASSES, generator=generator(0, "diffmi", "order", 0))
        images = written.decode(torch.randn(CLASSES, written.latent_size), labels)
        loss(target.predict(images), labels).mean().backward()
    descent.step()
    for name, weight in written.generator.state_dict().items():
        torch.testing.assert_close(tuned.generator.state_dict()[name], weight, msg=name)


def test_the_tuning_ends_when_enough_is_recognised(target: Any, tmp_path: Path) -> None:
    run, loss = Run(0, CPU, tmp_path), plain_likeness(target)
    before = target.queries
    Tuning("diffmi", 5, 2, 1e-3, 0.0).run(untrained(), target, loss, run)
    assert target.queries - before == CLASSES
    assert 0 <= run.notes()["recognised"] <= 1


def test_an_epoch_is_counted_over_its_batches() -> None:
    epoch = Epoch()
    epoch.count(torch.tensor([True, False]), last=False)
    assert float(epoch.recognised) == -1
    epoch.count(torch.tensor([True, True]), last=True)
    epoch.count(torch.tensor([False]), last=False)
    assert float(epoch.recognised) == 0.75


def test_norms_are_limited_to_the_mean_of_earlier_rounds() -> None:
    norms = Norms(2)
    first = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    norms.limit(first, 1.25)
    assert first.tolist() == [[3, 4], [0, 1]]
    second = torch.tensor([[6.0, 8.0], [0.0, 0.5]])
    norms.limit(second, 1.25)
    torch.testing.assert_close(second.norm(dim=1), torch.tensor([6.25, 0.5]))
    torch.testing.assert_close(norms.mean, torch.tensor([5.625, 0.75]))


def test_a_round_steps_by_the_prior_and_then_by_the_target(target: Any, tmp_path: Path) -> None:
    """Both steps are Adamax's; the first round is at the last time step."""
    prior, loss, plan = untrained(), plain_likeness(target), reconstruction(rounds=1, chunk=100)
    start, labels = torch.randn(CLASSES, prior.latent_size), EVERYONE
    augment = NoAugmentation().build(SIZE)
    found = plan.descend(start, target, prior, loss, augment, labels, Run(0, CPU, tmp_path))
    pixels = start.clone().requires_grad_()
    descent = torch.optim.Adamax([pixels], 0.1)
    times, signal = torch.full((CLASSES,), prior.steps - 1), prior.schedule.signal[-1].float()
    with randomness(0, "diffmi search", "step", 0, 0):
        images = pixels.view(-1, 3, SIZE, SIZE)
        noise = torch.randn_like(images)
        predicted = prior.noise(signal * images + (1 - signal**2).sqrt() * noise, times, labels)
        F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3)).sum().backward()
    descent.step()
    descent.zero_grad()
    loss(target.predict(((pixels.view_as(images) + 1) / 2).clamp(0, 1)), labels).sum().backward()
    descent.step()
    torch.testing.assert_close(found, pixels.detach(), atol=1e-4, rtol=1e-4)


def test_the_noise_falls_from_round_to_round() -> None:
    times = [reconstruction(rounds=30).time(number, 1000) for number in range(30)]
    assert times[0] == 999
    assert times[-1] == 33
    assert times == sorted(times, reverse=True)


def test_the_last_change_stays_within_its_radius_and_helps(target: Any) -> None:
    images = faces(CLASSES, 1, first=50).images()
    labels = (target.labels(images) + 1) % CLASSES
    moved = reconstruction(radius=0.25).perturbed(images, labels, target)
    lengths = (moved - images).flatten(1).norm(dim=1)
    assert float(lengths.max()) <= 0.25 + 1e-5
    assert float(lengths.min()) > 0.1
    before, after = (target.scores(one).gather(1, labels[:, None]) for one in (images, moved))
    assert bool((after > before).all())
    one = reconstruction(perturbation_steps=1).perturbed(images, labels, target)
    inside = images.clone().requires_grad_()
    F.cross_entropy(target.predict(inside).logits, labels, reduction="sum").backward()
    assert inside.grad is not None
    direction = inside.grad / inside.grad.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(one, (images - 0.1 * direction).clamp(0, 1))


def test_without_noise_and_with_a_perfect_predictor_pictures_stay(target: Any) -> None:
    prior = untrained()
    images = 2 * faces(2, 1).images() - 1
    labels = torch.tensor([0, 1])
    prior.noise = (  # type: ignore[method-assign]
        lambda noisy, times, y: (
            (noisy - float(prior.schedule.signal[times[0]]) * images) / float(prior.schedule.spread[times[0]])
        )
    )
    torch.testing.assert_close(reconstruction().denoised(images, labels, prior), images, atol=1e-4, rtol=0)


def test_memory_limits_the_images_at_once(target: Any, tmp_path: Path) -> None:
    few = replace(CPU, max_memory=10)
    with pytest.raises(UserError, match="is too little"):
        reconstruction().descend(
            torch.randn(4, 3 * SIZE * SIZE),
            target,
            untrained(),
            plain_likeness(target),
            NoAugmentation().build(SIZE),
            EVERYONE,
            Run(0, few, tmp_path),
        )


def test_refuses_a_start_that_is_no_diffusion_model(target: Any, tmp_path: Path) -> None:
    other = prior_of(TINY_ATTACKS["plgmi"].model_copy(update={"warm_start": TINY_ATTACKS["plgmi"].prior}))
    with pytest.raises(UserError, match="diffmi starts from a diffusion model; it was given GAN"):
        TINY.prepare(target, faces(8, 4, first=100), Run(0, CPU, tmp_path, other))


def test_pictures_are_those_of_the_target_and_queries_are_counted(target: Any, tmp_path: Path) -> None:
    before, public = target.queries, faces(8, 4, first=100)
    short = TINY.model_copy(
        update={
            "prior": TINY.prior.model_copy(update={"iterations": 2}),
            "warm_start": None,
            "tuning_epochs": 1,
            "search_rounds": 3,
        }
    )
    run = Run(0, CPU, tmp_path)
    found = short.invert(target, short.prepare(target, public, run), EVERYONE[:2], run)
    pictures = 2 * PER_IDENTITY
    shown = len(public) + CLASSES + pictures * (3 + short.perturbation_steps + 1)
    assert target.queries - before == shown
    torch.testing.assert_close(
        found.confidence, target.scores(to_unit(found.pixels)).gather(1, found.labels[:, None]).squeeze(1)
    )
    assert math.isfinite(float(found.confidence.mean()))
