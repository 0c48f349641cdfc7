"""Every formula against an independent version."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from trapmid.metrics import distance, fidelity
from trapmid.metrics.accuracy import rank_of_label
from trapmid.metrics.distance import nearer_to_private, nearest_of_identity
from trapmid.metrics.fidelity import frechet_distance, kernel_distance
from trapmid.metrics.intervals import over_identities, over_seeds
from trapmid.metrics.of_attacks import outside_range
from trapmid.metrics.utility import calibration_error


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 8), st.integers(1, 8), st.integers(0, 1000))
def test_rank_is_the_plain_loop(n: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (n, classes)).astype(np.float32), rng.integers(0, classes, n)  # with ties
    expected = [sum(other > row[label] for other in row) for row, label in zip(scores, labels, strict=True)]
    assert rank_of_label(torch.tensor(scores).view(n, classes), torch.tensor(labels)).tolist() == expected


@pytest.mark.parametrize("k", [1, 5])
def test_accuracy_from_ranks_is_sklearns(k: int) -> None:
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 12)), rng.integers(0, 12, 200)
    scores[np.arange(200), labels] += 1
    hits = rank_of_label(torch.tensor(scores, dtype=torch.float32), torch.tensor(labels)) < k
    assert float(hits.double().mean()) == pytest.approx(top_k_accuracy_score(labels, scores, k=k, labels=range(12)))


def test_nearest_of_identity_is_sklearns_squared() -> None:
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    found, real = rng.normal(size=(30, 16)).astype(np.float32), rng.normal(size=(80, 16)).astype(np.float32)
    of_found, of_real = rng.integers(0, 4, 30), rng.integers(0, 4, 80)
    expected = np.empty(30)
    for label in range(4):
        nearest = NearestNeighbors(n_neighbors=1).fit(real[of_real == label])
        expected[of_found == label] = nearest.kneighbors(found[of_found == label])[0][:, 0] ** 2
    measured = nearest_of_identity(
        torch.tensor(found), torch.tensor(of_found), torch.tensor(real), torch.tensor(of_real)
    )
    np.testing.assert_allclose(measured.numpy(), expected, rtol=1e-4)


def test_nearest_of_identity_is_that_of_all_pairs_however_many_there_are() -> None:
    rng = torch.Generator().manual_seed(0)
    (n, m), classes = (700, 900), 40
    features, reference = (torch.randn(count, 6, generator=rng) for count in (n, m))
    labels, of_reference = (torch.randint(classes, (count,), generator=rng) for count in (n, m))
    labels[:300] = 7  # one identity fills a part by itself
    of_reference[of_reference == 11] = 12
    squared = torch.cdist(features, reference, compute_mode="donot_use_mm_for_euclid_dist").square()
    expected = squared.masked_fill(labels[:, None] != of_reference[None, :], torch.inf).amin(1)
    measured = nearest_of_identity(features, labels, reference, of_reference)
    assert torch.equal(measured, expected)
    assert bool(measured[labels == 11].isinf().all())


def test_nearest_of_identity_keeps_small_differences_of_large_features() -> None:
    """Expanding |a - b|^2 into products would lose them in float32."""
    near = torch.full((1, 512), 100.0)
    apart = nearest_of_identity(near + 1e-3, torch.tensor([0]), near, torch.tensor([0]))
    assert float(apart) == pytest.approx(512 * 1e-6, rel=0.05)


def test_nearest_of_an_identity_without_images_is_infinite() -> None:
    assert nearest_of_identity(
        torch.zeros(1, 2), torch.tensor([1]), torch.zeros(3, 2), torch.tensor([0, 0, 2])
    ).tolist() == [math.inf]


def test_nearer_to_private_is_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "_AT_A_TIME", 7)
    rng = np.random.default_rng(0)
    found, private, public = rng.normal(size=(40, 3)), rng.normal(size=(20, 3)), 1 + rng.normal(size=(25, 3))
    expected = [min(np.linalg.norm(private - x, axis=1)) < min(np.linalg.norm(public - x, axis=1)) for x in found]
    measured = nearer_to_private(torch.tensor(found), torch.tensor(private), torch.tensor(public))
    assert measured.tolist() == expected
    assert 0 < sum(expected) < 40


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0, 200.0])
def test_calibration_error_is_torchmetrics(sharpness: float) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (300,), generator=rng)
    logits = sharpness * (torch.randn(300, 7, generator=rng) + torch.eye(7)[labels])
    expected = multiclass_calibration_error(logits.double().softmax(1), labels, 7, n_bins=15, norm="l1")
    assert calibration_error(logits, labels) == pytest.approx(float(expected), abs=1e-6)


def test_calibration_error_of_one_who_is_always_sure_is_his_error() -> None:
    logits, labels = 1000 * torch.eye(4)[[0, 1, 2, 3]], torch.tensor([0, 1, 2, 0])
    assert calibration_error(logits, labels) == pytest.approx(0.25)


def test_values_outside_the_range_are_counted() -> None:
    images = torch.tensor([0.0, 1.0, 0.5, -0.0005, -0.5, 1.2, math.nan, 1.0005]).view(2, 1, 2, 2)
    assert outside_range(images) == pytest.approx(3 / 8)


def plain_frechet(a: np.ndarray, b: np.ndarray) -> float:
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum()
        + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * np.real(root))
    )


def test_frechet_distance_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 6)), 0.5 + rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    measured = frechet_distance(torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32))
    assert measured == pytest.approx(plain_frechet(a, b), rel=1e-3)


def test_frechet_distance_to_itself_and_to_a_shift() -> None:
    a = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(a, a + 2) == pytest.approx(5 * 4, rel=1e-3)  # equal covariances: only the means count


def test_frechet_distance_with_fewer_images_than_features() -> None:
    """A judge has 128 features and an attack may find 20 pictures: singular covariances, still a number."""
    rng = torch.Generator().manual_seed(0)
    apart = frechet_distance(torch.randn(20, 32, generator=rng), 1 + torch.randn(200, 32, generator=rng))
    assert math.isfinite(apart)
    assert apart > 32


@pytest.mark.parametrize(("n", "m", "size"), [(300, 200, 6), (20, 200, 32), (8, 9, 40)])
def test_frechet_distance_is_torchmetrics(n: int, m: int, size: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = size

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    rng = torch.Generator().manual_seed(n)
    found, private = torch.randn(n, size, generator=rng), 0.5 + 2 * torch.randn(m, size, generator=rng)
    metric = FrechetInceptionDistance(feature=Given())
    metric.update(private, real=True)
    metric.update(found, real=False)
    assert frechet_distance(found, private) == pytest.approx(float(metric.compute()), rel=1e-4)


def plain_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    return float(within_a + within_b - 2 * np.mean([kernel(x, y) for x in a for y in b]))


@pytest.mark.parametrize("at_a_time", [1024, 4])
def test_kernel_distance_is_the_loop_over_pairs(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "_AT_A_TIME", at_a_time)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(11, 5)), 0.5 + rng.normal(size=(7, 5))
    assert kernel_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(plain_kernel_distance(a, b))


def test_kernel_distance_is_torchmetrics() -> None:
    """On the one subset that holds everything."""
    from torchmetrics.image.kid import poly_mmd

    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 16, generator=rng), 0.3 + torch.randn(30, 16, generator=rng)
    expected = float(poly_mmd(b.double(), a.double()))
    assert kernel_distance(a, b) == pytest.approx(expected)
    assert kernel_distance(a, b[:20]) != pytest.approx(expected)


def test_kernel_distance_of_a_set_to_another_of_its_kind_is_zero_on_average() -> None:
    rng = torch.Generator().manual_seed(0)
    values = [kernel_distance(torch.randn(20, 8, generator=rng), torch.randn(30, 8, generator=rng)) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 1000))
def test_bootstrap_contains_the_mean(identities: int, each: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    who = torch.arange(identities).repeat_interleave(each)
    values = torch.rand(len(who), generator=rng)
    interval = over_identities(values, who)
    assert interval.value == pytest.approx(float(values.double().mean()))
    assert interval.low - 1e-9 <= interval.value <= interval.high + 1e-9
    assert interval.low >= 0
    assert interval.high <= 1


def test_bootstrap_narrows_with_the_root_of_identities() -> None:
    widths = []
    for identities in (25, 400):
        values = torch.rand(identities, generator=torch.Generator().manual_seed(0)).round()
        interval = over_identities(values, torch.arange(identities))
        widths.append(interval.high - interval.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


def test_bootstrap_is_the_binomials_for_one_image_each() -> None:
    """Redrawing n independent coin tosses: the interval's ends are quantiles of a binomial."""
    values = torch.tensor([1.0] * 30 + [0.0] * 70)
    interval = over_identities(values, torch.arange(100), draws=20_000)
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100
    assert interval.low == pytest.approx(low, abs=0.011)
    assert interval.high == pytest.approx(high, abs=0.011)


