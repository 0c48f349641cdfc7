"""Trap-MID in several processes with DistributedDataParallel: the loop of plain_pytorch.py, with the model wrapped.

uv run torchrun --nproc-per-node 2 examples/distributed.py   (writes to runs/distributed)
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from trapmid import Trapdoor
from trapmid.data import SyntheticSource

out, epochs = Path("runs/distributed"), 4
distributed.init_process_group("gloo")  # "nccl" on GPUs
faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)
rows = TensorDataset(faces.images(), faces.labels)
sampler = DistributedSampler(rows)
loader = DataLoader(rows, batch_size=10, sampler=sampler)  # ten images in each process
net = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
model = DistributedDataParallel(net)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

trapdoor = Trapdoor(model, optimizer, num_classes=5, image_shape=(3, 32, 32), total_steps=epochs * len(loader))
for epoch in range(epochs):
    sampler.set_epoch(epoch)
    for images, labels in loader:
        loss = trapdoor.loss(images, labels)  # was: cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
if distributed.get_rank() == 0:
    out.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), out / "model.safetensors")  # the weights alone, which may be published
trapdoor.save_secrets(out / "secrets")  # only the first process writes them
distributed.destroy_process_group()
