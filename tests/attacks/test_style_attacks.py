"""PPA, IF-GMI and MIRROR: their formulas against plain versions, their selections, their bounds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize

from helpers_attacks import (
    CPU,
    PPA_TINY,
    STYLE_TINY,
    TINY_ATTACKS,
    TINY_GAN,
    faces,
    prior_of,
    target_of,
    trained_classifier,
)
from trapmid.attacks import IFGMI, MIRROR, PPA, Run
from trapmid.attacks.ifgmi import _Layer, within_l1_ball
from trapmid.attacks.mirror import _Herd, p_space, to_p, to_styles
from trapmid.attacks.ppa import poincare_distance
from trapmid.attacks.search import found_of, most_confident, robust_confidence
from trapmid.attacks.styles import Candidates, show_candidates, shown_candidates
from trapmid.engine import generator
from trapmid.models import Classifier
from trapmid.priors import PriorTraining, StylePrior
from trapmid.types import UserError

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def prior() -> StylePrior:
    prior = prior_of(PPA_TINY)
    assert isinstance(prior, StylePrior)
    return prior


def test_defaults_are_the_published_constants() -> None:
    ppa = PPA()
    assert (ppa.candidates, ppa.starts, ppa.images_per_identity, ppa.selection_draws) == (5_000, 200, 50, 100)
    assert (ppa.truncation, ppa.search_steps, ppa.search_rate, ppa.betas) == (0.5, 70, 0.005, (0.1, 0.1))
    assert ppa.search_augmentation.crop_area == (0.9, 1.0)
    assert ppa.selection_augmentation.crop_area == (0.5, 0.9)
    assert ppa.selection_augmentation.crop_ratio == (0.8, 1.2)
    with pytest.raises(ValidationError, match="each is chosen from the next"):
        PPA(starts=10)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5), st.integers(2, 8), st.integers(0, 1000))
def test_poincare_distance_is_the_plain_formula(n: int, classes: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, dtype=torch.float64, generator=rng)
    labels = torch.randint(classes, (n,), generator=rng)
    found = poincare_distance(logits, labels)
    for row, label, distance in zip(logits.numpy(), labels.tolist(), found.tolist(), strict=True):
        u = row / np.abs(row).sum()
        v = np.clip(np.eye(classes)[label] - 1e-4, 0, 1)
        top = ((u - v) ** 2).sum()
        assert distance == pytest.approx(np.arccosh(1 + 2 * top / ((1 - (u**2).sum()) * (1 - (v**2).sum()))))


def test_poincare_gradient() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator(0, "logits")).requires_grad_()
    labels = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda x: poincare_distance(x, labels), (logits,))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 1000), st.floats(0.0, 20.0))
def test_l1_ball_projection_is_inside_and_changes_nothing_there(n: int, d: int, seed: int, radius: float) -> None:
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = within_l1_ball(x, torch.full((n,), radius, dtype=torch.float64))
    assert bool((found.abs().sum(1) <= radius + 1e-9).all())
    inside = x.abs().sum(1) <= radius
    torch.testing.assert_close(found[inside], x[inside])


def test_l1_ball_projection_is_the_nearest_point() -> None:
    x = torch.tensor([[3.0, -1.0, 0.2], [0.5, 0.4, -0.3]], dtype=torch.float64)
    for row, radius in zip(x.numpy(), (1.5, 0.6), strict=True):
        best = minimize(
            lambda y, row=row: ((y[:3] - y[3:] - row) ** 2).sum(),
            np.full(6, 0.01),
            bounds=[(0, None)] * 6,
            constraints={"type": "ineq", "fun": lambda y, radius=radius: radius - y.sum()},
        ).x
        found = within_l1_ball(torch.tensor(row)[None], torch.tensor([radius], dtype=torch.float64))[0]
        assert found.numpy() == pytest.approx(best[:3] - best[3:], abs=1e-4)


def test_candidates_are_shown_once_with_their_mirror_images(
    prior: StylePrior, model: Classifier, tmp_path: Path
) -> None:
    target, run = target_of(model), Run(5, CPU, tmp_path, prior)
    show_candidates(prior, target, 7, 0.5, 3, run)
    assert target.queries == 14
    found = shown_candidates(run)
    latents = torch.randn(7, prior.latent_size, generator=generator(5, "candidates"))
    with torch.no_grad():
        images = prior.synthesise(prior.map(latents, 0.5)).clamp(0, 1)
        plain = [model(x).logits.softmax(1) for x in (images, images.flip(3))]
    torch.testing.assert_close(found.scores, (plain[0] + plain[1]) / 2, atol=1e-5, rtol=1e-4)
    again = target_of(model)
    show_candidates(prior, again, 7, 0.5, 3, run)
    assert again.queries == 14


def test_best_candidates_are_each_identitys_own() -> None:
    scores = torch.rand(9, 4, generator=generator(0, "scores"))
    styles = torch.arange(9.0)[:, None]
    best = Candidates(styles, scores).best(torch.tensor([3, 1]), 2)
    for row, identity in zip(best, (3, 1), strict=True):
        assert row.flatten().tolist() == sorted(range(9), key=lambda i: -float(scores[i, identity]))[:2]


def test_most_confident_keeps_the_best_of_each_identity() -> None:
    pixels = torch.arange(6, dtype=torch.uint8)[:, None, None, None]
    labels = torch.tensor([4, 4, 4, 1, 1, 1])
    kept, of = most_confident(pixels, labels, torch.tensor([0.1, 0.9, 0.5, 0.3, 0.2, 0.8]), 2)
    assert kept.flatten().tolist() == [1, 2, 5, 3]
    assert of.tolist() == [4, 4, 1, 1]


def test_robust_confidence_is_the_mean_over_draws(model: Classifier) -> None:
    pixels, labels = faces(CLASSES, 1).pixels, torch.arange(CLASSES)
    shades = iter((0.2, 0.6, 1.0))
    found = robust_confidence(pixels, labels, target_of(model), lambda x: x * next(shades), 3)
    with torch.no_grad():
        plain = [model(pixels.float() / 255 * shade).logits.softmax(1).diagonal() for shade in (0.2, 0.6, 1.0)]
    torch.testing.assert_close(found, sum(plain) / 3)
    confidence = found_of(pixels, labels, target_of(model), 3).confidence
    with torch.no_grad():
        torch.testing.assert_close(confidence, model(pixels.float() / 255).logits.softmax(1).diagonal())


def test_attacks_on_styles_refuse_another_prior(model: Classifier, tmp_path: Path) -> None:
    gan = TINY_GAN.fit(PriorTraining(faces(6, 4, first=100), CLASSES, 0, CPU))
    for kind in ("ppa", "ifgmi", "mirror"):
        with pytest.raises(
            UserError, match=f"{kind} searches the styles of a prior such as stylegan2; it was given GAN"
        ):
            TINY_ATTACKS[kind].prepare(target_of(model), faces(2, 2), Run(0, CPU, tmp_path, gan))


def test_features_stay_near_where_they_began(prior: StylePrior) -> None:
    styles = prior.map(torch.randn(2, prior.latent_size, generator=generator(0, "z")))
    with torch.no_grad():
        start = prior.features_at(styles, 2)
    layer = _Layer(prior, start, 0.1)
    points = torch.cat([styles, start.maps.flatten(1)], 1)
    torch.testing.assert_close(layer.project(points), points)
    torch.testing.assert_close(layer.synthesise(points, slice(None)), prior.synthesise(styles))
    far = points + torch.randn(points.shape, generator=generator(1, "far"))
    moved_styles, maps = layer.split(layer.project(far))
    assert torch.equal(moved_styles, layer.split(far)[0])
    moved, size = (maps - start.maps).flatten(1).abs().sum(1), start.maps.flatten(1).abs().sum(1)
    torch.testing.assert_close(moved, 0.1 * size)


def test_more_layers_than_the_generator_has(prior: StylePrior, model: Classifier, tmp_path: Path) -> None:
    deep = IFGMI(ppa=PPA_TINY, layer_steps=(1,) * 4, radii=(0.1,) * 4)
    with pytest.raises(UserError, match="search 4 layers, and a generator of 4 blocks has 3 between"):
        deep.prepare(target_of(model), faces(2, 2), Run(0, CPU, tmp_path, prior))
    with pytest.raises(ValidationError, match="4 layer_steps and 1 radii"):
        IFGMI(radii=(0.1,))


def test_p_space_is_the_inverse_of_the_last_activation(prior: StylePrior) -> None:
    x = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(to_styles(to_p(x)), x)
    torch.testing.assert_close(to_p(torch.nn.functional.leaky_relu(x, 0.2)), x)
    space = p_space(prior, 1.0, seed=0)
    with torch.no_grad():
        styles = prior.map(torch.randn(2_000, prior.latent_size, generator=generator(0, "z")))
    clipped = to_p(space.clip(styles))
    assert bool((clipped <= space.high + 1e-4).all() & (clipped >= space.low - 1e-4).all())
    kept = (to_p(styles) - clipped).abs() < 1e-4
    assert 0.5 < float(kept.float().mean()) < 0.85  # 68 % of a normal lie within one standard deviation


def test_the_fittest_survive() -> None:
    herd = _Herd(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0.1, 0.7]]))
    assert herd.styles.flatten().tolist() == [2.0, 1.0]
    herd.survive(torch.tensor([[[3.0], [4.0]]]), torch.tensor([[0.05, 0.3]]))
    assert herd.styles.flatten().tolist() == [2.0, 4.0]
    assert herd.fitness.flatten().tolist() == pytest.approx([0.7, 0.3])


def test_children_have_their_parents_coordinates(prior: StylePrior) -> None:
    still = MIRROR(prior=STYLE_TINY, mutation=0.0, children=6, population=3, images_per_identity=1)
    styles = torch.arange(6.0).view(2, 3, 1) + torch.tensor([0.0, 0.1])
    herd = _Herd(styles, torch.rand(2, 3, generator=generator(0, "fitness")))
    children = still._children(herd, torch.ones(2))
    assert children.shape == (2, 6, 2)
    for child, parents in zip(children, styles, strict=True):
        for coordinate in (0, 1):
            assert set(child[:, coordinate].tolist()) <= set(parents[:, coordinate].tolist())
    moved = still.model_copy(update={"mutation": 1.0})._children(herd, torch.ones(2))
    assert not set(moved.flatten().tolist()) & set(styles.flatten().tolist())