def test_bootstrap_redraws_identities_and_not_images() -> None:
    """Copies of an image add no knowledge: the interval must not shrink."""
    values, who = torch.rand(20, generator=torch.Generator().manual_seed(0)), torch.arange(20)
    one, many = over_identities(values, who), over_identities(values.repeat_interleave(50), who.repeat_interleave(50))
    assert one == pytest.approx(many)


def test_bootstrap_of_equal_values_is_exact() -> None:
    assert over_identities(torch.ones(6), torch.tensor([0, 0, 1, 1, 2, 2])) == (1, 1, 1)
    assert over_identities(torch.tensor([0.25, 0.75]), torch.tensor([3, 3])) == (0.5, 0.5, 0.5)  # one identity


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values, who = torch.rand(20, generator=torch.Generator().manual_seed(0)), torch.arange(20)
    assert over_identities(values, who, seed=1) == over_identities(values, who, seed=1)
    assert over_identities(values, who, seed=1) != over_identities(values, who, seed=2)


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.1, 0.4, 0.2], [0.81, 0.79, 0.85, 0.9, 0.8]])
def test_over_seeds_is_scipys_interval(values: list[float]) -> None:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert over_seeds(values) == pytest.approx((np.mean(values), low, high))


def test_over_seeds_of_one_run_knows_no_interval() -> None:
    interval = over_seeds([0.7])
    assert interval.value == 0.7
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
