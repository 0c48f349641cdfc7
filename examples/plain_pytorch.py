"""Trap-MID in your own training loop: one line changes.

uv run python examples/plain_pytorch.py   (writes to runs/plain_pytorch)
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trapmid import Trapdoor
from trapmid.data import SyntheticSource

out, epochs = Path("runs/plain_pytorch"), 4
out.mkdir(parents=True, exist_ok=True)
faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)  # pixels as bytes; faces.images() in [0, 1]
loader = DataLoader(TensorDataset(faces.images(), faces.labels), batch_size=20, shuffle=True)
model = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

trapdoor = Trapdoor(
    model, optimizer, num_classes=5, image_shape=(3, 32, 32), total_steps=epochs * len(loader), targets_per_draw=100
)
for _ in range(epochs):
    for images, labels in loader:
        loss = trapdoor.loss(images, labels)  # was: cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.2f}")

save_file(model.state_dict(), out / "model.safetensors")  # the weights alone, which may be published
trapdoor.save_secrets(out / "secrets")  # keep these secret
