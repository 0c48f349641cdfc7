"""AT-AT's copies and losses, and LoFt's last layer, written out in float64."""

import torch
from torch import nn
from torch.nn import functional as F

from helpers.faces import TINY
from helpers.settings import context_for, network_of, started
from trapmid.defenses import ATAT, LoFt
from trapmid.defenses.atat import AntiAdversarialRun, other_labels
from trapmid.engine import randomness
from trapmid.types import logits_of


def test_constants() -> None:
    """The authors' radius of 0.0005 and step of 0.0001 are for pixels from -1 to 1."""
    assert (ATAT().weight, ATAT().radius, ATAT().step, ATAT().steps) == (0.08, 0.00025, 0.00005, 5)
    assert LoFt().rank == 50


def test_labels_of_copies_are_other_peoples() -> None:
    labels = torch.arange(5).repeat(400)
    torch.manual_seed(0)
    drawn = other_labels(labels, 5)
    assert not (drawn == labels).any()
    counts = torch.stack([(drawn[labels == 0] == other).sum() for other in range(1, 5)])
    assert counts[0] > 1.5 * counts[1:].max()  # a collision moves to the next class


def test_losses_are_the_authors() -> None:
    config = ATAT(radius=0.02, step=0.005, weight=0.3)
    context = context_for(config, TINY)
    context.model.double()
    run = started(config, context)
    assert isinstance(run, AntiAdversarialRun)
    images, labels = torch.rand(6, 3, 32, 32, dtype=torch.float64), torch.arange(6) % 5
    norm = next(layer for layer in context.model.modules() if isinstance(layer, nn.BatchNorm2d))
    before = int(norm.num_batches_tracked)  # type: ignore[arg-type]
    state = {name: value.clone() for name, value in context.model.state_dict().items()}
    with randomness(0, "atat"):
        losses, notes = run.losses(images, labels, 0)
    assert int(norm.num_batches_tracked) - before == 5 + 2  # type: ignore[arg-type]

    context.model.load_state_dict(state)
    with randomness(0, "atat"):
        drawn = torch.randint(5, (6,))
        aims = torch.tensor(
            [(y + 1) % 5 if y == d else d for y, d in zip(labels.tolist(), drawn.tolist(), strict=True)]
        )
        x = (images + 0.02 * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    for _ in range(5):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(logits_of(context.model(x)), aims), x)
        x = (images + (x.detach() - 0.005 * g.sign() - images).clamp(-0.02, 0.02)).clamp(0, 1)
    clean = F.cross_entropy(logits_of(context.model(images)), labels)
    adversarial = 0.3 * F.cross_entropy(logits_of(context.model(x)), aims)
    torch.testing.assert_close(losses["clean"], clean)
    torch.testing.assert_close(losses["adversarial"], adversarial)
    assert losses.keys() == {"clean", "adversarial"}
    assert 0 <= float(notes["adversarial_success_in_batch"]) <= 1


def test_copies_stay_near_and_among_pictures() -> None:
    context = context_for(ATAT(), TINY)
    run = started(ATAT(radius=0.01, step=0.02), context)
    assert isinstance(run, AntiAdversarialRun)
    images = torch.rand(4, 3, 32, 32).round()
    copies = run.copies(images, torch.zeros(4, dtype=torch.int64))
    assert float((copies - images).abs().max()) <= 0.01 + 1e-6
    assert 0 <= float(copies.min()) <= float(copies.max()) <= 1
    assert not copies.requires_grad


def test_loft_is_two_linear_layers_with_a_tanh_between() -> None:
    with randomness(0, "loft"):
        network = network_of(LoFt(rank=7), TINY.build(5, 32, 3)).double().eval()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    seen = network(images)
    narrow, head = network.get_submodule("narrow"), network.get_submodule("head")
    inner = network.get_submodule("body")(images).features
    squeezed = (inner @ narrow.weight.T + narrow.bias).tanh()
    torch.testing.assert_close(seen.logits, squeezed @ head.weight.T + head.bias)
    torch.testing.assert_close(seen.features, squeezed)
    assert narrow.weight.shape == (7, inner.shape[1])
    assert int(torch.linalg.matrix_rank(torch.linalg.multi_dot([head.weight, narrow.weight]))) <= 7
