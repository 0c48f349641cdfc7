"""A training under Hugging Face's Trainer, which takes seconds to import."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from helpers.faces import tiny_private
from trapmid.defenses import Defended, TrapMID
from trapmid.integrations.transformers import KeepDefense
from trapmid.trapdoor import BlendSchedule
from trapmid.types import Prediction


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8 * 64, 5)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Prediction:
        features = self.body(pixel_values)
        return Prediction(self.head(features), features)


class Trainer(transformers.Trainer):  # type: ignore[misc, name-defined]
    defended: Defended

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        return self.defended.loss(inputs["pixel_values"], inputs["labels"])


class StopAt(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop = state.global_step >= self.step
        return control


def identity(images: Tensor) -> Tensor:
    return images


def fit(folder: Path, secrets: Path, resume: Path | None = None, stop_at: int = 99) -> nn.Module:
    train, net = tiny_private().part("train"), Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    arguments = transformers.TrainingArguments(
        str(folder),
        num_train_epochs=4,
        per_device_train_batch_size=10,
        save_strategy="steps",
        save_steps=3,
        save_total_limit=2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        lr_scheduler_type="constant",
        dataloader_pin_memory=False,
    )
    rows = [{"pixel_values": x, "labels": y} for x, y in zip(train.images(), train.labels, strict=True)]
    trainer = Trainer(net, arguments, train_dataset=rows, optimizers=(optimizer, None))
    trainer.defended = Defended(
        TrapMID(blend=BlendSchedule(start=0.2)),
        net,
        optimizer,
        num_classes=5,
        image_shape=(3, 32, 32),
        epochs=4,
        steps_per_epoch=4,
        batch_size=10,
        augment=identity,
    )
    trainer.add_callback(KeepDefense(trainer.defended, secrets))
    trainer.add_callback(StopAt(stop_at))
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return net
