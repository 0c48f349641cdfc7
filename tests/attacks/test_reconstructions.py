"""Reconstructions: as files, and how alike they are."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from trapmid.attacks import Found, open_found
from trapmid.attacks.inversion import diversity, read_found, write_found
from trapmid.data import guess_source
from trapmid.types import UserError


def found(n: int, channels: int = 3, size: int = 16) -> Found:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, channels, size, size), generator=rng, dtype=torch.uint8)
    return Found(pixels, torch.arange(n) % 2, torch.rand(n, generator=rng))


@pytest.mark.parametrize("channels", [1, 3])
def test_parquet_round_trip(channels: int, tmp_path: Path) -> None:
    original = found(5, channels)
    write_found(tmp_path / "found.parquet", original, ("anna", "bob"))
    again = read_found(tmp_path / "found.parquet")
    assert torch.equal(again.pixels, original.pixels)
    assert torch.equal(again.labels, original.labels)
    assert torch.equal(again.confidence, original.confidence)


def test_parquet_is_a_data_set_our_own_reader_takes(tmp_path: Path) -> None:
    """16 px pictures read back at 16 px are the same pictures, under the identities' names."""
    original = found(6)
    write_found(tmp_path / "found.parquet", original, ("anna", "bob"))
    images = guess_source(tmp_path / "found.parquet").load(16, 3)
    assert images.identities == ("anna", "bob")
    for label in range(2):
        written = {row.numpy().tobytes() for row in original.pixels[original.labels == label]}
        assert {row.numpy().tobytes() for row in images.pixels[images.labels == label]} == written


def test_paths_are_unique(tmp_path: Path) -> None:
    write_found(tmp_path / "found.parquet", found(6), ("anna", "bob"))
    paths = [image["path"] for image in pq.read_table(tmp_path / "found.parquet").column("image").to_pylist()]
    assert len(set(paths)) == 6
    assert all(path.endswith(".png") for path in paths)


def test_diversity_is_the_plain_double_loop() -> None:
    pictures = found(7)
    flat = pictures.pixels.flatten(1).numpy().astype(np.float64) / 255
    within, between = [], []
    for i in range(7):
        for j in range(7):
            if i != j:
                distance = np.sqrt(np.mean((flat[i] - flat[j]) ** 2))
                (within if pictures.labels[i] == pictures.labels[j] else between).append(distance)
    measured = diversity(pictures.pixels, pictures.labels)
    assert measured == {
        "within": pytest.approx(np.mean(within), rel=1e-3),
        "between": pytest.approx(np.mean(between), rel=1e-3),
    }


def test_a_collapsed_generator_has_no_diversity_within() -> None:
    one_each = found(2).pixels
    measured = diversity(one_each.repeat_interleave(20, 0), torch.arange(2).repeat_interleave(20))
    assert measured["within"] == 0
    assert measured["between"] > 0.2


def test_diversity_of_one_picture_is_zero() -> None:
    assert diversity(found(1).pixels, torch.tensor([0])) == {"within": 0.0, "between": 0.0}


def test_open_found_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a trapmid attack"):
        open_found(tmp_path)
