"""GMI's prior: the published shapes, the penalty against autograd, and a training that tells real from generated."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from helpers_attacks import CPU, TINY_DCGAN, KillAt, Killed, faces
from trapmid.data import ImageSet
from trapmid.engine import generator, randomness
from trapmid.priors import DCGAN, PriorTraining, open_prior, pretrain
from trapmid.priors.dcgan import Critic, DCGANFit, DCGenerator, gradient_penalty

CLASSES = 3


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(6, 4)


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in module.parameters()]


def test_defaults_are_the_published_constants() -> None:
    config = DCGAN()
    assert (config.width, config.latent_size, config.penalty) == (64, 100, 10.0)
    assert (config.batch_size, config.discriminator_steps, config.rate, config.betas) == (64, 5, 2e-4, (0.5, 0.999))
    assert config.iterations == 120 * 30_000 / config.batch_size / config.discriminator_steps
    assert config.ema is None


def test_published_networks() -> None:
    """The networks of GMI's code, parameter by parameter."""
    with torch.device("meta"):
        made, critic = DCGenerator(64, 3, 100, 64), Critic(64, 3, 64)
    widths = [512, 256, 128, 64]
    ups = [s for a, b in pairwise(widths) for s in ((a, b, 5, 5), (b,), (b,))]
    assert shapes(made) == [(8192, 100), (8192,), (8192,), *ups, (64, 3, 5, 5), (3,)]
    downs = [s for a, b in ((64, 128), (128, 256), (256, 512)) for s in ((b, a, 5, 5), (b,), (b,), (b,))]
    assert shapes(critic) == [(64, 3, 5, 5), (64,), *downs, (1, 512, 4, 4), (1,)]
    norms = [m for m in critic.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 3
    assert all(norm.affine for norm in norms)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 3), (28, 1)])
def test_networks_fit_the_image(size: int, channels: int) -> None:
    made, critic = DCGenerator(size, channels, 8, 4), Critic(size, channels, 4)
    images = made(torch.randn(3, 8), torch.tensor([0, 4, 2]))
    assert images.shape == (3, channels, size, size)
    assert 0 < float(images.detach().min()) < float(images.detach().max()) < 1
    assert critic(images).shape == (3,)


def test_no_image_has_a_part_in_anothers_verdict() -> None:
    critic, images = Critic(32, 3, 4), torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        together, alone = critic(images), torch.cat([critic(image[None]) for image in images])
    torch.testing.assert_close(together, alone)


def test_penalty_of_a_critic_whose_gradient_is_known() -> None:
    """For |x|^2 / 2 the gradient at x is x, so the penalty is the mean of (|x| - 1)^2 at the points drawn."""
    real, generated = torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4)
    shares = torch.rand(6, 1, 1, 1)
    found = gradient_penalty(lambda x: x.square().flatten(1).sum(1) / 2, real, generated, shares)
    expected = [
        (float((r * (1 - s) + g * s).norm()) - 1) ** 2
        for r, g, s in zip(real, generated, shares.flatten(), strict=True)
    ]
    assert float(found.detach()) == pytest.approx(sum(expected) / 6, rel=1e-5)


def test_penalty_of_a_critic_of_slope_one_is_zero() -> None:
    slope = torch.randn(48, generator=torch.Generator().manual_seed(0))
    slope /= slope.norm()
    real, generated, shares = torch.rand(4, 3, 4, 4), torch.rand(4, 3, 4, 4), torch.rand(4, 1, 1, 1)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ slope, real, generated, shares)
    assert float(penalty) == pytest.approx(0, abs=1e-10)


def test_penalty_trains_the_critics_weights() -> None:
    """The gradient of a weight through the gradient of the image, against finite differences."""
    real, generated = torch.rand(2, 2, 2, 2, dtype=torch.float64), torch.rand(2, 2, 2, 2, dtype=torch.float64)
    shares = torch.rand(2, 1, 1, 1, dtype=torch.float64)

    def penalty(first: Tensor, second: Tensor) -> Tensor:
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ first) @ second, real, generated, shares)

    weights = (torch.randn(8, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(penalty, tuple(w.requires_grad_() for w in weights))


def test_losses_are_the_formulas(public: ImageSet) -> None:
    fit = DCGANFit(TINY_DCGAN, PriorTraining(public, CLASSES, 0, CPU))
    with randomness(0, "losses"):
        losses, notes = fit.discriminator_losses()
    with randomness(0, "losses"), torch.no_grad():
        real = public.images(fit.rows())
        generated = fit.generator(fit.latents(), fit.labels())
    with randomness(0, "losses"), torch.no_grad():
        fit.rows(), fit.latents(), fit.labels()
        of_real, of_generated = (fit.discriminator(images) for images in (real, generated))
    with randomness(0, "losses"):
        fit.rows(), fit.latents(), fit.labels()
        penalty = 10 * gradient_penalty(fit.discriminator, real, generated, fit.uniform(1, 1, 1))
    assert float(losses["discriminator"]) == pytest.approx(float(of_generated.mean() - of_real.mean()), abs=1e-5)
    assert float(losses["penalty"]) == pytest.approx(float(penalty), rel=1e-4)
    assert float(notes["gap"]) == pytest.approx(-float(losses["discriminator"]))
    with randomness(0, "losses"):
        of_generator = fit.generator_losses()["generator"]
    with randomness(0, "losses"), torch.no_grad():
        expected = -fit.discriminator(fit.generator(fit.latents(), fit.labels())).mean()
    assert float(of_generator) == pytest.approx(float(expected), abs=1e-5)


def test_training_logs_its_losses_and_the_gap(public: ImageSet) -> None:
    config = TINY_DCGAN.model_copy(update={"iterations": 4, "log_every": 2, "discriminator_steps": 3})
    rows = config.fit(PriorTraining(public, CLASSES, 0, CPU)).rows
    assert {"generator", "discriminator", "penalty", "gap"} <= rows[-1].keys()


def test_killed_and_resumed_ends_with_the_same_weights(
    public: ImageSet, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    whole = TINY_DCGAN.fit(PriorTraining(public, CLASSES, 0, CPU))
    with pytest.raises(Killed):
        TINY_DCGAN.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path, KillAt("prior", 7)))
    again = TINY_DCGAN.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path))
    torch.testing.assert_close(again.generator.state_dict(), whole.generator.state_dict(), rtol=0, atol=0)


def test_pretrained_and_opened_it_paints_the_same(public: ImageSet, tmp_path: Path) -> None:
    pretrain(tmp_path / "prior", TINY_DCGAN, public, CLASSES, seed=0, compute=CPU)
    opened, _ = open_prior(tmp_path / "prior", TINY_DCGAN, CPU)
    labels = torch.tensor([0, 2, 1])
    fitted = TINY_DCGAN.fit(PriorTraining(public, CLASSES, 0, CPU))
    assert torch.equal(opened.sample(labels, generator(1, "x")), fitted.sample(labels, generator(1, "x")))
