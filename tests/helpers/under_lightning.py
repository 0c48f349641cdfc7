"""A training under Lightning, which takes seconds to import."""

from collections.abc import Iterator
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from helpers.faces import tiny_private
from trapmid.defenses import Defense, TrapMID
from trapmid.integrations.lightning import DefenseCallback
from trapmid.trapdoor import BlendSchedule


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
