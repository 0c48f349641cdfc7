"""A defense in a LightningModule: a callback computes the loss and keeps its state in the checkpoints.

uv run python examples/lightning_callback.py   (writes to runs/lightning_callback)
"""

from pathlib import Path

import lightning as L
from safetensors.torch import save_file
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from trapmid.data import SyntheticSource
from trapmid.defenses import TrapMID
from trapmid.integrations.lightning import DefenseCallback

out = Path("runs/lightning_callback")
faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)
net = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
sizes = {"num_classes": 5, "image_shape": (3, 32, 32), "batch_size": 20}  # images in each process
defense = DefenseCallback(TrapMID(), net, **sizes, secrets=out / "secrets")


class Faces(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net

    def training_step(self, batch):
        return defense.loss(*batch)  # was: cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return optim.AdamW(self.net.parameters(), lr=3e-3)


trainer = L.Trainer(max_epochs=4, callbacks=[defense], default_root_dir=out, logger=False)
trainer.fit(Faces(), DataLoader(TensorDataset(faces.images(), faces.labels), batch_size=20, shuffle=True))
if trainer.is_global_zero:
    save_file(net.state_dict(), out / "model.safetensors")  # the weights alone; a .ckpt also holds the triggers
