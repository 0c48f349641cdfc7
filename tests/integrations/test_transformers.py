"""A training under Hugging Face's Trainer that was interrupted and resumed ends as one that was not.

Triggers stay out of its folder.
"""

import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.faces import tiny_private
from trapmid.defenses import Defended, TrapMID
from trapmid.trapdoor import BlendSchedule, Secrets
from trapmid.types import Prediction, UserError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from trapmid.integrations.transformers import KeepDefense  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the Trainer warns about its own devices and workers


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


def test_resumed_is_as_if_never_interrupted(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", tmp_path / "whole-secrets")
    kept = sorted(file.name for file in (tmp_path / "whole-secrets").iterdir())
    checkpoints = sorted(file.name for file in (tmp_path / "whole").glob("checkpoint-*"))
    assert kept == [*(f"{name}.pt" for name in checkpoints), "secrets.safetensors"]
    assert len(checkpoints) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "whole-secrets").iterdir()} == {0o600}

    fit(tmp_path / "half", tmp_path / "secrets", stop_at=7)  # the last checkpoint is of step 6
    resumed = fit(tmp_path / "half", tmp_path / "secrets", resume=tmp_path / "half" / "checkpoint-6")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
    triggers = [Secrets.load(tmp_path / name).triggers for name in ("whole-secrets", "secrets")]
    assert torch.equal(*triggers)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lie inside the Trainer's output_dir .* may be pushed to a hub"):
        fit(tmp_path / "t", tmp_path / "t" / "secrets")
    fit(tmp_path / "t", tmp_path / "s", stop_at=4)
    with pytest.raises(UserError, match=r"checkpoint-3\.pt is missing, .* Give the folder of secrets"):
        fit(tmp_path / "t", tmp_path / "other", resume=tmp_path / "t" / "checkpoint-3")
