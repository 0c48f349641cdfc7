"""What searches share, each against a plain version of itself."""

import heapq
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from helpers_attacks import CPU, TINY_GAN, faces, target_of, trained_classifier
from trapmid.attacks import Run
from trapmid.attacks.search import best_latents, decode_found, initial_latents, max_margin, optimise, top_n
from trapmid.engine import generator
from trapmid.models import Classifier
from trapmid.priors import GAN, PriorTraining

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def gan() -> GAN:
    """A prior with random weights in eval mode: enough for whatever is asked of a search here."""
    return TINY_GAN.fit(PriorTraining(faces(6, 4, first=100), CLASSES, 0, CPU))


def plain_margin(logits: list[float], label: int) -> float:
    return max(value for i, value in enumerate(logits) if i != label) - logits[label]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6), st.integers(2, 9), st.integers(0, 1000))
def test_max_margin_is_the_plain_loop(n: int, classes: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(n, classes, generator=rng), torch.randint(classes, (n,), generator=rng)
    expected = [plain_margin(row, label) for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    torch.testing.assert_close(max_margin(logits, labels), torch.tensor(expected).reshape(n))


def test_max_margin_gradient() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 3, 6, 2, 2])
    assert torch.autograd.gradcheck(lambda x: max_margin(x, labels), (logits,))


def test_max_margin_gradient_does_not_vanish_when_the_label_wins() -> None:
    logits = torch.tensor([[50.0, 0.0, 1.0]], requires_grad=True)
    label = torch.tensor([0])
    (of_margin,) = torch.autograd.grad(max_margin(logits, label).sum(), logits)
    (of_entropy,) = torch.autograd.grad(F.cross_entropy(logits, label), logits)
    assert of_margin.tolist() == [[-1.0, 0.0, 1.0]]
    assert float(of_entropy.abs().max()) < 1e-9


def queue_top_n(scores: Tensor, n: int) -> list[list[int]]:
    """A bounded priority queue per class, fed image by image."""
    chosen = []
    for column in scores.T.tolist():
        queue: list[tuple[float, int]] = []
        for row, score in enumerate(column):
            if len(queue) < n:
                heapq.heappush(queue, (score, row))
            else:
                heapq.heappushpop(queue, (score, row))
        chosen.append([row for _, row in sorted(queue, reverse=True)])
    return chosen


@pytest.mark.parametrize(("images", "n"), [(200, 30), (30, 30), (7, 30), (1, 1)])
def test_top_n_is_the_priority_queue(images: int, n: int) -> None:
    scores = torch.randn(images, 6, generator=torch.Generator().manual_seed(images)).softmax(1)
    assert len(set(scores.flatten().tolist())) == scores.numel()  # no ties, so there is one answer
    chosen = top_n(scores, n)
    assert chosen.shape == (6, min(n, images))
    assert chosen.tolist() == queue_top_n(scores, n)


def test_an_image_may_stand_for_several_classes() -> None:
    scores = torch.tensor([[0.9, 0.8], [0.1, 0.2], [0.5, 0.6]])
    assert top_n(scores, 2).tolist() == [[0, 2], [0, 2]]


def test_initial_latents_do_not_depend_on_the_batch() -> None:
    everyone = initial_latents(torch.arange(10), 10, 3, 5, seed=1)
    assert everyone.shape == (10, 3, 5)
    assert torch.equal(initial_latents(torch.tensor([7, 2]), 10, 3, 5, seed=1), everyone[[7, 2]])
    assert torch.equal(initial_latents(torch.tensor([9]), 10, 3, 5, seed=1), everyone[[9]])
    assert not torch.equal(initial_latents(torch.arange(10), 10, 3, 5, seed=2), everyone)
    assert len({tuple(z) for z in everyone.flatten(0, 1).tolist()}) == 30
    assert abs(float(initial_latents(torch.arange(50), 50, 20, 20, seed=1).std()) - 1) < 0.02


