"""HSIC, COCO and the kernels against loops over images; balanced batches against their promise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapmid.defenses import BiDO
from trapmid.defenses.bido import balanced_batches, coco, hsic, kernel
from trapmid.types import Prediction, UserError

SIGMA = 1.7


def naive_kernel(name: str, points: torch.Tensor) -> np.ndarray:
    flat = points.flatten(1).double().numpy()
    m, dim = flat.shape
    found = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            u = sum((a - b) ** 2 for a, b in zip(flat[i], flat[j], strict=True)) / (2 * SIGMA**2 * dim)
            found[i, j] = {"linear": float(flat[i] @ flat[j]), "gaussian": math.exp(-u), "imq": 1 / math.sqrt(1 + u)}[
                name
            ]
    return found


def naive_hsic(k: np.ndarray, other: np.ndarray) -> float:
    m = len(k)
    centre = np.eye(m) - np.ones((m, m)) / m
    r, s = (c @ np.linalg.inv(c + 1e-5 * m * np.eye(m)) for c in (k @ centre, other @ centre))
    return sum(r[i, j] * s[j, i] for i in range(m) for j in range(m))


def naive_coco(k: np.ndarray, other: np.ndarray) -> float:
    m = len(k)
    centre = np.eye(m) - np.ones((m, m)) / m
    product = (centre @ k @ centre) @ (centre @ other @ centre)
    return math.sqrt(math.sqrt(sum(value**2 for row in product for value in row))) / m


@pytest.mark.parametrize("name", ["linear", "gaussian", "imq"])
def test_kernels(name: str) -> None:
    points = torch.randn(5, 2, 3, 4)
    np.testing.assert_allclose(kernel(name, points, SIGMA).numpy(), naive_kernel(name, points), rtol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("label_kernel", ["linear", "gaussian", "imq"])
@pytest.mark.parametrize(("measure", "naive"), [("hsic", naive_hsic), ("coco", naive_coco)])
def test_the_terms_of_the_loss(measure, naive, label_kernel) -> None:
    images, labels = torch.rand(6, 3, 4, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    hidden = torch.randn(6, 2, 3, 3, requires_grad=True), torch.randn(6, 7, requires_grad=True)
    defense = BiDO(measure=measure, label_kernel=label_kernel, sigma=SIGMA, input_weight=0.3, label_weight=0.7)
    (term,) = defense.changes().terms
    found = term(Prediction(torch.zeros(6, 4), hidden[1], hidden), images, labels)
    one_hot = torch.eye(4)[labels]
    of_input, of_label = naive_kernel("gaussian", images), naive_kernel(label_kernel, one_hot)
    of_hidden = [naive_kernel("gaussian", h.detach()) for h in hidden]
    assert found.keys() == {"input_dependence", "label_dependence"}
    by_input, by_label = (float(found[f"{name}_dependence"].detach()) for name in ("input", "label"))
    assert by_input == pytest.approx(0.3 * sum(naive(k, of_input) for k in of_hidden), rel=1e-5)
    assert by_label == pytest.approx(-0.7 * sum(naive(k, of_label) for k in of_hidden), rel=1e-5)
    sum(found.values()).backward()
    assert all(h.grad is not None and h.grad.isfinite().all() and h.grad.any() for h in hidden)


def test_batches_without_a_pair_are_told() -> None:
    hidden = torch.randn(4, 7)
    prediction = Prediction(torch.zeros(4, 4), hidden, (hidden,))
    BiDO().dependence(prediction, torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 2, 2]))
    with pytest.warns(UserWarning, match=r"in this batch of 4 no two images .*balanced_batches does"):
        BiDO().dependence(prediction, torch.rand(4, 3, 4, 4), torch.arange(4))


def test_dependence_tells_dependent_from_independent() -> None:
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(40, 1, generator=rng), torch.randn(40, 1, generator=rng)
    for measure in (hsic, coco):
        own, same, other = (kernel("gaussian", points, 1.0) for points in (x, x.tanh(), noise))
        assert measure(own, same) > 2 * measure(own, other) > 0


def test_a_network_without_hidden_maps() -> None:
    with pytest.raises(UserError, match="bido regularises hidden maps, and this classifier returns none"):
        BiDO().dependence(
            Prediction(torch.zeros(2, 3), torch.zeros(2, 3)), torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
        )


def test_the_published_batches() -> None:
    labels = torch.arange(100).repeat_interleave(27)[torch.randperm(2700)]
    batches = balanced_batches(labels, 64, 4, torch.Generator().manual_seed(0))
    assert len(batches) == 2700 // 64
    for rows in batches:
        assert len(rows.unique()) == 64
        assert labels[rows].bincount(minlength=100).unique().tolist() == [0, 4]
    seen = torch.cat(list(batches)).unique()
    assert len(seen) > 0.55 * 2700  # 1 - 1/e of them, about
    again = balanced_batches(labels, 64, 4, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    batch_size=st.integers(1, 20),
    per_identity=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_any_numbers_make_whole_batches(counts: list[int], batch_size: int, per_identity: int) -> None:
    labels = torch.cat([torch.full((count,), 3 * identity) for identity, count in enumerate(counts)])
    batches = balanced_batches(labels, batch_size, per_identity, torch.Generator().manual_seed(1))
    assert len(batches) == len(labels) // batch_size
    most = max(per_identity, -(-batch_size // len(counts)))
    for rows in batches:
        assert len(rows) == batch_size
        taken = labels[rows].bincount()
        assert int(taken.max()) <= most
        assert sorted(taken[taken > 0].tolist())[1:] == [most] * (int((taken > 0).sum()) - 1)
        for identity in labels[rows].unique():  # an image comes again only when its identity has run out of others
            own = rows[labels[rows] == identity]
            assert len(own.unique()) == min(len(own), int((labels == identity).sum()))
