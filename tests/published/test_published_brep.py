"""BREP-MI's search against the authors' loop, which moves one latent at a time and counts with +1 and -1."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from trapmid.attacks import BREP
from trapmid.attacks.brep import _Spheres
from trapmid.engine import generator
from trapmid.priors import Prior
from trapmid.targets import LabelTarget
from trapmid.types import Images

SIDE = 3


class Line(Prior):
    """Latents of two numbers become pictures of two grey levels."""

    generator = torch.nn.Identity()
    latent_size, num_classes, device = 2, 1, torch.device("cpu")
    rows: list[dict[str, float]] = []  # noqa: RUF012

    def save(self, folder: Path) -> list[str]:
        return []

    def decode(self, latents: Tensor, labels: Tensor) -> Images:
        return (latents[:, :, None, None] / 100 + 0.5).expand(-1, -1, SIDE, SIDE)


class Disc(torch.nn.Module):
    """Class 1 within a disc around (0.6, 0), class 0 outside."""

    def forward(self, images: Images) -> Tensor:
        at = (images[:, :, 0, 0] - 0.5) * 100
        inside = ((at - torch.tensor([0.6, 0.0], dtype=at.dtype)).norm(dim=1) < 0.8).to(at)
        return torch.stack([1 - inside, inside], 1)


class Loop:
    """The authors' loop for one identity, step by step; `over` after `patience` moves at one radius."""

    def __init__(self, z: Tensor, label: int, config: BREP) -> None:
        self.z, self.label, self.radius, self.share = z, label, config.radius, config.step
        self.patience, self.longest = config.steps_per_radius, config.longest_step
        self.t = self.t0 = self.rejected = 0
        self.result: Tensor | None = None

    @property
    def over(self) -> bool:
        return self.t - self.t0 >= self.patience

    def named(self, z: Tensor) -> int:
        return int((z - torch.tensor([0.6, 0.0], dtype=z.dtype)).norm() < 0.8)

    def step(self, normals: Tensor) -> None:
        size = min(self.radius * self.share, self.longest)
        points = [self.z + self.radius * n / n.norm() for n in normals]
        signs = [1 if self.named(p) == self.label else -1 for p in points]
        grown = sum(signs) > 0.75 * len(points)
        if grown:
            self.radius *= 1.3
            self.t0 = self.t
        away = torch.zeros_like(self.z)
        for sign, p in zip(signs, points, strict=True):
            away += (sign - 1) / 2 * (p - self.z)
        moved = (self.z + size * away / len(points) / self.radius).clamp(-1.5, 1.5)
        if self.named(moved) != self.label:
            self.rejected += 1
            return
        self.z = moved
        if grown:
            self.result = moved
        else:
            self.t += 1


@pytest.mark.parametrize("step", [1 / 3, 90.0])
def test_all_searches_at_once_are_the_authors_loop(step: float) -> None:
    config = BREP(radius=0.2, steps_per_radius=6, step=step, longest_step=30)
    first = torch.tensor([[0.6, 0.0], [0.1, 0.5], [-1.4, -1.4], [1.3, 0.1], [-0.1, 0.1]], dtype=torch.float64)
    labels = torch.tensor([1, 1, 0, 1, 1])
    asked = LabelTarget(Disc(), 2, (2, SIDE, SIDE))
    spheres = _Spheres(first, torch.ones(5, dtype=torch.bool), config.radius)
    spheres.radius = spheres.radius.double()
    plain = [Loop(z.clone(), int(label), config) for z, label in zip(first, labels, strict=True)]
    for number in range(60):
        normals = torch.randn(5, config.sphere, 2, generator=generator(number, "normals"), dtype=torch.float64)
        config._repel(spheres, normals / normals.norm(dim=2, keepdim=True), labels, Line(), asked)
        for loop, of in zip(plain, normals, strict=True):
            if not loop.over:
                loop.step(of)
    assert spheres.alive.tolist() == [not loop.over for loop in plain]
    for row, loop in enumerate(plain):
        torch.testing.assert_close(spheres.centre[row], loop.z)
        torch.testing.assert_close(float(spheres.radius[row]), loop.radius)
        torch.testing.assert_close(spheres.best[row], first[row] if loop.result is None else loop.result)
    assert step < 1 or sum(loop.rejected for loop in plain) > 0
    assert sum(loop.result is not None for loop in plain) >= 2
    assert BREP().step == pytest.approx(1 / 3)


@pytest.mark.parametrize(("inside", "grows"), [(28, False), (29, True), (32, True)])
def test_a_sphere_grows_at_29_of_32(inside: int, *, grows: bool) -> None:
    class Row(torch.nn.Module):
        """Class 1 where the first grey level is at most that of the latent in the middle."""

        def forward(self, images: Images) -> Tensor:
            left = (images[:, 0, 0, 0] <= 0.5 + 1e-9).to(images)
            return torch.stack([1 - left, left], 1)

    config = BREP()
    spheres = _Spheres(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.bool), 1.0)
    spheres.radius = spheres.radius.double()
    directions = torch.tensor([[-1.0, 0.0]] * inside + [[1.0, 0.0]] * (32 - inside), dtype=torch.float64)
    asked = LabelTarget(Row(), 2, (2, SIDE, SIDE))
    config._repel(spheres, directions[None], torch.tensor([1]), Line(), asked)
    assert float(spheres.radius[0]) == pytest.approx(1.3 if grows else 1.0)
    moved = (32 - inside) / 32 / 3 / (1.3 if grows else 1.0)
    torch.testing.assert_close(spheres.centre[0], torch.tensor([-moved, 0.0], dtype=torch.float64))
