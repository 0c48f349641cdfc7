"""What batching identities saves in attacks that ask for labels or scores alone, and in PPA's initial selection."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from trapmid.attacks import BREP, Run
from trapmid.attacks.brep import _Spheres
from trapmid.attacks.styles import show_candidates
from trapmid.engine import Compute
from trapmid.models import Tiny
from trapmid.priors import CGAN, Strided, StyleGAN2
from trapmid.targets import ScoreTarget

Work = Callable[[], object]


def repulsion(identities: int, steps: int, size: int, compute: Compute) -> tuple[Work, Work]:
    """`steps` steps of `brep` around as many latents as identities: one identity after the other, and all at once."""
    prior = CGAN(networks=Strided()).build(identities, size, 3, compute)
    target = ScoreTarget(Tiny().build(identities, size, 3).to(compute.target), identities, (3, size, size))
    method, latents = BREP(), torch.randn(identities, prior.latent_size, device=compute.target)
    with torch.no_grad():
        own = target.labels(prior.decode(latents, torch.zeros(identities, dtype=torch.int64, device=compute.target)))

    @torch.no_grad()
    def search(*groups: torch.Tensor) -> None:
        for rows in groups:
            everyone = torch.ones(len(rows), dtype=torch.bool, device=compute.target)
            spheres = _Spheres(latents[rows], everyone, method.radius)
            for _ in range(steps):
                spheres.alive = everyone.clone()
                directions = torch.randn(len(rows), method.sphere, prior.latent_size, device=compute.target)
                directions /= directions.norm(dim=2, keepdim=True)
                method._repel(spheres, directions, own[rows], prior, target)

    rows = torch.arange(identities, device=compute.target)
    return lambda: search(*rows.split(1)), lambda: search(rows)


def initial_selection(identities: int, candidates: int, size: int, compute: Compute) -> tuple[Work, Work]:
    """Random styles shown to the target: anew for every identity, and once for all of them."""
    config = StyleGAN2(latent_size=64, style_size=64, mapping_layers=3, capacity=8 * size, widest=64)
    prior = config.build(identities, size, 3, compute)
    target = ScoreTarget(Tiny().build(identities, size, 3).to(compute.target), identities, (3, size, size))

    def select(times: int) -> None:
        for _ in range(times):
            with TemporaryDirectory() as folder:
                show_candidates(prior, target, candidates, 0.5, 100, Run(0, compute, Path(folder), prior))

    return lambda: select(identities), lambda: select(1)
