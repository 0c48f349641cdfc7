"""The drop-in adds nothing to a defense: the same numbers as the defense itself, and as `Trapdoor` for Trap-MID."""

import doctest
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import trapmid.defenses.dropin
from trapmid.defenses import DPSGD, MID, BiDO, Defended, Defense, NegLS, NoDefense, Stacked, TrapMID
from trapmid.defenses.smoothing import smoothed_cross_entropy
from trapmid.engine import randomness, seed_of
from trapmid.trapdoor import Secrets, Trapdoor
from trapmid.types import UserError

SHAPE = {"num_classes": 4, "image_shape": (3, 8, 8)}
LENGTH = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 6}


def identity(images: Tensor) -> Tensor:
    return images


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.SiLU(), nn.Flatten(), nn.Linear(96, 4))


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.rand(6, 3, 8, 8), torch.randint(4, (6,))


def test_without_a_defense_it_is_the_cross_entropy_of_augmented_images() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    defended = Defended(NoDefense(), model, optimizer, **SHAPE, **LENGTH, augment=lambda x: x.flip(3))  # type: ignore[arg-type]
    images, labels = batch()
    torch.testing.assert_close(defended.loss(images, labels), F.cross_entropy(model(images.flip(3)), labels))
    assert defended.state_dict() == {"steps": 1}


def test_trapmid_is_the_trapdoor(tmp_path: Path) -> None:
    model, twin = network(), network()
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (model, twin)]
    defended = Defended(TrapMID(), model, optimizers[0], **SHAPE, **LENGTH, augment=identity, seed=5)  # type: ignore[arg-type]
    with randomness(5, "defense"):
        trapdoor = Trapdoor(
            twin,
            optimizers[1],
            num_classes=4,
            image_shape=(3, 8, 8),
            total_steps=6,
            augment=identity,
            targets_per_draw=18,
            seed=seed_of(5, "trapdoor"),
        )
    for _ in range(3):
        for net, optimizer, loss in zip(
            (model, twin), optimizers, (defended.loss(*batch()), trapdoor.loss(*batch())), strict=True
        ):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert torch.equal(net[0].weight, model[0].weight)  # type: ignore[index]
    assert torch.equal(defended.state_dict()["trapdoor"]["triggers"], trapdoor.triggers)
    losses, notes = defended.losses(*batch())
    assert set(losses) == {"clean", "poisoned"}
    assert "trapdoor_success_in_batch" in notes
    assert defended.save_secrets(tmp_path / "s") == tmp_path / "s" / "secrets.safetensors"


def test_two_drop_ins_do_not_share_a_folder_of_secrets(tmp_path: Path) -> None:
    """Same network, same seed, as where a script is run again: still another training."""

    def join() -> Defended:
        model = network()
        return Defended(TrapMID(), model, torch.optim.SGD(model.parameters(), lr=0.1), **SHAPE, **LENGTH)  # type: ignore[arg-type]

    one, two = join(), join()
    first = one.save_secrets(tmp_path / "s")
    two.loss(*batch())
    with pytest.warns(UserWarning, match=r"/s holds the secrets of another model, so these are in .*/s-2\."):
        assert two.save_secrets(tmp_path / "s") == tmp_path / "s-2" / "secrets.safetensors"
    assert first == tmp_path / "s" / "secrets.safetensors"
    kept, other = (Secrets.load(tmp_path / name).triggers for name in ("s", "s-2"))
    assert torch.equal(kept, one.state_dict()["trapdoor"]["triggers"])
    assert torch.equal(other, two.state_dict()["trapdoor"]["triggers"])

    resumed = join()
    resumed.load_state_dict(one.state_dict())
    resumed.loss(*batch())
    assert resumed.save_secrets(tmp_path / "s") == first
    assert not torch.equal(Secrets.load(tmp_path / "s").triggers, kept)


def test_schedules_run_over_the_calls() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    negls = NegLS(smoothing=-0.5, start_at=0.5, full_at=0.5)
    defended = Defended(negls, model, optimizer, **SHAPE, **LENGTH, augment=identity)  # type: ignore[arg-type]
    images, labels = batch()
    plain = F.cross_entropy(model(images), labels).detach()
    losses = [defended.loss(images, labels).detach() for _ in range(6)]
    torch.testing.assert_close(torch.stack(losses[:3]), plain.expand(3))
    smoothed = smoothed_cross_entropy(model(images), labels, -0.5).detach()
    torch.testing.assert_close(torch.stack(losses[3:]), smoothed.expand(3))


@pytest.mark.parametrize(
    ("defense", "changed"),
    [
        (DPSGD(), "the network and which images make a batch and how the weights take a step"),
        (Stacked(parts=(TrapMID(), MID())), "the network"),
        (BiDO(), "which images make a batch"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_a_loss_cannot_do_is_refused(defense: Defense, changed: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match=rf"^{re.escape(defense.name)} changes {changed}, which .*`trapmid\.train`"):
        Defended(defense, model, optimizer, **SHAPE, **LENGTH)  # type: ignore[arg-type]


def test_mistakes_are_the_defenses_own() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    defended = Defended(TrapMID(), model, optimizer, **SHAPE, **LENGTH)  # type: ignore[arg-type]
    images, labels = batch()
    with pytest.raises(UserError, match="Move the normalisation into the model"):
        defended.loss(images - 0.5, labels)


def test_docstring_example_runs() -> None:
    result = doctest.testmod(trapmid.defenses.dropin)
    assert result.attempted >= 6
    assert result.failed == 0
