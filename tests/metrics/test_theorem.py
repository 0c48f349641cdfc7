"""delta against a loop, epsilon against distributions whose divergence is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from helpers.faces import TINY, tiny_private
from trapmid.engine import Compute, generator, randomness
from trapmid.metrics.theorem import (
    Effectiveness,
    LogOdds,
    trapdoor_delta,
)
from trapmid.trapdoor import Secrets
from trapmid.types import logits_of

CPU = Compute("cpu")
CLASSES = 5


def secrets(ratio: float) -> Secrets:
    return Secrets(torch.rand(CLASSES, 3, 32, 32, generator=generator(0, "triggers")), ratio)


@pytest.fixture
def model() -> nn.Module:
    with randomness(0, "model"):
        return TINY.build(CLASSES, 32, 3).eval()


def test_delta_is_the_plain_loop(model: nn.Module) -> None:
    test, known = tiny_private().part("test"), secrets(0.3)
    measured = trapdoor_delta(model, known, test, batch=7)
    deltas = []
    with torch.no_grad():
        for y in range(CLASSES):
            poisoned, benign = [], []
            for image, label in zip(test.images(), test.labels.tolist(), strict=True):
                triggered = 0.7 * image + 0.3 * known.triggers[y]
                poisoned.append(float(logits_of(model(triggered[None])).log_softmax(1)[0, y]))
                if label == y:
                    benign.append(float(logits_of(model(image[None])).log_softmax(1)[0, y]))
            deltas.append(sum(poisoned) / len(poisoned) - sum(benign) / len(benign))
    of_classes = measured.of_classes()
    assert [delta.value for delta in of_classes] == pytest.approx(deltas, abs=1e-4)
    assert measured.mean().value == pytest.approx(sum(deltas) / CLASSES, abs=1e-4)
    assert all(delta.low <= delta.value <= delta.high for delta in (*of_classes, measured.mean()))


def test_deltas_interval_is_the_bootstrap_of_identities_in_both_roles() -> None:
    """Plain draws of identities, each drawn one a class and a source of images."""
    rng = generator(0, "delta")
    sources, labels = torch.arange(CLASSES).repeat(3), torch.arange(CLASSES).repeat(2)
    poisoned = torch.randn(CLASSES, len(sources), generator=rng) + 3 * torch.randn(CLASSES, 1, generator=rng)
    benign = torch.randn(len(labels), generator=rng)
    means = []
    for _ in range(4000):
        drawn = torch.randint(CLASSES, (CLASSES,), generator=rng).tolist()
        of_drawn = [
            torch.cat([poisoned[y, sources == i] for i in drawn]).mean() - benign[labels == y].mean() for y in drawn
        ]
        means.append(float(torch.stack(of_drawn).mean()))
    low, high = torch.tensor(means).quantile(torch.tensor([0.025, 0.975])).tolist()
    interval = Effectiveness(poisoned, sources, benign, labels).mean(draws=4000)
    assert interval.low == pytest.approx(low, abs=0.25)
    assert interval.high == pytest.approx(high, abs=0.25)


def test_a_trigger_that_works_has_a_delta_above_zero() -> None:
    """Sure of every trigger, half sure of real images: log 1 - log 1/2."""
    sure, half = torch.zeros(CLASSES, 4), torch.full((CLASSES,), math.log(0.5))
    delta = Effectiveness(sure, torch.arange(4), half, torch.arange(CLASSES)).mean()
    assert delta.value == delta.low == delta.high == pytest.approx(math.log(2))


def gaussians(shift: float, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n draws each of N(0, I) and N(shift, I) in four dimensions: KL is 2 shift^2 either way."""
    rng = generator(seed, "gaussians")
    return torch.randn(n, 4, generator=rng), torch.randn(n, 4, generator=rng) + shift


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.7])
def test_the_true_log_odds_reach_the_divergence(shift: float) -> None:
    p, q = gaussians(shift, 200_000, seed=1)

    def log_odds(x: Tensor) -> Tensor:
        return (-shift * x + shift**2 / 2).sum(1)

    exact = LogOdds(log_odds(p), log_odds(q), torch.arange(len(p)))
    assert exact.bound() == pytest.approx(2 * shift**2, abs=0.02)
    assert exact.bound(0.5) <= exact.bound() + 0.01
    overconfident = LogOdds(4 * log_odds(p), 4 * log_odds(q), torch.arange(len(p)))
    if shift > 0:
        assert overconfident.bound() < exact.bound()
        assert overconfident.best_scale() == pytest.approx(0.25, abs=0.05)


def test_images_vouch_for_no_more_than_their_logarithm() -> None:
    """A discriminator that is right and sure about 50 images has not shown that the distributions are 200 apart."""
    sure = LogOdds(torch.full((50,), 100.0), torch.full((50,), -100.0), torch.arange(50))
    assert sure.bound() == pytest.approx(math.log(50))
    interval = sure.interval(1.0)
    assert interval.low == interval.high == interval.value == sure.bound()
