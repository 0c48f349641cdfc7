"""BREP-MI (Kahla et al., CVPR 2022) one identity after another as published, compared with all at once."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load
from torch import Tensor

from benchmarks.stage import Stage
from benchmarks.timing import Bench, Comparison
from trapmid.attacks import BREP, Run
from trapmid.attacks.brep import STARTS
from trapmid.data.images import ImageSet, to_pixels, to_unit
from trapmid.engine import randomness
from trapmid.types import Images

NOTHING = ImageSet(torch.empty(0, 3, 1, 1, dtype=torch.uint8), torch.empty(0, dtype=torch.int64), (), ())
"""Public images for an attack that uses none."""


def brep(stage: Stage, bench: Bench) -> Iterator[Comparison]:
    """The search from starts that were found before. Both orders show the target the same points."""
    method = BREP(start_batches=4, steps=stage.steps // 2)
    gan = stage.dcgan
    with TemporaryDirectory() as folder:
        run = Run(0, stage.compute, Path(folder), gan)
        method.prepare(stage.target, NOTHING, run)
        found = (run.folder / STARTS).read_bytes()
    kept = load(found)
    stage = stage.attacking(kept["count"].nonzero().squeeze(1)[: len(stage.identities)])
    latents, labels = kept["latents"][stage.identities, 0].to(bench.device), stage.identities.to(bench.device)
    directions = _directions(method, len(labels), gan.latent_size, int(stage.identities[0]), bench.device)

    def pictures(latents: Tensor) -> Images:
        return gan.decode(latents, torch.zeros(len(latents), dtype=torch.int64, device=bench.device))

    def inside(latents: Tensor, label: Tensor) -> Tensor:
        return stage.target.labels(pictures(latents)) == label

    def searched(centre: Tensor, label: Tensor, directions: Tensor) -> Tensor:
        """The centre of the last sphere that was filled, of directions (steps, sphere, latent_size)."""
        best, radius, patience = centre, method.radius, 0
        for of_sphere in directions:
            within = inside(centre + radius * of_sphere, label)
            if float(within.double().mean()) > method.filled:
                best, radius, patience = centre, radius * method.growth, 0
                continue
            away = -(~within[:, None] * of_sphere).sum(0) / method.sphere
            centre = centre + min(radius * method.step, method.longest_step) * away
            centre, patience = centre.clamp(-method.bound, method.bound), patience + 1
            if patience == method.steps_per_radius or not bool(inside(centre[None], label)):
                break
        return best

    @torch.no_grad()
    def published() -> Tensor:
        saved = []
        for number, (start, label) in enumerate(zip(latents, labels, strict=True)):
            saved.append(to_pixels(pictures(searched(start, label, directions[:, number])[None])))
            stage.target.labels(to_unit(saved[-1]))
        return to_unit(torch.cat(saved)).cpu()

    what = f"BREP-MI search of {len(labels)} identities, at most {method.steps} steps: published order -> ours"
    ours = stage.ours(method.invert, gan, lambda run: _put(run.folder / STARTS, found))
    note = "Published: identity after identity, 32 points at once."
    yield bench.compare("order-brep", what, published, ours, note=note, share=15, same=0.01)


def _directions(method: BREP, count: int, size: int, first: int, device: torch.device) -> Tensor:
    """The directions that the attack draws: (steps, count, sphere, size), of unit length."""
    drawn = []
    for number in range(method.steps):
        with randomness(0, f"{method.kind} search-{first}", "step", number, 0, device=device):
            drawn.append(torch.randn(count, method.sphere, size, device=device))
    directions = torch.stack(drawn)
    return directions / directions.norm(dim=3, keepdim=True)


def _put(file: Path, content: bytes) -> None:
    file.write_bytes(content)
