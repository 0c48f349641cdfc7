"""BREP-MI: starts, the step away from the boundary and the growing sphere, each against a plain loop."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers_attacks import CPU, faces
from trapmid.attacks import BREP, Run
from trapmid.attacks.brep import _Spheres, _Starts
from trapmid.engine import generator
from trapmid.priors import Prior
from trapmid.targets import LabelTarget
from trapmid.types import Images, Labels, UserError

SIZE = 4


class Plane(Prior):
    """Latents (x, y) become pictures of two grey levels, so that a region of pictures is a region of the plane."""

    generator = nn.Identity()
    latent_size, num_classes, device = 2, 1, torch.device("cpu")
    rows: list[dict[str, float]] = []  # noqa: RUF012

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        return (latents[:, :, None, None] / 100 + 0.5).expand(-1, -1, SIZE, SIZE)

    def save(self, folder: Path) -> list[str]:
        return []


class Disc(nn.Module):
    """Class 1 within a disc around (1, 0), class 0 elsewhere; class 2 nowhere."""

    def __init__(self, radius: float = 0.8) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, images: Images) -> Tensor:
        at = (images[:, :, 0, 0] - 0.5) * 100
        inside = ((at - torch.tensor([1.0, 0.0])).norm(dim=1) < self.radius).float()
        return torch.stack([1 - inside, inside, torch.full_like(inside, -1.0)], 1)


def target(radius: float = 0.8) -> LabelTarget:
    return LabelTarget(Disc(radius), 3, (2, SIZE, SIZE))


def test_defaults_are_the_published_constants() -> None:
    config = BREP()
    assert (config.start_batch, config.bound, config.sphere, config.radius) == (256, 1.5, 32, 2.0)
    assert (config.growth, config.filled, config.longest_step, config.steps_per_radius) == (1.3, 0.875, 3.0, 1_000)
    assert config.step == pytest.approx(1 / 3)


def test_starts_are_the_first_latents_of_each_identity() -> None:
    starts, seen = _Starts(4, 2, 3), {label: [] for label in range(4)}
    for number in range(5):
        latents = torch.randn(6, 3, generator=generator(number, "z"))
        labels = torch.randint(3, (6,), generator=generator(number, "labels"))
        for latent, label in zip(latents, labels.tolist(), strict=True):
            seen[label].append(latent)
        starts.take(latents, labels)
        for label, all_of in seen.items():
            count = min(2, len(all_of))
            assert int(starts.count[label]) == count
            for i in range(count):
                assert torch.equal(starts.latents[label, i], all_of[i])
    assert starts.complete == 3


def plain_step(config: BREP, state: dict[str, Any], directions: Tensor, label: int, ask: Any) -> None:
    """One search whose moves are final."""
    outside = [d for d in directions if ask(state["centre"] + state["radius"] * d) != label]
    if 1 - len(outside) / len(directions) > config.filled:
        state["best"], state["steps"] = state["centre"].clone(), 0
        state["radius"] *= config.growth
        return
    away = -sum(outside, torch.zeros(2)) / len(directions)
    state["centre"] = (state["centre"] + min(state["radius"] / 3, 3.0) * away).clamp(-config.bound, config.bound)
    state["steps"] += 1
    state["alive"] = ask(state["centre"]) == label and state["steps"] < config.steps_per_radius


@pytest.mark.parametrize("chunk", [1000, 7])
def test_all_searches_at_once_are_the_plain_loop(chunk: int) -> None:
    config = BREP(sphere=9, radius=0.3, filled=0.75, moves="final", steps_per_radius=4, chunk=chunk)
    first = torch.tensor([[1.0, 0.0], [0.6, 0.5], [-1.0, -1.0], [1.4, 0.6], [0.0, 0.0]])
    labels, plane, asked = torch.tensor([1, 1, 0, 1, 2]), Plane(), target()
    spheres = _Spheres(first, torch.ones(5, dtype=torch.bool), config.radius)
    plain = [
        {"centre": z.clone(), "best": z.clone(), "radius": config.radius, "steps": 0, "alive": True} for z in first
    ]

    def ask(z: Tensor) -> int:
        return int(asked.labels(plane.decode(z[None], labels[:1]))[0])

    for number in range(15):
        directions = torch.randn(5, 9, 2, generator=generator(number, "directions"))
        directions /= directions.norm(dim=2, keepdim=True)
        config._repel(spheres, directions, labels, plane, asked)
        for state, of, label in zip(plain, directions, labels.tolist(), strict=True):
            if state["alive"]:
                plain_step(config, state, of, label, ask)
    assert spheres.alive.tolist() == [state["alive"] for state in plain]
    for name in ("centre", "best", "radius"):
        expected = torch.stack([torch.as_tensor(state[name]) for state in plain])
        torch.testing.assert_close(getattr(spheres, name), expected, atol=1e-5, rtol=1e-4)
    assert len({state["radius"] for state in plain}) > 2
    assert not all(spheres.alive.tolist())


def test_ends_in_the_middle_of_the_region(tmp_path: Path) -> None:
    """The widest sphere that fits into a disc has its centre in the middle."""
    config = BREP(
        start_batches=50, start_batch=20, radius=0.1, growth=1.05, images_per_identity=4, steps_per_radius=40, steps=400
    )
    run, asked = Run(0, CPU, tmp_path, Plane()), target()
    config.prepare(asked, faces(2, 2), run)
    found = config.invert(asked, Plane(), torch.tensor([1]), run)
    at = (found.pixels[:, :, 0, 0].float() / 255 - 0.5) * 100
    assert bool(((at - torch.tensor([1.0, 0.0])).norm(dim=1) < 0.35).all())
    assert found.confidence.tolist() == [1.0] * 4


def test_an_identity_without_a_start_gets_a_random_picture_and_counts_as_missed(tmp_path: Path) -> None:
    config = BREP(start_batches=20, steps=30, images_per_identity=2)
    run, asked = Run(0, CPU, tmp_path, Plane()), target()
    config.prepare(asked, faces(2, 2), run)
    assert run.notes() == {"start_batches": 20.0, "identities_without_start": 1.0}
    found = config.invert(asked, Plane(), torch.tensor([2, 1]), run)
    assert found.labels.tolist() == [2, 2, 1, 1]
    assert found.confidence.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert len({tuple(p.flatten().tolist()) for p in found.pixels[:2]}) == 2


def test_untargeted_searches_for_those_that_came_up(tmp_path: Path) -> None:
    config = BREP(start_batches=1_000, steps=20, wanted=2)
    run, asked = Run(0, CPU, tmp_path, Plane()), target()
    config.prepare(asked, faces(2, 2), run)
    assert run.notes()["start_batches"] < 20
    assert config.invert(asked, Plane(), torch.arange(3), run).labels.tolist() == [0, 1]
    nobody = config.invert(asked, Plane(), torch.tensor([2]), run)
    assert nobody.pixels.shape == (0, 2, SIZE, SIZE)


def test_starts_are_not_looked_for_twice(tmp_path: Path) -> None:
    config, run = BREP(start_batches=5, steps=5), Run(0, CPU, tmp_path, Plane())
    first, second = target(), target()
    config.prepare(first, faces(2, 2), run)
    config.prepare(second, faces(2, 2), run)
    assert second.queries == first.queries == 5 * 256


class Asked(nn.Module):
    """Class 0, always; an empty batch is no question."""

    def forward(self, images: Images) -> Tensor:
        assert len(images)
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), -1)


def test_no_empty_batch_is_asked_where_every_sphere_is_full(tmp_path: Path) -> None:
    config = BREP(start_batches=2, steps=3, wanted=1)
    asked, run = LabelTarget(Asked(), 3, (2, SIZE, SIZE)), Run(0, CPU, tmp_path, Plane())
    prior = config.prepare(asked, faces(2, 2), run)
    found = config.invert(asked, prior, torch.arange(3), run)
    assert found.labels.tolist() == [0]
    assert found.confidence.tolist() == [1.0]
    nobody = config.invert(asked, prior, torch.tensor([1, 2]), run)
    assert (nobody.pixels.shape, nobody.labels.tolist()) == ((0, 2, SIZE, SIZE), [])


def test_a_search_that_nobody_would_begin_says_so(tmp_path: Path) -> None:
    config = BREP(start_batches=2, start_batch=3, images_per_identity=7, wanted=1)
    asked, run = LabelTarget(Asked(), 3, (2, SIZE, SIZE)), Run(0, CPU, tmp_path, Plane())
    with pytest.raises(UserError, match=r"took none of 6 random images for an identity 7 times.*Raise start_batches"):
        config.prepare(asked, faces(2, 2), run)
