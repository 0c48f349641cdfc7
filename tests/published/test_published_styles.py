"""PPA's candidates, IF-GMI's stages and both forms of MIRROR, against the loops of the authors' programs."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers_attacks import CPU, PPA_TINY, STYLE_TINY, TINY_ATTACKS, faces, prior_of, target_of, trained_classifier
from trapmid.attacks import IFGMI, MIRROR, PPA, MIRRORWhiteBox, Run
from trapmid.attacks.ifgmi import _Layer
from trapmid.attacks.mirror import _Herd, p_space
from trapmid.attacks.mirror_whitebox import Lowest, RampedAdam, ramp
from trapmid.attacks.styles import show_candidates, shown_candidates
from trapmid.engine import generator
from trapmid.priors import StyleGAN2, StylePrior

PRIVATE = faces(4, 4)


@pytest.fixture(scope="module")
def prior() -> StylePrior:
    found = prior_of(PPA_TINY)
    assert isinstance(found, StylePrior)
    return found


def test_candidates_are_truncated_in_their_first_layers_and_kept_truncated_in_all(
    prior: StylePrior, tmp_path: Path
) -> None:
    target = target_of(trained_classifier(PRIVATE))
    run = Run(0, CPU, tmp_path, prior)
    show_candidates(prior, target, 6, 0.5, 4, run, cutoff=3)
    found = shown_candidates(run)
    latents = torch.randn(6, prior.latent_size, generator=generator(0, "candidates"))
    with torch.no_grad():
        raw = prior.map(latents)
        mean = prior.map(latents, 0.0)
        low = mean + 0.5 * (raw - mean)
        layers = torch.stack([low if number < 3 else raw for number in range(2 * prior.blocks)], 1)
        images = prior.synthesise(layers).clamp(0, 1)
        expected = (target.scores(images) + target.scores(images.flip(3))) / 2
    torch.testing.assert_close(found.styles, low)
    torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-5)
    assert PPA().cutoff == 8
    assert PPA().truncation == 0.5


def test_if_gmi_s_constants() -> None:
    published = IFGMI()
    assert (published.ppa.starts, published.ppa.images_per_identity, published.ppa.search_steps) == (50, 50, 70)
    assert published.layer_steps == (25, 25, 25, 25)
    assert (published.style_radius, *published.radii) == (1000, 2000, 3000, 4000, 5000)
    assert not published.final_selection


def l1_ball(x: Tensor, radius: float) -> Tensor:
    """The nearest point of the ball, by bisection on the threshold."""
    if float(x.abs().sum()) <= radius:
        return x
    low, high = 0.0, float(x.abs().max())
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if float((x.abs() - middle).clamp_min(0).sum()) > radius else (low, middle)
    return x.sign() * (x.abs() - low).clamp_min(0)


def test_a_stage_projects_maps_and_styles_about_its_own_start(prior: StylePrior) -> None:
    with torch.no_grad():
        styles = prior.map(torch.randn(3, prior.latent_size))
        features = prior.features_at(styles, 1)
    layer = _Layer(prior, features, 2.5, styles)
    points = torch.cat([styles, features.maps.flatten(1)], 1)
    moved = points + torch.randn_like(points)
    for row, (found, start, there) in enumerate(zip(layer.project(moved), points, moved, strict=True)):
        size = prior.style_size
        for part in (slice(0, size), slice(size, None)):
            expected = start[part] + l1_ball(there[part] - start[part], 2.5)
            torch.testing.assert_close(found[part], expected, rtol=1e-4, atol=1e-4, msg=f"row {row}")


def test_a_stage_paints_with_the_remaining_blocks_alone(prior: StylePrior, tmp_path: Path) -> None:
    """With no steps after the first stage, the picture is what blocks 2 and up add to nothing."""
    method = IFGMI(
        ppa=PPA_TINY.model_copy(update={"search_steps": 1, "images_per_identity": 3}),
        layer_steps=(0, 0),
        radii=(1.0, 1.0),
    )
    target, run = target_of(trained_classifier(PRIVATE)), Run(0, CPU, tmp_path, prior)
    ready = method.prepare(target, PRIVATE, run)
    found = method.invert(target, ready, torch.tensor([1]), run)
    assert len(found.labels) == method.ppa.starts  # all candidates are results
    first = shown_candidates(run).best(torch.tensor([1]), 3).flatten(0, 1)
    plain = Run(0, CPU, tmp_path / "again", prior)
    moved = method.ppa.search(
        first, lambda points, _: prior.synthesise(points), torch.tensor([1, 1, 1]), target, plain, "search-1-0", 1
    )
    with torch.no_grad():
        two = prior.features_at(moved, 2)
        expected = prior.from_features(two._replace(picture=torch.zeros_like(two.picture)), moved)
    assert float((found.pixels.float() / 255 - expected.clamp(0, 1)).abs().max()) < 2 / 255


def test_mirrors_bounds_are_those_of_a_population(prior: StylePrior) -> None:
    space = p_space(prior, 1.0, 0, 500)
    from trapmid.engine import randomness

    with torch.no_grad(), randomness(0, "P space"):
        w = prior.map(torch.randn(500, prior.latent_size))
    p = torch.where(w > 0, w, 5 * w)
    mean, deviation = p.mean(0), ((p - p.mean(0)) ** 2).mean(0).sqrt()
    torch.testing.assert_close(space.low, mean - deviation, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(space.high, mean + deviation, rtol=1e-4, atol=1e-5)
    assert MIRROR().bounding_styles == 100_000


def test_mirrors_next_generation() -> None:
    """Parents by softmax of the log-probability, genes by f1 / (f1 + f2), noise shared by a generation."""
    method = MIRROR(population=4, candidates=8, mutation=0.5, strength=0.1)
    styles = torch.arange(1, 5, dtype=torch.float64)[None, :, None].expand(1, 4, 2000).clone()
    herd = _Herd(styles, torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64))
    torch.manual_seed(0)
    children = method._offspring(herd, torch.full((2000,), 2.0, dtype=torch.float64))
    assert children.shape == (1, 3, 2000)
    genes, noise = children.round(), children - children.round()
    assert float(noise.abs().max()) <= 0.1 * 2
    moved = noise.abs() > 1e-12
    assert 0.45 < float(moved.double().mean()) < 0.55
    both = moved[0, 0] & moved[0, 1]
    torch.testing.assert_close(noise[0, 0][both], noise[0, 1][both])  # one vector for all children
    logs = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    for child in genes[0]:
        kinds = child.unique().long().tolist()
        if len(kinds) == 2:
            f1, f2 = float(logs[kinds[0] - 1]), float(logs[kinds[1] - 1])
            assert float((child == kinds[0]).double().mean()) == pytest.approx(f1 / (f1 + f2), abs=0.05)


def test_mirrors_elite_lives_on_and_a_search_that_is_sure_stands_still() -> None:
    herd = _Herd(torch.rand(2, 3, 4), torch.tensor([[0.5, 0.2, 0.1], [0.96, 0.1, 0.1]]))
    elite, still = herd.styles[0, 0].clone(), herd.styles[1].clone()
    children = torch.rand(2, 2, 4)
    herd.succeed(torch.tensor([True, False]), children, torch.tensor([[0.1, 0.3], [0.99, 0.99]]))
    assert torch.equal(herd.styles[0, 0], elite)
    assert torch.equal(herd.styles[0, 1:], children[0, [1, 0]])
    torch.testing.assert_close(herd.fitness[0], torch.tensor([0.5, 0.3, 0.1]))
    assert torch.equal(herd.styles[1], still)


def test_mirror_breeds_as_published_to_the_end(prior: StylePrior, tmp_path: Path) -> None:
    method = MIRROR(prior=STYLE_TINY, candidates=40, population=6, generations=5, bounding_styles=500, chunk=20)
    target, run = target_of(trained_classifier(PRIVATE)), Run(0, CPU, tmp_path, prior)
    found = method.invert(target, method.prepare(target, PRIVATE, run), torch.arange(4), run)
    assert len(found.labels) == 4
    shown = shown_candidates(run)
    assert target.queries <= 2 * 40 + 4 * 6 + 5 * 4 * 5 + 4
    began = shown.scores[:, torch.arange(4)].amax(0)
    assert float(found.confidence.mean()) > 0.5 * float(began.mean())


def test_the_white_boxs_rate_and_choice() -> None:
    assert [ramp(t) for t in (0.0, 0.025, 0.5, 0.75)] == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert ramp(0.875) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.5))
    weight = torch.nn.Parameter(torch.zeros(1))
    adam = RampedAdam([weight], 0.25, betas=(0.9, 0.999), steps=40)
    rates = []
    for _ in range(40):
        weight.grad = torch.ones(1)
        adam.step()
        rates.append(adam.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25 * ramp(step / 40) for step in range(40)])
    lowest = Lowest(torch.zeros(4, 1), 2)
    for value, losses in ((1.0, [3.0, 3, 1, 1]), (2.0, [1.0, 4, 2, 2]), (3.0, [4.0, 4, 0, 1])):
        lowest.see(torch.full((3, 1), value), torch.tensor(losses[:3]), slice(0, 3))
        lowest.see(torch.full((1, 1), value), torch.tensor(losses[3:]), slice(3, 4))
        lowest.compare()
    assert lowest.styles.flatten().tolist() == [2.0, 2.0, 3.0, 3.0]  # sums 6, 5, 8 and 2, 4, 1


def test_the_white_box_is_the_authors_loop(prior: StylePrior, tmp_path: Path) -> None:
    method = MIRRORWhiteBox(
        prior=STYLE_TINY, candidates=40, search_steps=6, flip=0.0, bounding_styles=500, images_per_identity=3
    )
    target, run = target_of(trained_classifier(PRIVATE)), Run(0, CPU, tmp_path, prior)
    ready = method.prepare(target, PRIVATE, run)
    found = method.invert(target, ready, torch.tensor([2]), run)
    space = p_space(prior, 1.0, 0, 500)
    w = shown_candidates(run).best(torch.tensor([2]), 3).flatten(0, 1).clone().requires_grad_()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    best, kept = math.inf, w.detach().clone()
    for step in range(6):
        loss = F.cross_entropy(target.predict(prior.synthesise(w)).logits, torch.tensor([2, 2, 2]), reduction="sum")
        if float(loss) < best:
            best, kept = float(loss), w.detach().clone()
        (g,) = torch.autograd.grad(10 * loss, w)
        with torch.no_grad():
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            rate = 0.25 * ramp(step / 6)
            w -= rate * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
            p = torch.where(w > 0, w, 5 * w).clamp(space.low, space.high)
            w.copy_(torch.where(p > 0, p, p / 5))
    with torch.no_grad():
        expected = prior.synthesise(kept).clamp(0, 1)
    assert float((found.pixels.float() / 255 - expected).abs().max()) < 3 / 255
    assert "mirror-whitebox" in TINY_ATTACKS
    assert isinstance(method.prior, StyleGAN2)
