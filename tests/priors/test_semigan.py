"""KED-MI's prior: the published shapes, minibatch discrimination against loops, the losses against their formulas."""

from pathlib import Path

import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional as F

from helpers_attacks import CPU, TINY_DCGAN, TINY_SEMIGAN, KillAt, Killed, faces
from trapmid.data import ImageSet
from trapmid.engine import randomness
from trapmid.priors import GAN, PriorTraining, SemiGAN
from trapmid.priors.semigan import (
    MinibatchDiscrimination,
    SemiDiscriminator,
    SemiGANFit,
    realness,
    summed_entropy,
)
from trapmid.types import UserError

CLASSES = 3


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(6, 4)


@pytest.fixture(scope="module")
def soft_labels(public: ImageSet) -> Tensor:
    return torch.rand(len(public), CLASSES, generator=torch.Generator().manual_seed(0)).softmax(1)


@pytest.fixture(scope="module")
def gan(public: ImageSet, soft_labels: Tensor) -> GAN:
    return TINY_SEMIGAN.fit(PriorTraining(public, CLASSES, 0, CPU), soft_labels)


def test_defaults_are_the_published_constants() -> None:
    config = SemiGAN()
    assert (config.width, config.latent_size, config.batch_size, config.discriminator_steps) == (64, 100, 64, 5)
    assert (config.iterations, config.rate, config.betas) == (11_250, 2e-4, (0.5, 0.999))
    assert (config.unlabelled_weight, config.entropy_weight) == (0.5, 1e-4)


def test_published_discriminator() -> None:
    """As in KED-MI's code: four blocks to 256 x 4 x 4 features, 64 minibatch outputs of 50 dimensions, 1,000 logits."""
    with torch.device("meta"):
        discriminator = SemiDiscriminator(1000, 64, 3, 64, 64)
    convolutions = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (3, 64, 5, 2),
        (64, 128, 5, 2),
        (128, 256, 5, 2),
        (256, 256, 3, 2),
    ]
    assert sum(isinstance(m, nn.InstanceNorm2d) and m.affine for m in discriminator.modules()) == 4
    assert discriminator.minibatch.spaces.weight.shape == (64 * 50, 4096)
    assert (discriminator.head.in_features, discriminator.head.out_features) == (4096 + 64, 1000)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 3), (28, 1)])
def test_discriminator_fits_the_image(size: int, channels: int) -> None:
    seen = SemiDiscriminator(5, size, channels, 4, 3)(torch.rand(3, channels, size, size))
    assert seen.logits.shape == (3, 5)
    assert len(seen.features) == 3


def plain_nearness(points: Tensor, others: Tensor, output: int) -> float:
    return sum(float(torch.exp(-(points[output] - other[output]).abs().sum())) for other in others)


def test_nearness_is_the_plain_loop() -> None:
    layer = MinibatchDiscrimination(features=7, company=4, outputs=3, dims=2)
    features = torch.randn(5, 7)
    with torch.no_grad():
        points = (features @ layer.spaces.weight.T).view(5, 3, 2)
        in_training = layer.train()(features)
        for i in range(5):
            rest = [points[j] for j in range(5) if j != i]
            for output in range(3):
                assert float(in_training[i, output]) == pytest.approx(plain_nearness(points[i], rest, output), rel=1e-4)
        stranger = torch.randn(1, 7)
        of_stranger = (stranger @ layer.spaces.weight.T).view(3, 2)
        in_search = layer.eval()(stranger)
        for output in range(3):  # compared with the batch that was kept, less one, so that there are as many others
            assert float(in_search[0, output]) == pytest.approx(
                plain_nearness(of_stranger, list(points[1:]), output), rel=1e-4
            )


def test_nearness_has_a_gradient_at_the_start() -> None:
    """exp(-x) is flat where distances are large; the first weights see to it that they are not."""
    layer = MinibatchDiscrimination(features=4096, company=63)
    features = torch.randn(64, 4096, requires_grad=True)
    nearness = layer(features)
    assert 0.1 < float(nearness.detach().mean()) / 63 < 0.9
    (gradient,) = torch.autograd.grad(nearness.sum(), features)
    assert float(gradient.abs().mean()) > 1e-3


def test_nearness_gradient() -> None:
    layer = MinibatchDiscrimination(features=4, company=2, outputs=2, dims=3).double()
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer.train(), (features,))


def test_realness_is_the_probability_of_being_real() -> None:
    """sigmoid(log sum exp) is Z / (Z + 1), as Salimans et al. write D."""
    logits = torch.randn(6, 4, dtype=torch.float64)
    z = logits.exp().sum(1)
    torch.testing.assert_close(realness(logits).sigmoid(), z / (z + 1))


