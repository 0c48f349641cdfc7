"""WRK against its steps written out: moved copies, a last layer drawn anew, a cosine of SGD."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers_attacks import CLASSES, CPU, PLGMI_TINY, faces, target_of, trained_classifier
from trapmid.attacks import Run
from trapmid.attacks.wrk import WRK, last_linear, random_labels
from trapmid.engine import generator, randomness
from trapmid.types import UserError, logits_of


def test_constants() -> None:
    method = WRK()
    assert (method.share, method.step, method.least, method.epochs, method.batch_size) == (0.05, 2.0, 101, 10, 32)
    assert (method.rate, method.momentum, method.away) == (1e-3, 0.9, 0.01)


def test_labels_are_random_and_neither_0_nor_the_images_own() -> None:
    labels = torch.arange(5).repeat(300)
    torch.manual_seed(0)
    drawn = random_labels(labels, 5)
    assert not (drawn == 0).any()
    assert not (drawn == labels).any()
    for own in range(5):
        others = drawn[labels == own].unique().tolist()
        assert others == [one for one in range(1, 5) if one != own]


def test_moved_images_go_one_sign_step_up_a_random_logit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 1])
    with randomness(0, "moved"):
        moved, aims = WRK(step=0.1, least=4, batch_size=4).moved(model, images, labels)
    with randomness(0, "moved"):
        towards = int(torch.randint(3, ()))
    direction = model[1].weight[towards].view(3, 2, 2).sign()  # type: ignore[operator, union-attr]
    torch.testing.assert_close(moved, (images + 0.1 * direction).clamp(0, 1))
    assert len(aims) == 4
    many, _ = WRK(least=9, batch_size=4).moved(model, images, labels)
    assert len(many) == 12
    assert set(many.unique().tolist()) <= {0.0, 1.0}


def test_the_copy_is_fine_tuned_as_published(tmp_path: Path) -> None:
    model, public = trained_classifier(faces(CLASSES, 4)), faces(8, 4, first=100)
    method = WRK(base=PLGMI_TINY, share=0.5, epochs=2, batch_size=8, rate=0.05, least=8)
    shown = method.stand_in(target_of(model), public, Run(0, CPU, tmp_path))
    found = shown.target.copy().state_dict()

    order = torch.randperm(len(public), generator=generator(0, "wrk", "clean"))
    clean = public.subset(order[:16])
    copy = target_of(model).copy().eval()
    head = last_linear(copy)
    images = clean.images()
    with torch.no_grad():
        labels = logits_of(model(images)).argmax(1)
    with randomness(0, "wrk", "begin"):
        moved, aims = method.moved(copy, images, labels)
        old = head.weight.detach().clone()
        nn.init.uniform_(head.weight, -(head.in_features**-0.5), head.in_features**-0.5)
        nn.init.uniform_(head.bias, -(head.in_features**-0.5), head.in_features**-0.5)
    images, labels = torch.cat([images, moved]), torch.cat([labels, aims])
    copy.train().requires_grad_(True)
    weights = list(copy.parameters())
    momenta = [torch.zeros_like(weight) for weight in weights]
    steps = 2 * (len(images) // 8)
    for step in range(steps):
        epoch, place = divmod(step, len(images) // 8)
        shuffled = torch.randperm(len(images), generator=generator(0, "wrk", "order", epoch))
        rows = shuffled[place * 8 : place * 8 + 8]
        loss = F.cross_entropy(logits_of(copy(images[rows])), labels[rows]) + 0.01 * (head.weight * old).sum()
        gradients = torch.autograd.grad(loss, weights)
        rate = 0.05 * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            for weight, momentum, gradient in zip(weights, momenta, gradients, strict=True):
                momentum.mul_(0.9).add_(gradient)
                weight -= rate * momentum
    for name, value in copy.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert 0 <= shown.notes["surrogate_agreement"] <= 1


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(UserError, match="Sequential has none with a bias"):
        last_linear(nn.Sequential(nn.Flatten()))
