"""The contract of every defense in a training loop and with a network that trapmid did not build."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.faces import tiny_private
from helpers.statistics.trainings import IN_THEIR_LOSS, join, someone_elses_network, steps_of
from trapmid.defenses import DEFENSES, Defended, Defense
from trapmid.trapdoor import SECRETS
from trapmid.types import UserError

every_defense = pytest.mark.parametrize("defense", IN_THEIR_LOSS, ids=lambda defense: defense.name)


@pytest.mark.parametrize(
    "defense",
    [one for one in (kind.model_validate({}) for kind in DEFENSES) if one.changes().beyond_loss()],
    ids=lambda defense: defense.name,
)
def test_what_a_loss_cannot_do_is_refused_by_name(defense: Defense) -> None:
    model = someone_elses_network(defense)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    options = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": 3, "steps_per_epoch": 4, "batch_size": 10}
    with pytest.raises(UserError) as refused:
        Defended(defense, model, optimizer, **options)  # type: ignore[arg-type]
    for what in defense.changes().beyond_loss():
        assert what in str(refused.value)


@every_defense
def test_leaves_the_network_as_it_was_built(defense: Defense, tmp_path: Path) -> None:
    """After an epoch and a step of the next one."""
    model, optimizer, defended = join(defense)
    names = list(model.state_dict())
    assert len(steps_of(model, optimizer, defended, range(5))) == 5
    assert all(parameter.grad is not None and parameter.requires_grad for parameter in model.parameters())
    assert model.training
    assert list(model.state_dict()) == names
    someone_elses_network(defense).load_state_dict(model.state_dict())
    file = defended.save_secrets(tmp_path / "secrets")
    assert file == (tmp_path / "secrets" / SECRETS if (tmp_path / "secrets").exists() else None)


@every_defense
def test_resumes_from_its_state(defense: Defense) -> None:
    def through_a_checkpoint(state: dict[str, object]) -> dict[str, object]:
        stream = BytesIO()
        torch.save(state, stream)
        stream.seek(0)
        return torch.load(stream, weights_only=True)

    whole = join(defense)
    steps_of(*whole, range(5))
    saved = through_a_checkpoint({"model": whole[0].state_dict(), "optimizer": whole[1].state_dict()})
    state = through_a_checkpoint(whole[2].state_dict())
    expected = steps_of(*whole, range(5, 9))

    model, optimizer, resumed = join(defense, seed=1)
    model.load_state_dict(saved["model"])  # type: ignore[arg-type]
    optimizer.load_state_dict(saved["optimizer"])  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    assert steps_of(model, optimizer, resumed, range(5, 9)) == expected


@every_defense
def test_the_seed_and_not_the_callers_randomness_decides_its_start(defense: Defense) -> None:
    def first(seed: int, caller: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        model = someone_elses_network(defense)
        torch.manual_seed(caller)
        options = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": 1, "steps_per_epoch": 1, "batch_size": 10}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        defended = Defended(defense, model, optimizer, **options, seed=seed)  # type: ignore[arg-type]
        after = torch.rand(1)
        torch.manual_seed(1)
        data = tiny_private().part("train")
        return defended.loss(data.images()[:10], data.labels[:10]).detach(), after

    (one, rest), (same, other_rest) = first(3, caller=1), first(3, caller=2)
    assert torch.equal(one, same)
    assert not torch.equal(rest, other_rest)
    torch.manual_seed(1)
    assert torch.equal(rest, torch.rand(1))  # what it draws is not the caller's
