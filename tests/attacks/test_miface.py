"""MI-FACE against Algorithm 1 with the log-probability: one image, one loop."""

from pathlib import Path

import pytest
import torch

from helpers_attacks import CPU, faces, target_of, trained_classifier
from trapmid.attacks import MIFace, Run
from trapmid.models import Classifier

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


def plain_search(model: Classifier, label: int, steps: int, rate: float, sure_enough: float) -> torch.Tensor:
    x = torch.zeros(1, 3, 32, 32)
    for _ in range(steps):
        x.requires_grad_()
        probability = model(x).logits.softmax(1)[0, label]
        if probability.item() >= sure_enough:
            return x.detach()
        (gradient,) = torch.autograd.grad(-probability.log(), x)
        x = (x.detach() - rate * gradient).clamp(0, 1)
    return x.detach()


def test_is_the_algorithm(model: Classifier, tmp_path: Path) -> None:
    method = MIFace(search_steps=40, search_rate=1.0, sure_enough=0.8)
    found = method.invert(
        target_of(model),
        method.prepare(target_of(model), faces(2, 2), Run(0, CPU, tmp_path)),
        torch.arange(CLASSES),
        Run(0, CPU, tmp_path),
    )
    for label in range(CLASSES):
        expected = plain_search(model, label, 40, 1.0, 0.8)[0]
        assert float((found.pixels[label].float() / 255 - expected).abs().max()) <= 2 / 255
    assert float(found.confidence.max()) > 0.7


def test_defaults_are_the_published_constants() -> None:
    method = MIFace()
    assert (method.search_steps, method.search_rate, method.sure_enough, method.start_noise) == (5000, 0.1, 0.99, 0.0)


def test_stops_where_the_target_is_sure(model: Classifier, tmp_path: Path) -> None:
    """Twice as many steps change nothing once the probability is reached."""
    method = MIFace(search_rate=1.0, sure_enough=0.5)
    pixels = []
    for steps in (60, 90):
        run = Run(0, CPU, tmp_path / str(steps))
        longer = method.model_copy(update={"search_steps": steps})
        prior = longer.prepare(target_of(model), faces(2, 2), run)
        found = longer.invert(target_of(model), prior, torch.arange(CLASSES), run)
        pixels.append(found.pixels)
    assert torch.equal(*pixels)
