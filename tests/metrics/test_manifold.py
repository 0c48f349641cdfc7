"""Precision, recall, density, coverage: the package `prdc` for Naeem et al.'s, plain loops for the published ones."""

import math

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapmid.metrics.manifold import by_class, manifold

CLASSES = 4


def drawn(counts: list[int], seed: int, shift: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    features = shift + torch.randn(len(labels), 6, generator=rng) + labels[:, None]
    order = torch.randperm(len(labels), generator=rng)
    return features[order], labels[order]


def published(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    def radius(images: np.ndarray, of: int) -> float:
        others = sorted(float(np.linalg.norm(images[of] - one)) for i, one in enumerate(images) if i != of)
        return others[k - 1]

    def in_nearest(images: np.ndarray, spheres: np.ndarray) -> float:
        hits = []
        for image in images:
            distances = [float(np.linalg.norm(image - centre)) for centre in spheres]
            nearest = int(np.argmin(distances))
            hits.append(distances[nearest] < radius(spheres, nearest))
        return float(np.mean(hits))

    within = [[np.linalg.norm(r - f) < radius(real, i) for f in fake] for i, r in enumerate(real)]
    return {
        "precision": in_nearest(fake, real),
        "recall": in_nearest(real, fake),
        "density": float(np.mean([sum(row) for row in within])) / k,
        "coverage": float(np.mean([any(row) for row in within])),
    }


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(5, 9), min_size=CLASSES, max_size=CLASSES),  # prdc wants two more than k
    st.lists(st.integers(5, 7), min_size=CLASSES, max_size=CLASSES),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_published_is_the_loop_and_naeems_is_prdc(reals: list[int], fakes: list[int], k: int, seed: int) -> None:
    from prdc import compute_prdc

    (real, of_real), (fake, of_fake) = drawn(reals, seed), drawn(fakes, seed + 100, shift=0.5)
    measured = manifold(fake, of_fake, real, of_real, CLASSES, k)
    for y in range(CLASSES):
        mine, theirs = real[of_real == y].double().numpy(), fake[of_fake == y].double().numpy()
        expected = published(mine, theirs, k)
        with joblib.parallel_config(backend="sequential"):
            oracle = compute_prdc(mine, theirs, nearest_k=k)
        assert oracle["coverage"] == pytest.approx(expected["coverage"])
        expected |= {f"{name}_naeem": oracle[name] for name in ("precision", "recall", "density")}
        assert {name: float(values[y]) for name, values in measured.items()} == pytest.approx(expected)


def test_the_variants_are_told_apart() -> None:
    """A reconstruction in a wide sphere, nearest to the centre of a narrow one."""
    real = torch.tensor([[0.0], [0.1], [0.2], [0.3], [1.0], [9.0]])
    fake = torch.tensor([[1.5], [1.6]])
    measured = manifold(fake, torch.zeros(2).long(), real, torch.zeros(6).long(), 1, k=3)
    assert float(measured["precision"]) == 1  # the nearest, 1.0, has radius 0.9
    fake = torch.tensor([[0.5], [2.2]])
    measured = manifold(fake, torch.zeros(2).long(), real, torch.zeros(6).long(), 1, k=3)
    assert (
        float(measured["precision"]) == 0.5
    )  # 0.5 lies 0.2 from 0.3, of radius 0.3; 2.2 lies 1.2 from 1.0, of radius 0.9
    assert float(measured["precision_naeem"]) == 1  # 9.0 has radius 8.8
    assert float(measured["density"]) == pytest.approx(float(measured["density_naeem"]) * 2 / 6)


def test_same_images_fill_the_manifold_and_far_ones_miss_it() -> None:
    real, labels = drawn([8] * CLASSES, 0)
    same = manifold(real, labels, real, labels, CLASSES)
    assert all(float(same[name].min()) == 1 for name in ("precision", "recall", "coverage", "precision_naeem"))
    far = manifold(real + 1000, labels, real, labels, CLASSES)
    assert all(float(values.max()) == 0 for values in far.values())


def test_too_few_images_give_no_number() -> None:
    real, of_real = drawn([5, 3, 5, 0], 0)
    fake, of_fake = drawn([5, 5, 2, 5], 1)
    measured = manifold(fake, of_fake, real, of_real, CLASSES)
    known = {name: [not math.isnan(value) for value in values.tolist()] for name, values in measured.items()}
    assert known["precision"] == known["density_naeem"] == known["coverage"] == [True, False, True, False]
    assert known["recall"] == known["recall_naeem"] == [True, True, False, False]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_grouping_loses_nothing(labels: list[int]) -> None:
    features = torch.arange(1.0, len(labels) + 1)[:, None]
    groups = by_class(features, torch.tensor(labels), 6)
    assert groups.counts.tolist() == [labels.count(y) for y in range(6)]
    for y in range(6):
        expected = [float(i + 1) for i, label in enumerate(labels) if label == y]
        assert groups.features[y, groups.there[y], 0].tolist() == expected
    assert float(groups.features.sum()) == float(features.sum())
