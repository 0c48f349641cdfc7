"""A training under Lightning that was interrupted and resumed ends as one that was not."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from trapmid.trapdoor import Secrets
from trapmid.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own workers and devices


@pytest.fixture(scope="module")
def under() -> ModuleType:
    pytest.importorskip("lightning", reason="lightning is not installed")
    from helpers import under_lightning

    return under_lightning


def test_resumed_is_as_if_never_interrupted(under: ModuleType, tmp_path: Path) -> None:
    whole = under.fit(tmp_path / "whole")
    resumed = under.fit(tmp_path / "rest", resume=tmp_path / "whole" / "epoch=1.ckpt")
    assert sorted(file.name for file in (tmp_path / "rest").glob("*.ckpt")) == ["epoch=2.ckpt", "epoch=3.ckpt"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
    triggers = [Secrets.load(tmp_path / name / "secrets").triggers for name in ("whole", "rest")]
    assert torch.equal(*triggers)
    middle = torch.load(tmp_path / "whole" / "epoch=1.ckpt", weights_only=True)["callbacks"]["DefenseCallback"]
    assert not torch.equal(middle["trapdoor"]["triggers"], triggers[0])


def test_checkpoint_holds_the_bare_network_and_the_defense_beside_it(under: ModuleType, tmp_path: Path) -> None:
    net = under.fit(tmp_path, epochs=1)
    checkpoint = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    assert {name.removeprefix("net.") for name in checkpoint["state_dict"]} == set(net.state_dict())
    state = checkpoint["callbacks"]["DefenseCallback"]
    assert torch.equal(state["trapdoor"]["triggers"], Secrets.load(tmp_path / "secrets").triggers)


def test_a_second_fit_goes_on_with_the_same_triggers(under: ModuleType, tmp_path: Path) -> None:
    defense = under.callback(under.network(), tmp_path / "secrets")
    for folder, steps in (("one", 4), ("two", 8)):
        before = defense.state_dict()
        under.fit(tmp_path / folder, epochs=1, defense=defense)
        assert defense.state_dict()["trapdoor"]["step"] == steps
    moved = (defense.state_dict()["trapdoor"]["triggers"] - before["trapdoor"]["triggers"]).abs()
    assert 0 < float(moved.max()) <= 0.04 + 1e-6  # four steps of 0.01, not other triggers


def test_mistakes(under: ModuleType, tmp_path: Path) -> None:
    net = under.network()
    defense = under.callback(net, tmp_path)
    with pytest.raises(UserError, match=r"a training that knows the callback\. Give it to the Trainer"):
        defense.loss(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="give the Trainer max_epochs"):
        under.fit(tmp_path, epochs=-1)


def test_a_stream_of_images_has_to_be_told_its_length(under: ModuleType, tmp_path: Path) -> None:
    def fit_stream(**limits: int) -> Any:
        defense = under.callback(under.network(), tmp_path / "secrets")
        trainer = under.L.Trainer(
            max_epochs=2,
            callbacks=[defense],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **limits,
        )
        trainer.fit(under.Module(defense.network, defense), DataLoader(under.Stream(), batch_size=10))
        return defense

    with pytest.raises(UserError, match=r"training data have inf: .*or the Trainer limit_train_batches"):
        fit_stream()
    assert fit_stream(limit_train_batches=4).state_dict()["trapdoor"]["step"] == 8
