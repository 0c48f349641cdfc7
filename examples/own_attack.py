"""Your own attack on your own classifier: it starts at the public images of highest confidence.

uv run python examples/own_attack.py   (writes to runs/own_attack)

The same attack in an audit: trapmid audit model.pt2 --attacks own_attack:Nudged public-nearest ..., in this folder.
"""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trapmid import invert
from trapmid.attacks import Attack, PublicNearest
from trapmid.attacks.public_nearest import Gallery
from trapmid.attacks.search import found_of, optimise
from trapmid.data import SyntheticSource
from trapmid.data.images import to_pixels, to_unit
from trapmid.targets import WhiteBoxTarget


# The first type is the access that the attack gets: WhiteBoxTarget, ScoreTarget or LabelTarget. The second is what
# `prepare` hands to `invert`.
class Nudged(Attack[WhiteBoxTarget, Gallery]):
    paper: ClassVar[str] = "none"
    kind: Literal["nudged"] = "nudged"
    nearest: PublicNearest = PublicNearest(images_per_identity=2)
    steps: int = 30

    @property
    def effort(self):  # images per identity, identities per batch, images decoded at once
        return self.nearest.effort

    def public_prior(self):  # the config of a generator to train on the public images, if it wants one
        return None

    def prepare(self, target, public, run):
        return self.nearest.prepare(target, public, run)

    def invert(self, target, ready, identities, run):
        start = self.nearest.invert(target, ready, identities, run)

        def loss(images, part):
            return cross_entropy(target.predict(images).logits, start.labels[part], reduction="none")

        ended = optimise(to_unit(start.pixels), loss, steps=self.steps, rate=0.01, run=run, name=self.name, chunk=64)
        return found_of(to_pixels(ended), start.labels, target, chunk=64)


if __name__ == "__main__":
    faces = SyntheticSource(identities=5, images_per_identity=20).load(32, 3)
    public = SyntheticSource(identities=30, images_per_identity=4, first_identity=100).load(32, 3)
    torch.manual_seed(0)  # another model would need another folder
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        cross_entropy(model(faces.images()), faces.labels).backward()
        optimizer.step()

    out = Path("runs/own_attack")
    found = invert(model, public, Nudged(), identities=faces.identities, out=out)
    print(f"{len(found.labels)} pictures, sure {found.confidence.mean():.2f}, in {out}")