def test_entropy_is_scipys() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64)
    assert float(summed_entropy(logits)) == pytest.approx(float(entropy(logits.softmax(1).numpy(), axis=1).sum()))


def test_losses_are_the_formulas(public: ImageSet, soft_labels: Tensor) -> None:
    fit = SemiGANFit(TINY_SEMIGAN, PriorTraining(public, CLASSES, 0, CPU), soft_labels)
    with randomness(0, "losses"):
        losses, _ = fit.discriminator_losses()
    with randomness(0, "losses"), torch.no_grad():
        rows = fit.rows()
        labelled = fit.discriminator(public.images(rows)).logits.log_softmax(1)
        unlabelled = fit.discriminator(public.images(fit.rows())).logits.exp().sum(1).log()
        generated = fit.discriminator(fit.generator(fit.latents(), fit.labels())).logits.exp().sum(1).log()
        told_apart = F.softplus(unlabelled).mean() - unlabelled.mean() + F.softplus(generated).mean()
    assert float(losses["discriminator"]) == pytest.approx(0.5 * float(told_apart), rel=1e-4)
    assert float(losses["soft_labels"]) == pytest.approx(-float((soft_labels[rows] * labelled).sum(1).mean()), rel=1e-4)
    with randomness(0, "losses"):
        losses = fit.generator_losses()
    with randomness(0, "losses"), torch.no_grad():
        generated = fit.discriminator(fit.generator(fit.latents(), fit.labels()))
        real = fit.discriminator(public.images(fit.rows()))
    matching = sum(
        abs(float(g) - float(r)) for g, r in zip(generated.features.mean(0), real.features.mean(0), strict=True)
    )
    assert float(losses["generator"]) == pytest.approx(matching / generated.features.shape[1], rel=1e-4)
    assert float(losses["entropy"]) == pytest.approx(1e-4 * float(summed_entropy(generated.logits)), rel=1e-4)


def test_in_a_search_no_image_has_a_part_in_anothers_verdict(gan: GAN) -> None:
    gan.freeze()
    images = gan.decode(torch.randn(5, gan.latent_size), torch.zeros(5, dtype=torch.int64))
    together = gan.discriminator(images).logits
    torch.testing.assert_close(together, torch.cat([gan.discriminator(image[None]).logits for image in images]))


def test_training_logs_its_losses_and_the_gap(public: ImageSet) -> None:
    soft = F.one_hot(torch.arange(len(public)) % 2, 2).float()
    config = TINY_SEMIGAN.model_copy(update={"iterations": 4, "log_every": 2, "discriminator_steps": 2})
    rows = config.fit(PriorTraining(public, 2, 0, CPU), soft).rows
    assert {"generator", "entropy", "discriminator", "soft_labels", "gap"} <= rows[-1].keys()


def test_starts_from_the_generator_of_a_dcgan(public: ImageSet, soft_labels: Tensor) -> None:
    start = TINY_DCGAN.fit(PriorTraining(public, CLASSES, 5, CPU))
    setting = PriorTraining(public, CLASSES, 0, CPU)
    fit = SemiGANFit(TINY_SEMIGAN, setting, soft_labels)
    fit.begin_with({"generator": start.generator})
    torch.testing.assert_close(fit.generator.state_dict(), start.generator.state_dict(), rtol=0, atol=0)
    gan = TINY_SEMIGAN.model_copy(update={"iterations": 1, "rate": 1e-12}).fit(setting, soft_labels, start=start)
    assert gan.generator.state_dict().keys() == start.generator.state_dict().keys()
    for weight, first in zip(gan.generator.parameters(), start.generator.parameters(), strict=True):
        torch.testing.assert_close(weight, first, rtol=0, atol=1e-9)


def test_a_start_of_other_shapes_is_refused(public: ImageSet, soft_labels: Tensor) -> None:
    start = TINY_DCGAN.model_copy(update={"width": 8, "iterations": 1}).fit(PriorTraining(public, CLASSES, 5, CPU))
    with pytest.raises(UserError, match="networks of other shapes"):
        TINY_SEMIGAN.fit(PriorTraining(public, CLASSES, 0, CPU), soft_labels, start=start)


def test_killed_and_resumed_ends_with_the_same_weights(
    gan: GAN, public: ImageSet, soft_labels: Tensor, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    """The kept company comes back too."""
    with pytest.raises(Killed):
        TINY_SEMIGAN.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path, KillAt("prior", 7)), soft_labels)
    again = TINY_SEMIGAN.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path), soft_labels)
    for module in ("generator", "discriminator"):
        torch.testing.assert_close(
            getattr(again, module).state_dict(), getattr(gan, module).state_dict(), rtol=0, atol=0
        )
