"""GMI's update and its objective, each written out."""

from functools import partial
from pathlib import Path

import pytest
import torch

from helpers_attacks import CPU, GMI_TINY, TINY_DCGAN, faces, target_of, trained_classifier
from trapmid.attacks import GMI, Run
from trapmid.attacks.search import initial_latents, optimise, within
from trapmid.models import Classifier
from trapmid.priors import GAN, PriorTraining

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def gan() -> GAN:
    return TINY_DCGAN.fit(PriorTraining(faces(6, 4, first=100), CLASSES, 0, CPU))


def test_defaults_are_the_published_constants() -> None:
    method = GMI()
    assert (method.momentum, method.identity_weight, method.box) == (0.9, 100.0, (-1.0, 1.0))
    assert (method.search_steps, method.images_per_identity) == (1500, 5)
    assert method.search_rate * 60 == pytest.approx(0.02)


def test_update_is_the_authors(tmp_path: Path) -> None:
    """As in GMI's code: v' = 0.9 v - r g, z' = z - 0.9 v + 1.9 v'; z is clamped, the velocity is not."""
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    goal = torch.linspace(-2, 2, 15).view(5, 3)
    found = optimise(
        start,
        lambda z, part: (z - goal[part]).square().sum(1),
        steps=25,
        rate=0.05,
        run=Run(0, CPU, tmp_path),
        name="search",
        chunk=2,
        optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        project=within((-1.0, 1.0)),
    )
    z, v = start.clone(), torch.zeros_like(start)
    for _ in range(25):
        gradient = 2 * (z - goal)
        before, v = v, 0.9 * v - 0.05 * gradient
        z = (z - 0.9 * before + 1.9 * v).clamp(-1, 1)
    torch.testing.assert_close(found, z, atol=1e-5, rtol=1e-5)
    assert bool((found.abs() == 1).any())


def test_one_step_descends_the_objective(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    """A single step of a search moves every latent by 1.9 times rate and gradient of -D + 100 CE."""
    method = GMI_TINY.model_copy(update={"search_steps": 1, "search_rate": 1e-6, "box": (-9.0, 9.0)})
    labels = torch.arange(CLASSES).repeat_interleave(2)
    first = initial_latents(torch.arange(CLASSES), CLASSES, 2, gan.latent_size, 5).flatten(0, 1)
    z = first.clone().requires_grad_()
    images = gan.freeze().decode(z, labels)
    logs = model(images).logits.log_softmax(1)
    loss = -100 * sum(logs[i, label] for i, label in enumerate(labels.tolist())) - gan.discriminator(images).sum()
    (gradient,) = torch.autograd.grad(loss, z)
    expected = gan.decode(first - 1.9e-6 * gradient, labels)
    found = method.invert(target_of(model), gan, torch.arange(CLASSES), Run(5, CPU, tmp_path))
    assert float((found.pixels.float() / 255 - expected.detach()).abs().max()) <= 1 / 255


def test_a_batch_finds_what_each_identity_finds_alone(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    """Over a few steps; over many, the last bits of differently batched sums grow."""
    everyone, method = torch.arange(CLASSES), GMI_TINY.model_copy(update={"search_steps": 6})
    together = method.invert(target_of(model), gan, everyone, Run(5, CPU, tmp_path / "together"))
    for identity in everyone:
        alone = method.invert(target_of(model), gan, identity[None], Run(5, CPU, tmp_path / f"alone-{identity}"))
        theirs = together.pixels[together.labels == identity].float()
        assert float((alone.pixels.float() - theirs).abs().mean()) < 1


def test_a_search_moves_no_weight(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    networks = (gan.generator, gan.discriminator, model)
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    GMI_TINY.invert(target_of(model), gan, torch.arange(CLASSES), Run(5, CPU, tmp_path))
    assert not any(p.requires_grad for network in networks for p in network.parameters())
    for network, weights in zip(networks, before, strict=True):
        torch.testing.assert_close(dict(network.state_dict()), weights, rtol=0, atol=0)
