"""Looking at a model leaves every submodule in the mode that its owner put it in."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers.faces import tiny_private
from trapmid.attacks.surrogates import agreement
from trapmid.defenses import Defended, TrapMID
from trapmid.defenses.opening import logits_on
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.modes import evaluating
from trapmid.trapdoor import Secrets, trapdoor_success

SECRETS = Secrets(torch.rand(5, 3, 32, 32), 0.1)


def network() -> nn.Sequential:
    """In train mode, but for its first batch norm."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(256, 5),
    )
    net[1].eval()
    return net


def modes(net: nn.Module) -> list[bool]:
    return [part.training for part in net.modules()]


LOOKS: dict[str, Callable[[nn.Module], object]] = {
    "logits": lambda net: logits_on(net, tiny_private().part("val")),
    "success": lambda net: trapdoor_success(net, SECRETS, torch.rand(6, 3, 32, 32), torch.Generator()),
    "recalibration": lambda net: recalibrate_batch_norm(net, [(torch.rand(6, 3, 32, 32),)]),
    "agreement": lambda net: agreement(net, tiny_private().images.pixels, tiny_private().images.labels),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_changes_no_mode(look: Callable[[nn.Module], object]) -> None:
    net = network()
    look(net)
    assert modes(net) == [True, True, False, True, True, True, True]


def test_inside_it_evaluates_even_where_it_fails() -> None:
    net, seen = network(), []

    def fail() -> None:
        with evaluating(net):
            seen.extend(modes(net))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(seen)
    assert modes(net) == modes(network())


def test_frozen_batch_norms_stay_frozen_in_a_defended_loop() -> None:
    net = network()
    before = {name: value.clone() for name, value in net[1].named_buffers()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    defended = Defended(
        TrapMID(), net, optimizer, num_classes=5, image_shape=(3, 32, 32), epochs=1, steps_per_epoch=2, batch_size=6
    )
    for _ in range(2):
        defended.loss(torch.rand(6, 3, 32, 32), torch.arange(6) % 5).backward()
    assert modes(net) == modes(network())
    assert all(torch.equal(before[name], value) for name, value in net[1].named_buffers())
    assert int(net[3].num_batches_tracked) == 2