def searched(gan: GAN, model: Classifier, identities: Tensor, tmp_path: Path, chunk: int) -> Tensor:
    target = target_of(model)
    gan.generator.requires_grad_(False)
    first = initial_latents(identities, CLASSES, 2, gan.latent_size, seed=5)
    labels = identities.repeat_interleave(2)

    def loss(latents: Tensor, part: slice) -> Tensor:
        return max_margin(target.predict(gan.decode(latents, labels[part])).logits, labels[part])

    return optimise(
        first.flatten(0, 1), loss, steps=15, rate=0.05, run=Run(5, CPU, tmp_path), name="search", chunk=chunk
    )


def test_a_batch_finds_what_each_identity_finds_alone(gan: GAN, model: Classifier, tmp_path: Path) -> None:
    together = searched(gan, model, torch.arange(CLASSES), tmp_path, chunk=100)
    chunked = searched(gan, model, torch.arange(CLASSES), tmp_path, chunk=3)
    alone = torch.cat([searched(gan, model, torch.tensor([i]), tmp_path, chunk=100) for i in range(CLASSES)])
    start = initial_latents(torch.arange(CLASSES), CLASSES, 2, gan.latent_size, seed=5).flatten(0, 1)
    assert float((together - start).abs().mean()) > 0.1
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together, chunked, atol=1e-3, rtol=1e-3)


def test_optimise_is_adam_on_each_latent(tmp_path: Path) -> None:
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    goal = torch.arange(15.0).view(5, 3)
    found = optimise(
        start,
        lambda z, part: (z - goal[part]).square().sum(1),
        steps=20,
        rate=0.1,
        run=Run(0, CPU, tmp_path),
        name="search",
        chunk=2,
    )
    assert not found.requires_grad
    for row in range(5):
        z = start[row].clone().requires_grad_()
        adam = torch.optim.Adam([z], 0.1)
        for _ in range(20):
            adam.zero_grad()
            (z - goal[row]).square().sum().backward()
            adam.step()
        torch.testing.assert_close(found[row], z.detach())


def test_optimise_leaves_its_start_alone(tmp_path: Path) -> None:
    start = torch.zeros(2, 3)
    optimise(
        start,
        lambda z, _: (z - 1).square().sum(1),
        steps=3,
        rate=0.1,
        run=Run(0, CPU, tmp_path),
        name="search",
        chunk=2,
    )
    assert torch.equal(start, torch.zeros(2, 3))


@pytest.mark.parametrize("chunk", [100, 3])
def test_best_latents_are_those_the_target_is_most_confident_in(gan: GAN, model: Classifier, chunk: int) -> None:
    identities, keep = torch.tensor([1, 3]), 2
    latents = initial_latents(identities, CLASSES, 6, gan.latent_size, seed=0)
    chosen = best_latents(latents, identities, keep, gan, target_of(model), lambda x: x, chunk)
    assert chosen.shape == (2, keep, gan.latent_size)
    for i, identity in enumerate(identities.tolist()):
        with torch.no_grad():
            sure = [
                float(model(gan.decode(z[None], torch.tensor([identity]))).logits.log_softmax(1)[0, identity])
                for z in latents[i]
            ]
        best = sorted(range(6), key=lambda j: -sure[j])[:keep]
        assert torch.equal(chosen[i], latents[i, best])


def test_decoded_pictures_and_queries_are_counted(gan: GAN, model: Classifier) -> None:
    labels = torch.tensor([0, 1, 2, 3, 3])
    target = target_of(model)
    latents = torch.randn(5, gan.latent_size, generator=generator(0, "z"))
    found = decode_found(latents, labels, gan, target, chunk=2)
    with torch.no_grad():
        expected = (gan.decode(latents, labels).clamp(0, 1) * 255).round()
    assert float((found.pixels.float() - expected).abs().max()) <= 1
    assert torch.equal(found.labels, labels)
    assert target.queries == 5
