"""Trap-MID in a Hugging Face Trainer: `compute_loss` calls the trapdoor, and a callback saves its state.

uv run python examples/huggingface_trainer.py   (writes to runs/huggingface_trainer)
"""

from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

from trapmid import Trapdoor
from trapmid.data import SyntheticSource
from trapmid.integrations.transformers import KeepDefense

out = Path("runs/huggingface_trainer")
faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)
# Images in [0, 1]. An image processor would normalise them, so none is used.
rows = [{"pixel_values": x, "labels": y} for x, y in zip(faces.images(), faces.labels, strict=True)]


class DefendedTrainer(Trainer):
    loss_is_scaled_for_ga = False  # if gradients are accumulated, the Trainer has to divide the loss

    def compute_loss(self, model, inputs, return_outputs=False, **rest):
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, **rest)
        return trapdoor.through(model).loss(inputs["pixel_values"], inputs["labels"])  # `model` may be wrapped


widths = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
model = ResNetForImageClassification(ResNetConfig(**widths, num_labels=5))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
args = TrainingArguments(out / "trainer", num_train_epochs=4, per_device_train_batch_size=20, report_to="none")
trainer = DefendedTrainer(model, args, train_dataset=rows, optimizers=(optimizer, None))
trapdoor = Trapdoor(model, optimizer, num_classes=5, image_shape=(3, 32, 32), total_steps=20)
trainer.add_callback(KeepDefense(trapdoor, out / "secrets"))
trainer.train()
if trainer.is_world_process_zero():
    model.save_pretrained(out / "model")  # config.json and model.safetensors, as usual
