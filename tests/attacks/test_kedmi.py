"""KED-MI's distributions: where they start, what is drawn from them, what they descend."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from helpers_attacks import CPU, KEDMI_TINY, TINY_SEMIGAN, faces, target_of, trained_classifier
from trapmid.attacks import KEDMI, Run
from trapmid.attacks.kedmi import standing_start
from trapmid.attacks.search import initial_latents
from trapmid.engine import randomness
from trapmid.models import Classifier
from trapmid.priors import GAN, PriorTraining

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def gan(model: Classifier) -> GAN:
    public = faces(6, 4, first=100)
    with torch.no_grad():
        soft = model(public.images()).logits.softmax(1)
    return TINY_SEMIGAN.fit(PriorTraining(public, CLASSES, 0, CPU), soft)


def test_defaults_are_the_published_constants() -> None:
    method = KEDMI()
    assert (method.search_steps, method.search_rate, method.identity_weight) == (1500, 0.02, 100.0)
    assert (method.images_per_identity, method.box) == (5, None)
    assert method.public_prior() is None


def test_starts_at_mean_zero_and_log_variance_one() -> None:
    start = standing_start(3, 5)
    assert start.shape == (3, 2, 5)
    assert bool((start[:, 0] == 0).all())
    assert bool((start[:, 1] == 1).all())


def test_without_a_step_pictures_are_samples_of_the_start(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    """z = 0 + exp(1 / 2) noise, the noise an identity's own."""
    method = KEDMI_TINY.model_copy(update={"search_steps": 1, "search_rate": 1e-9})
    identities = torch.tensor([2, 0])
    found = method.invert(target_of(model), gan, identities, Run(5, CPU, tmp_path))
    noise = initial_latents(identities, CLASSES, 2, gan.latent_size, 5).flatten(0, 1)
    with torch.no_grad():
        expected = gan.decode(torch.tensor(0.5).exp() * noise, found.labels)
    assert found.labels.tolist() == [2, 2, 0, 0]
    assert float((found.pixels.float() / 255 - expected).abs().max()) <= 1 / 255


def test_one_step_of_adam_follows_the_objective(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    """Adam's first step is `rate` against the sign of the gradient of -log D(G(z)) + 100 CE in both parts."""
    rate, identities = 0.3, torch.arange(CLASSES)
    method = KEDMI_TINY.model_copy(update={"search_steps": 1, "search_rate": rate, "chunk": 100, "label": ""})
    run = Run(5, CPU, tmp_path)
    mean = torch.zeros(CLASSES, gan.latent_size, requires_grad=True)
    log_variance = torch.ones(CLASSES, gan.latent_size, requires_grad=True)
    with randomness(run.seed, "kedmi search", "step", 0, 0):
        noise = torch.randn(CLASSES, 1, gan.latent_size).squeeze(1)
    images = gan.freeze().decode(mean + (0.5 * log_variance).exp() * noise, identities)
    z = gan.discriminator(images).logits.exp().sum(1)
    loss = (100 * F.cross_entropy(model(images).logits, identities, reduction="none") - (z / (z + 1)).log()).sum()
    of_mean, of_log_variance = torch.autograd.grad(loss, (mean, log_variance))
    mean, log_variance = mean - rate * of_mean.sign(), log_variance - rate * of_log_variance.sign()
    samples = initial_latents(identities, CLASSES, 2, gan.latent_size, run.seed)
    latents = mean[:, None] + (0.5 * log_variance[:, None]).exp() * samples
    found = method.invert(target_of(model), gan, identities, run)
    with torch.no_grad():
        expected = gan.decode(latents.flatten(0, 1), found.labels)
    assert float((found.pixels.float() / 255 - expected).abs().max()) <= 2 / 255


def test_a_box_holds_what_is_decoded(
    gan: GAN, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    decode = gan.decode
    monkeypatch.setattr(gan, "decode", lambda latents, labels: seen.append(latents.detach()) or decode(latents, labels))
    method = KEDMI_TINY.model_copy(update={"search_steps": 3, "box": (-1.0, 1.0)})
    method.invert(target_of(model), gan, torch.arange(CLASSES), Run(5, CPU, tmp_path))
    assert float(torch.cat(seen).abs().max()) == 1
    assert sum(map(len, seen)) == 3 * CLASSES + 2 * CLASSES  # one sample a step, then the pictures
