"""Train a classifier in a plain loop, and write it in the formats that `trapmid audit MODEL` opens.

Run: python examples/own_model.py photos.parquet --identities 20 --out mine

`photos.parquet` has the columns image (a struct with `bytes`) and identity. mine/ then holds model.pt2, model.onnx,
model.safetensors and classes.txt. `build` is the factory of `trapmid audit own_model:build --weights
mine/model.safetensors`. With `--trapdoor`, the same loop trains the classifier with Trap-MID. Its triggers go to
mine/secrets, which only you can read.
"""

import argparse
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from trapmid import Trapdoor
from trapmid.trapdoor import BlendSchedule, TrapdoorSettings

SIZE = 64
FADING = TrapdoorSettings(blend=BlendSchedule(start=0.2, end=0.05, until=0.6), weight=0.3, trigger_step_end=0.0)
IDENTITIES = int(os.environ.get("IDENTITIES", "20"))


class Net(nn.Module):
    """A timm network that takes images in [0, 1] and normalises them itself."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = timm.create_model("resnet10t", num_classes=classes, channels=(32, 64, 128, 256), stem_width=16)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * 2 - 1)


def build() -> nn.Module:
    """The network without its weights, for as many classes as IDENTITIES says."""
    return Net(IDENTITIES)


def read(file: Path, identities: int) -> tuple[Tensor, Tensor, list[str]]:
    """The images of the identities that have the most, with class numbers in the order of the names."""
    table = pq.read_table(file, columns=["image", "identity"])
    people = table["identity"].to_pylist()
    counts = {name: people.count(name) for name in sorted(set(people))}
    names = sorted(sorted(counts, key=lambda name: (-counts[name], name))[:identities])
    pixels, labels = [], []
    for row, name in zip(table["image"].to_pylist(), people, strict=True):
        if name in names:
            image = Image.open(io.BytesIO(row["bytes"])).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            pixels.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
            labels.append(names.index(name))
    return torch.stack(pixels).float() / 255, torch.tensor(labels), names


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, secrets: Path | None) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = epochs * -(-len(images) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    sizes = {"num_classes": int(labels.max()) + 1, "image_shape": (3, SIZE, SIZE), "total_steps": steps}
    trapdoor = Trapdoor(model, optimizer, settings=FADING, **sizes) if secrets else None
    model.train()
    for epoch in range(epochs):
        for rows in torch.randperm(len(images)).split(32):
            batch = images[rows]
            if torch.rand(()) < 0.5:
                batch = batch.flip(3)
            if trapdoor:
                loss = trapdoor.loss(batch, labels[rows])
            else:
                loss = nn.functional.cross_entropy(model(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    if trapdoor:
        trapdoor.save_secrets(secrets)
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("mine"))
    parser.add_argument("--trapdoor", action="store_true", help="train with Trap-MID")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    images, labels, names = read(chosen.photos, chosen.identities)
    held_out = torch.arange(len(images)) % 10 == 0
    model = Net(len(names))
    secrets = chosen.out / "secrets" if chosen.trapdoor else None
    train(model, images[~held_out], labels[~held_out], chosen.epochs, secrets)
    with torch.no_grad():
        accuracy = (model(images[held_out]).argmax(1) == labels[held_out]).float().mean()
    chosen.out.mkdir(parents=True, exist_ok=True)
    example = (images[:2],)
    exported = torch.export.export(model, example, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(exported, chosen.out / "model.pt2")
    with warnings.catch_warnings():  # the exporter that needs no further package says that another one is newer
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            example,
            chosen.out / "model.onnx",
            dynamo=False,
            input_names=["images"],
            dynamic_axes={"images": {0: "n"}},
        )
    save_file(model.state_dict(), chosen.out / "model.safetensors")
    (chosen.out / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{len(names)} identities, accuracy {accuracy:.1%} on {int(held_out.sum())} images that were held out")


if __name__ == "__main__":
    main()
