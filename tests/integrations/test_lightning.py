"""A training under Lightning that was interrupted and resumed ends as one that was not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from helpers.faces import tiny_private
from trapmid.defenses import Defense, TrapMID
from trapmid.trapdoor import BlendSchedule, Secrets
from trapmid.types import UserError

L = pytest.importorskip("lightning", reason="lightning is not installed")
from trapmid.integrations.lightning import DefenseCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns about its own workers and devices


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5))


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Forty images, in a data set without a length."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        train = tiny_private().part("train")
        return iter(zip(train.images(), train.labels, strict=True))


class Module(L.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, net: nn.Module, defense: DefenseCallback) -> None:
        super().__init__()
        self.net, self.defense = net, defense

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.defense.loss(*batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net.parameters(), lr=0.02, momentum=0.9)


def identity(images: Tensor) -> Tensor:
    return images


def callback(net: nn.Module, folder: Path, defense: Defense | None = None) -> DefenseCallback:
    return DefenseCallback(
        defense or TrapMID(blend=BlendSchedule(start=0.2)),
        net,
        num_classes=5,
        image_shape=(3, 32, 32),
        batch_size=10,
        secrets=folder,
        augment=identity,
    )


def fit(folder: Path, resume: Path | None = None, epochs: int = 4, defense: DefenseCallback | None = None) -> nn.Module:
    """Trained for `epochs`, with a checkpoint `epoch=N.ckpt` after each."""
    defense = defense or callback(network(), folder / "secrets")
    train = tiny_private().part("train")
    loader = DataLoader(TensorDataset(train.images(), train.labels), batch_size=10)
    kept = L.pytorch.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    trainer = L.Trainer(
        max_epochs=epochs,
        max_steps=4 if epochs < 1 else -1,
        callbacks=[defense, kept],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(defense.network, defense), loader, ckpt_path=resume, weights_only=True)
    return defense.network


def test_resumed_is_as_if_never_interrupted(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    resumed = fit(tmp_path / "rest", resume=tmp_path / "whole" / "epoch=1.ckpt")
    assert sorted(file.name for file in (tmp_path / "rest").glob("*.ckpt")) == ["epoch=2.ckpt", "epoch=3.ckpt"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
    triggers = [Secrets.load(tmp_path / name / "secrets").triggers for name in ("whole", "rest")]
    assert torch.equal(*triggers)
    middle = torch.load(tmp_path / "whole" / "epoch=1.ckpt", weights_only=True)["callbacks"]["DefenseCallback"]
    assert not torch.equal(middle["trapdoor"]["triggers"], triggers[0])


def test_checkpoint_holds_the_bare_network_and_the_defense_beside_it(tmp_path: Path) -> None:
    net = fit(tmp_path, epochs=1)
    checkpoint = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)
    assert {name.removeprefix("net.") for name in checkpoint["state_dict"]} == set(net.state_dict())
    state = checkpoint["callbacks"]["DefenseCallback"]
    assert torch.equal(state["trapdoor"]["triggers"], Secrets.load(tmp_path / "secrets").triggers)


def test_a_second_fit_goes_on_with_the_same_triggers(tmp_path: Path) -> None:
    defense = callback(network(), tmp_path / "secrets")
    for folder, steps in (("one", 4), ("two", 8)):
        before = defense.state_dict()
        fit(tmp_path / folder, epochs=1, defense=defense)
        assert defense.state_dict()["trapdoor"]["step"] == steps
    moved = (defense.state_dict()["trapdoor"]["triggers"] - before["trapdoor"]["triggers"]).abs()
    assert 0 < float(moved.max()) <= 0.04 + 1e-6  # four steps of 0.01, not other triggers


def test_mistakes(tmp_path: Path) -> None:
    net = network()
    defense = callback(net, tmp_path)
    with pytest.raises(UserError, match=r"a training that knows the callback\. Give it to the Trainer"):
        defense.loss(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="give the Trainer max_epochs"):
        fit(tmp_path, epochs=-1)


def test_a_stream_of_images_has_to_be_told_its_length(tmp_path: Path) -> None:
    def fit_stream(**limits: int) -> DefenseCallback:
        defense = callback(network(), tmp_path / "secrets")
        trainer = L.Trainer(
            max_epochs=2,
            callbacks=[defense],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **limits,
        )
        trainer.fit(Module(defense.network, defense), DataLoader(Stream(), batch_size=10))
        return defense

    with pytest.raises(UserError, match=r"training data have inf: .*or the Trainer limit_train_batches"):
        fit_stream()
    assert fit_stream(limit_train_batches=4).state_dict()["trapdoor"]["step"] == 8
