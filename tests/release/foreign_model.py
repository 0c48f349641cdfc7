"""What a program without trapmid leaves behind: a network that plain torch trained, and folders of drawn faces.

python foreign_model.py  # writes model.pt2, photos/ with the 6 people it knows, and faces/ with 30 others
"""

import colorsys
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

PEOPLE, OTHERS = 6, 30


def colour(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def photo(person: int, number: int) -> Image.Image:
    """A face of 32 px: what a person looks like follows from the first number, pose and light from the second."""
    look, mood = random.Random(person), random.Random(f"{person} {number}")
    hair, skin = colour(look.random(), look.uniform(0.3, 0.9), look.uniform(0.2, 0.8)), look.uniform(0.3, 0.95)
    width, eyes, glasses, fringe = look.uniform(9, 13), look.uniform(3, 6), look.random() < 0.4, look.uniform(-9, -4)
    x, y, light = 16 + mood.uniform(-1.5, 1.5), 17 + mood.uniform(-1.5, 1.5), mood.uniform(0.85, 1.05)
    image = Image.new("RGB", (32, 32), colour(mood.random(), 0.2, 0.6))
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - width - 1, y - 15, x + width + 1, y + 9), fill=hair)
    draw.ellipse((x - width, y - 12, x + width, y + 13), fill=colour(0.07, 0.45, min(skin * light, 1)))
    draw.chord((x - width, y - 13, x + width, y - 2 * fringe), 200, 340, fill=hair)
    for side in (-1, 1):
        at = x + side * eyes
        draw.ellipse((at - 1.2, y - 1.2, at + 1.2, y + 1.2), fill=(20, 20, 30))
        if glasses:
            draw.ellipse((at - 3, y - 3, at + 3, y + 3), outline=(10, 10, 10))
    draw.arc((x - 4, y + 3, x + 4, y + 8), 20, 160, fill=(150, 40, 50), width=1)
    return image


def store(folder: str, people: range, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = [], []
    for label, person in enumerate(people):
        for number in range(each):
            file = Path(folder, f"{person:03}", f"{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            image = photo(person, number)
            image.save(file)
            pixels.append(torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
            labels.append(label)
    return torch.stack(pixels), torch.tensor(labels)


def main() -> None:
    torch.manual_seed(0)
    images, labels = store("photos", range(PEOPLE), 24)
    store("faces", range(100, 100 + OTHERS), 6)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(32 * 8 * 8, PEOPLE)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    program = torch.export.export(model.eval(), (images[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, "model.pt2")


if __name__ == "__main__":
    main()
