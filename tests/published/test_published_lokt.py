"""LOKT's students and search, against the authors' objectives."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers_attacks import CPU, faces, target_of, trained_classifier
from trapmid.attacks import LOKT, Run
from trapmid.attacks.distillation import Distillation
from trapmid.attacks.margin import MarginSearch
from trapmid.attacks.search import Descent
from trapmid.augment import Degradation, NoAugmentation
from trapmid.models import Tiny
from trapmid.priors import Prior
from trapmid.targets import WhiteBoxTarget
from trapmid.types import logits_of


def test_constants() -> None:
    published = LOKT()
    learning = published.distillation
    assert (learning.epochs, learning.batches, learning.batch_size) == (200, 117, 256)
    assert (learning.rate, learning.momentum, learning.weight_decay, learning.schedule) == (0.1, 0.9, 5e-4, "cosine")
    assert published.samples == 500 * 1000
    assert [student.pooling for student in published.students] == ["none"] * 3  # type: ignore[union-attr]
    assert (published.search_rate, published.search_steps, published.images_per_identity) == (0.1, 600, 5)


class Half(nn.Module):
    """An augmentation without chance: darker pictures."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 0.5


def test_a_student_learns_from_plain_and_augmented_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of SGD with a cosine, written out."""
    monkeypatch.setattr(Degradation, "build", lambda self, size: Half())
    method = Distillation(
        epochs=1, batches=2, batch_size=4, rate=0.1, weight_decay=5e-4, schedule="cosine", augmentation=Degradation()
    )
    public, target = faces(4, 4), target_of(trained_classifier(faces(4, 4)))
    answers = F.one_hot(torch.arange(16) % 4, 4).float()
    model, run = Tiny(widths=(4, 8), strides=(2, 2)), Run(0, CPU, tmp_path)
    found = method.teach(model, "student", public, answers, target, run)
    assert (tmp_path / "student").exists()

    from trapmid.engine import generator, randomness

    with randomness(0, "student", "weights"):
        student = model.build(4, 32, 3).train()
    order = torch.randperm(16, generator=generator(0, "student", "order", 0))
    momenta = [torch.zeros_like(weight) for weight in student.parameters()]
    for step, rate in enumerate((0.1, 0.05)):  # 0.1 * (1 + cos(pi step / 2)) / 2
        rows = order[4 * step : 4 * step + 4]
        images, labels = public.images()[rows], answers[rows].argmax(1)
        plain = F.cross_entropy(logits_of(student(images)), labels)
        loss = 0.5 * plain + 0.5 * F.cross_entropy(logits_of(student(images * 0.5)), labels)
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for weight, momentum, gradient in zip(student.parameters(), momenta, gradients, strict=True):
                momentum.mul_(0.9).add_(gradient + 5e-4 * weight)
                weight -= rate * momentum
    for weight, expected in zip(found.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)


class Pixels(Prior):
    """Latents are pictures."""

    generator = nn.Identity()
    latent_size, num_classes, device = 3 * 4 * 4, 2, torch.device("cpu")
    rows: list[dict[str, float]] = []  # noqa: RUF012

    def decode(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return latents.view(-1, 3, 4, 4)

    def save(self, folder: Path) -> list[str]:
        return []


def test_the_search_averages_the_margins_of_the_students(tmp_path: Path) -> None:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Flatten(), nn.Linear(48, 3)) for _ in range(2)]
    targets = [WhiteBoxTarget(model.eval(), 3, (3, 4, 4)) for model in models]
    search = MarginSearch(Descent("lokt", 1, 0.1, 10), 1, NoAugmentation(), 2, 1)
    seen: list[float] = []
    found = search.run(targets[0], Pixels(), torch.tensor([1]), Run(0, CPU, tmp_path), beside=targets[1:])
    from trapmid.attacks.search import initial_latents

    z = initial_latents(torch.tensor([1]), 3, 1, 48, 0).flatten(0, 1).requires_grad_()
    for model in models:
        logits = model(z.view(-1, 3, 4, 4))
        margin = torch.maximum(logits[:, 0], logits[:, 2]) - logits[:, 1]
        seen.append(2 * margin.sum())  # two views
    (g,) = torch.autograd.grad(torch.stack(seen).mean(), z)  # type: ignore[arg-type]
    stepped = z.detach() - 0.1 * g / (g.abs() + 1e-8)  # the first step of Adam
    assert float((found.pixels.float() / 255 - stepped.view(1, 3, 4, 4).clamp(0, 1)).abs().max()) < 1.5 / 255
    for target in targets:
        assert target.queries >= 2
