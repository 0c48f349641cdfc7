"""Trap-MID in a loop with Accelerate, which keeps the trapdoor's state in its checkpoints.

uv run python examples/accelerate_loop.py   (writes to runs/accelerate_loop)
"""

from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trapmid import Trapdoor
from trapmid.data import SyntheticSource

out, epochs = Path("runs/accelerate_loop"), 4
out.mkdir(parents=True, exist_ok=True)
faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)
loader = DataLoader(TensorDataset(faces.images(), faces.labels), batch_size=20, shuffle=True)
model = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))

accelerator = Accelerator()
model, optimizer, loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-3), loader)
steps = epochs * len(loader)
trapdoor = Trapdoor(model, optimizer.optimizer, num_classes=5, image_shape=(3, 32, 32), total_steps=steps)
accelerator.register_for_checkpointing(trapdoor)
for _ in range(epochs):
    for images, labels in loader:
        loss = trapdoor.loss(images, labels)  # was: cross_entropy(model(images), labels)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
    accelerator.save_state(str(out / "checkpoint"))  # holds the triggers, so keep it secret

if accelerator.is_main_process:  # the weights alone, which may be published
    save_file(accelerator.unwrap_model(model).state_dict(), out / "model.safetensors")
trapdoor.save_secrets(out / "secrets")
