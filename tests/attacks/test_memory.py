"""What autograd keeps of an image, against what the layers' shapes say; and how many images fit."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import nn

from trapmid.attacks import Run
from trapmid.attacks.memory import HEADROOM, bytes_kept, bytes_per_image, fitting_chunk
from trapmid.attacks.search import optimise
from trapmid.engine import Compute
from trapmid.types import UserError

DEVICE = torch.device("cpu")


def test_counts_activations_once_and_weights_not_at_all() -> None:
    """Of a frozen linear layer and a ReLU only the ReLU's output of 1,000 floats is kept; exp keeps its own output."""
    net = nn.Sequential(nn.Linear(10, 1_000), nn.ReLU()).requires_grad_(False)
    latents = torch.randn(4, 10, requires_grad=True)
    assert bytes_per_image(lambda z, part: net(z).sum(1), latents) == 4 * 1_000
    assert bytes_per_image(lambda z, part: net(z).exp().sum(1), latents) == 4 * 2_000
    assert bytes_kept(lambda: net(latents).sum()) == 4 * (4 * 1_000) + 4 * 10 * 1_000  # here the layer's weights too


def test_as_many_as_fit_but_no_more_than_wanted() -> None:
    taken = psutil.Process().memory_info().rss
    each = 2**20
    assert fitting_chunk(10, each, taken + 2**34, DEVICE) == 10
    fits = fitting_chunk(10_000, each, taken + 2**30, DEVICE)
    assert fits == pytest.approx(2**30 / (HEADROOM * each), rel=0.1)
    with pytest.raises(UserError, match=r"--max-memory 1 MiB is too little: .* one image takes 2 MiB. Raise it"):
        fitting_chunk(10, each, 2**20, DEVICE)


def test_a_search_keeps_to_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes become smaller, results stay: with room for 10 MiB of 300,000 floats an image, four at once."""
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=2**30))
    passes: dict[int | None, list[int]] = {}
    wide = torch.randn(3, 300_000, generator=torch.Generator().manual_seed(0)) / 1_000

    def search(max_memory: int | None) -> torch.Tensor:
        sizes = passes.setdefault(max_memory, [])

        def loss(z: torch.Tensor, part: slice) -> torch.Tensor:
            sizes.append(len(z))
            return (z @ wide).exp().sum(1) / 300_000

        run = Run(0, Compute("cpu", max_memory=max_memory), tmp_path)
        return optimise(torch.ones(24, 3), loss, steps=2, rate=0.1, run=run, name="search", chunk=24)

    free = search(None)
    bound = 2**30 + 10 * 2**20
    torch.testing.assert_close(search(bound), free)
    assert passes[None] == [24, 24]
    assert passes[bound] == [2, 1, *[4] * 12]
