"""The StyleGAN2 prior: its losses, its training, what it keeps, and the official weights it reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from helpers_attacks import CPU, STYLE_TINY, KillAt, Killed, faces
from trapmid.data import ImageSet
from trapmid.engine import generator
from trapmid.priors import PriorTraining, StyleGAN2, open_prior, pretrain
from trapmid.priors.gan import GENERATOR
from trapmid.priors.stylegan2 import StyleGAN, logistic_loss, r1_penalty
from trapmid.types import UserError


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(6, 4)


@pytest.fixture(scope="module")
def prior(public: ImageSet) -> StyleGAN:
    return STYLE_TINY.fit(PriorTraining(public, 3, 0, CPU))


def test_defaults_are_the_published_constants() -> None:
    config = StyleGAN2()
    assert (config.rate, config.betas, config.r1, config.r1_every) == (2e-3, (0.0, 0.99), 10.0, 16)
    assert (config.latent_size, config.style_size, config.mapping_layers) == (512, 512, 8)
    assert config.iterations * config.batch_size == 25_000_000
    assert config.mixing == 0.9


def test_logistic_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=20), rng.normal(size=20)
    expected = -np.log(1 / (1 + np.exp(-real))).mean() - np.log(1 - 1 / (1 + np.exp(-generated))).mean()
    assert float(logistic_loss(torch.tensor(real), torch.tensor(generated))) == pytest.approx(expected)


def test_r1_is_the_squared_gradient_image_by_image() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(3 * 36, 1)).double()
    images = torch.rand(4, 2, 8, 8, dtype=torch.float64, generator=generator(0, "images"))
    found = r1_penalty(net, images)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda x: net(x[None]).squeeze(), images[i])
        assert float(found[i].detach()) == pytest.approx(float(jacobian.square().sum()))
    found.mean().backward()
    step, weight = 1e-6, net[0].weight
    gradient = float(weight.grad[0, 0, 0, 0])
    with torch.no_grad():
        weight[0, 0, 0, 0] += step
    moved = float(r1_penalty(net, images).mean())
    assert gradient == pytest.approx((moved - float(found.mean())) / step, rel=1e-4)


def test_pictures_are_a_function_of_latents_alone(prior: StyleGAN) -> None:
    latents = torch.randn(3, prior.latent_size, generator=generator(0, "z"))
    images = prior.decode(latents, torch.tensor([0, 1, 2]))
    assert images.shape == (3, 3, 32, 32)
    assert torch.equal(images, prior.decode(latents, torch.tensor([2, 2, 2])))
    torch.testing.assert_close(images[1:2], prior.decode(latents[1:2], torch.tensor([0])), atol=1e-5, rtol=1e-4)


def test_truncation_pulls_towards_the_mean_style(prior: StyleGAN) -> None:
    latents = torch.randn(5_000, prior.latent_size, generator=generator(1, "z"))
    with torch.no_grad():
        styles = prior.map(latents)
        mean, spread = prior.map(latents[:1], 0.0)[0], styles.std(0)
        torch.testing.assert_close(prior.map(latents, 0.5), (styles + mean) / 2)
    assert bool(((styles.mean(0) - mean).abs() < 0.1 * spread + 1e-4).all())


def test_features_lead_to_the_same_picture(prior: StyleGAN) -> None:
    styles = prior.map(torch.randn(2, prior.latent_size, generator=generator(0, "z")))
    features = None
    for blocks in range(1, prior.blocks):
        features = prior.features_at(styles, blocks, features)
        torch.testing.assert_close(prior.from_features(features, styles), prior.synthesise(styles))


def test_same_seed_same_weights(public: ImageSet, prior: StyleGAN) -> None:
    again, other = (STYLE_TINY.fit(PriorTraining(public, 3, seed, CPU)).generator.state_dict() for seed in (0, 1))
    one = prior.generator.state_dict()
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.equal(one["synthesis.b4.const"], other["synthesis.b4.const"])


def test_killed_and_resumed_ends_with_the_same_weights(
    prior: StyleGAN, public: ImageSet, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    with pytest.raises(Killed):
        STYLE_TINY.fit(PriorTraining(public, 3, 0, CPU, tmp_path, KillAt("prior", 7)))
    again = STYLE_TINY.fit(PriorTraining(public, 3, 0, CPU, tmp_path))
    torch.testing.assert_close(again.generator.state_dict(), prior.generator.state_dict(), rtol=0, atol=0)


def test_pretrained_and_opened_paints_the_same(prior: StyleGAN, public: ImageSet, tmp_path: Path) -> None:
    pretrain(tmp_path / "prior", STYLE_TINY, public, 3, compute=CPU)
    opened, _ = open_prior(tmp_path / "prior", STYLE_TINY, CPU)
    labels = torch.zeros(3, dtype=torch.int64)
    assert torch.equal(opened.sample(labels, generator(0, "s")), prior.sample(labels, generator(0, "s")))


def official(file: Path, prior: StyleGAN, **changes: torch.Tensor) -> StyleGAN2:
    """A config that reads weights from `file`: names and shapes as official ones have them, of a 32 px network."""
    save_file({k: v.contiguous() for k, v in {**prior.generator.state_dict(), **changes}.items()}, file)
    return STYLE_TINY.model_copy(update={"weights": file, "resolution": 32, "crop": 24})


def test_official_weights_are_read_cropped_and_resized(prior: StyleGAN, tmp_path: Path) -> None:
    config = official(tmp_path / "ffhq.safetensors", prior)
    small = faces(2, 2, size=16)
    pretrain(tmp_path / "prior", config, small, 3, compute=CPU)
    opened, _ = open_prior(tmp_path / "prior", config, CPU)
    labels = torch.zeros(2, dtype=torch.int64)
    images = opened.sample(labels, generator(0, "s"))
    whole = prior.sample(labels, generator(0, "s"))
    assert images.shape == (2, 3, 16, 16)
    assert float(images.mean()) == pytest.approx(float(whole[:, :, 4:28, 4:28].mean()), abs=0.02)


def test_a_prior_from_a_file_goes_by_its_content(prior: StyleGAN, tmp_path: Path) -> None:
    file, out, small = tmp_path / "ffhq.safetensors", tmp_path / "prior", faces(2, 2, size=16)
    config = official(file, prior)
    first = pretrain(out, config, small, 3, compute=CPU)
    moved = config.model_copy(update={"weights": file.rename(tmp_path / "moved.safetensors")})
    assert pretrain(out, moved, small, 3, compute=CPU) == first
    assert open_prior(out, moved, CPU)[1] == first
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    other = official(file, prior, **{"mapping.fc0.bias": torch.ones(12)})
    with pytest.raises(UserError, match="another config"):
        open_prior(out, other, CPU)
    with pytest.raises(UserError, match="prior"):
        pretrain(out, other, small, 3, compute=CPU)


def test_official_weights_that_do_not_fit(prior: StyleGAN, public: ImageSet, tmp_path: Path) -> None:
    wrong = official(tmp_path / "a.safetensors", prior, **{"mapping.fc0.weight": torch.zeros(12, 99)})
    with pytest.raises(UserError, match=r"mapping.fc0.weight is \(12, 99\) there and \(12, 16\) here. Set resolution"):
        wrong.fit(PriorTraining(public, 3, 0, CPU))
    more = official(tmp_path / "b.safetensors", prior, **{"mapping.fc7.bias": torch.zeros(12)})
    with pytest.raises(UserError, match=r"mapping.fc7.bias is \(12,\) there and not wanted here"):
        more.fit(PriorTraining(public, 3, 0, CPU))
    with pytest.raises(UserError, match=r"nowhere\.safetensors does not exist"):
        more.model_copy(update={"weights": tmp_path / "nowhere.safetensors"}).fit(PriorTraining(public, 3, 0, CPU))


def test_sides_that_are_no_power_of_two() -> None:
    with pytest.raises(UserError, match="a power of two from 8 up; asked for 28 px"):
        STYLE_TINY.fit(PriorTraining(faces(2, 2, size=28), 3, 0, CPU))
    with pytest.raises(UserError, match="trains at the side of the public images, 32 px"):
        STYLE_TINY.model_copy(update={"resolution": 64}).fit(PriorTraining(faces(2, 2), 3, 0, CPU))
    with pytest.raises(UserError, match="cannot keep the 48 px in the middle of a picture of 32 px"):
        STYLE_TINY.model_copy(update={"crop": 48}).fit(PriorTraining(faces(2, 2), 3, 0, CPU))
    with pytest.raises(ValidationError, match="resolution"):
        StyleGAN2(resolution=4)


def test_generator_file_is_named(prior: StyleGAN, tmp_path: Path) -> None:
    assert prior.save(tmp_path) == [GENERATOR]
