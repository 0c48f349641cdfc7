"""The GAN's training: its loss, what it draws, what it keeps, and where it may start."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers_attacks import CPU, TINY_GAN, KillAt, Killed, faces
from trapmid.augment import WarpAugmentation
from trapmid.data import ImageSet
from trapmid.data.images import to_unit
from trapmid.engine import generator, randomness
from trapmid.priors import CGAN, GAN, PRIORS, PriorConfig, PriorTraining, open_prior, pretrain
from trapmid.priors.cgan import CGANFit, hinge_loss

CLASSES = 3


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(6, 4)


def fit_of(
    config: CGAN, public: ImageSet, pseudo_labels: Tensor | None = None, start: GAN | None = None, seed: int = 0
) -> CGANFit:
    fit = CGANFit(config, PriorTraining(public, CLASSES, seed, CPU), pseudo_labels)
    if start is not None:
        fit.begin_with(start.networks)
    return fit


def weights(gan: GAN) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("generator", "discriminator")
        for key, value in getattr(gan, name).state_dict().items()
    }


def assert_same_weights(one: GAN, other: GAN) -> None:
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


@pytest.mark.parametrize("prior", PRIORS)
def test_equals_its_own_json(prior: type[PriorConfig]) -> None:
    assert prior.model_validate_json(prior().model_dump_json()) == prior()
    assert prior.paper


def test_defaults_are_the_published_constants() -> None:
    config = CGAN()
    assert (config.iterations, config.batch_size, config.discriminator_steps, config.rate, config.betas) == (
        30_000,
        64,
        5,
        2e-4,
        (0.0, 0.9),
    )
    assert config.networks.kind == "sn-resnet"
    assert config.dequantise
    assert config.ema is None
    assert config.augmentation.kind == "none"


def test_hinge_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=50), 2 * rng.normal(size=50)
    expected = np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + generated).mean()
    assert float(hinge_loss(torch.tensor(real), torch.tensor(generated))) == pytest.approx(expected, rel=1e-12)
    assert float(hinge_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0]))) == 0


def marked_images(n: int) -> ImageSet:
    """Image i is all i."""
    pixels = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 32, 32).contiguous()
    return ImageSet(pixels, torch.zeros(n, dtype=torch.int64), ("somebody",), tuple(map(str, range(n))))


def test_real_images_come_from_their_class_rows_only() -> None:
    rows = torch.tensor([[0, 1, 2], [10, 11, 12], [20, 2, 22]])
    fit = fit_of(TINY_GAN.model_copy(update={"dequantise": False, "batch_size": 300}), marked_images(30), rows)
    with randomness(0, "test"):
        images, labels = fit.real()
    drawn = (images[:, 0, 0, 0] * 255).round().long()
    for label in range(CLASSES):
        assert set(drawn[labels == label].tolist()) == set(rows[label].tolist())


def test_without_pseudo_labels_images_and_labels_are_independent() -> None:
    fit = fit_of(TINY_GAN.model_copy(update={"dequantise": False, "batch_size": 600}), marked_images(4))
    with randomness(0, "test"):
        images, labels = fit.real()
    drawn = (images[:, 0, 0, 0] * 255).round().long()
    table = torch.zeros(CLASSES, 4).index_put_((labels, drawn), torch.ones(600), accumulate=True)
    assert float(table.min()) > 25  # 50 expected


def test_dequantisation_adds_less_than_one_level() -> None:
    fit = fit_of(TINY_GAN, marked_images(4))
    with randomness(0, "test"):
        images, _ = fit.real()
    levels = images * 255
    noise = levels - levels.floor()
    assert bool((levels.floor() < 4).all())
    assert 0.3 < float(noise.mean()) < 0.7


def test_same_seed_same_weights(public: ImageSet) -> None:
    one, again, other = (TINY_GAN.fit(PriorTraining(public, CLASSES, seed, CPU)) for seed in (0, 0, 1))
    assert_same_weights(one, again)
    assert not torch.equal(one.generator.project.weight, other.generator.project.weight)


def test_training_logs_its_losses_and_the_gap(public: ImageSet) -> None:
    config = TINY_GAN.model_copy(update={"iterations": 4, "log_every": 2, "discriminator_steps": 3})
    rows = config.fit(PriorTraining(public, CLASSES, 0, CPU)).rows
    assert {"generator", "discriminator", "gap"} <= rows[-1].keys()
    assert "guidance" not in rows[-1]


@pytest.mark.parametrize("ema", [None, 0.5])
def test_killed_and_resumed_ends_with_the_same_weights(
    ema: float | None, public: ImageSet, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    """Killed three steps after a checkpoint; with an average of weights, that has to come back too."""
    config = TINY_GAN.model_copy(update={"ema": ema})
    whole = config.fit(PriorTraining(public, CLASSES, 0, CPU))
    with pytest.raises(Killed):
        config.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path, KillAt("prior", 7)))
    assert (tmp_path / "checkpoint.pt").exists()
    assert_same_weights(config.fit(PriorTraining(public, CLASSES, 0, CPU, tmp_path)), whole)


def test_average_of_weights_is_the_exponential_one(public: ImageSet) -> None:
    fit = fit_of(TINY_GAN, public)
    assert fit.average is not None
    expected = None
    for number in range(4):
        with randomness(0, "step", number):
            fit.step(number)
        now = fit.generator.project.weight.detach().clone()
        expected = now if expected is None else 0.5 * expected + 0.5 * now
    torch.testing.assert_close(fit.average.module.project.weight, expected)
    assert not torch.equal(fit.generator.project.weight, expected)


def test_averaged_generator_is_what_comes_out(public: ImageSet) -> None:
    raw = TINY_GAN.model_copy(update={"ema": None}).fit(PriorTraining(public, CLASSES, 0, CPU))
    averaged = TINY_GAN.fit(PriorTraining(public, CLASSES, 0, CPU))
    torch.testing.assert_close(
        raw.discriminator.state_dict(), averaged.discriminator.state_dict()
    )  # the average only watches
    assert not torch.equal(raw.generator.project.weight, averaged.generator.project.weight)
    images = averaged.sample(torch.arange(CLASSES).repeat(8), generator(0, "sample"))
    assert float(images.std()) > 0  # statistics belong to the averaged weights


def test_warm_start_begins_with_the_given_weights(public: ImageSet) -> None:
    start = TINY_GAN.fit(PriorTraining(public, CLASSES, 5, CPU))
    cold, warm = fit_of(TINY_GAN, public), fit_of(TINY_GAN, public, start=start)
    assert_same_weights(warm.gan, start)
    assert not torch.equal(cold.generator.project.weight, start.generator.project.weight)
    before = {name: value.clone() for name, value in weights(start).items()}
    warm.run()
    torch.testing.assert_close(weights(start), before, rtol=0, atol=0)  # the shared prior is not trained on
    assert warm.average is not None


def test_average_follows_a_warm_start(public: ImageSet) -> None:
    """With a slow average the first steps must stay near the start, not near random weights."""
    start = TINY_GAN.fit(PriorTraining(public, CLASSES, 5, CPU))
    config = TINY_GAN.model_copy(update={"iterations": 1, "ema": 0.999})
    ended = config.fit(PriorTraining(public, CLASSES, 0, CPU), start=start)
    torch.testing.assert_close(
        ended.generator.project.weight, start.generator.project.weight, atol=2 * config.rate, rtol=0
    )


def test_save_and_load(public: ImageSet, tmp_path: Path) -> None:
    gan = TINY_GAN.fit(PriorTraining(public, CLASSES, 0, CPU))
    files = gan.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    again = TINY_GAN.build(CLASSES, 32, 3, CPU).load(tmp_path)
    assert_same_weights(again, gan)
    labels = torch.tensor([0, 2, 1])
    assert torch.equal(again.sample(labels, generator(1, "x")), gan.sample(labels, generator(1, "x")))


def test_samples_do_not_depend_on_the_batch(public: ImageSet) -> None:
    gan = TINY_GAN.fit(PriorTraining(public, CLASSES, 0, CPU))
    labels = torch.arange(CLASSES).repeat(4)
    whole, parts = (gan.sample(labels, generator(1, "x"), batch=batch) for batch in (256, 5))
    torch.testing.assert_close(whole, parts)
    assert whole.shape == (12, 3, 32, 32)
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1


def test_pretrain_and_open(public: ImageSet, tmp_path: Path) -> None:
    config = TINY_GAN.model_copy(update={"augmentation": WarpAugmentation()})
    made = pretrain(tmp_path / "prior", config, public, CLASSES, seed=2, compute=CPU)
    gan, manifest = open_prior(tmp_path / "prior", config, CPU)
    assert manifest == made
    assert_same_weights(gan, config.fit(PriorTraining(public, CLASSES, 2, CPU)))
    assert pretrain(tmp_path / "prior", config, public, CLASSES, seed=2, compute=CPU) == made


def test_real_images_are_bytes_over_255(public: ImageSet) -> None:
    fit = fit_of(TINY_GAN.model_copy(update={"dequantise": False}), public)
    with randomness(0, "test"):
        images, _ = fit.real()
    known = {tuple(image.flatten().tolist()) for image in to_unit(public.pixels)}
    assert {tuple(image.flatten().tolist()) for image in images} <= known
