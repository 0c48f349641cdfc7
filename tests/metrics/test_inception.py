"""Inception features: which file is run, how images reach it, and what an audit does with them."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from helpers.faces import CPU, tiny_private, tiny_public
from trapmid.metrics import inception
from trapmid.metrics.fidelity import FidelityNetwork, frechet_distance, kernel_distance
from trapmid.metrics.inception import Inception, InceptionFeatures
from trapmid.metrics.judge import Judge, Opinion
from trapmid.metrics.panel import Panel
from trapmid.metrics.scores import ScoreKey
from trapmid.metrics.table import measure
from trapmid.types import Features, Pixels, UserError


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> None:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(inception, "distribution", absent)
    with pytest.raises(UserError, match=r"Inception is not installed.*trapmid\[inception\]"):
        Inception().build(CPU)


def test_another_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / inception.WEIGHTS).parent.mkdir()
    (tmp_path / inception.WEIGHTS).write_bytes(b"something else")
    monkeypatch.setattr(inception, "distribution", lambda package: SimpleNamespace(locate_file=tmp_path.__truediv__))
    with pytest.raises(UserError, match=r"default_1\.pt has SHA-256 [0-9a-f]{64}, expected 7ff4a85c.*Reinstall"):
        Inception().build(CPU)


class Corners(nn.Module):
    """Keeps the batches it was given, and answers with two pixels of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return torch.stack([images[:, 0, 0, 0], images[:, 2, -1, -1]], 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_arrive_large_and_between_minus_one_and_one(channels: int) -> None:
    network, told = Corners(), []
    pixels = torch.zeros(70, channels, 8, 8, dtype=torch.uint8)
    pixels[:, :, 4:] = 255
    features = InceptionFeatures(
        network, torch.device("cpu"), lambda task, done, total, note: told.append((done, total))
    ).features(pixels)
    assert torch.equal(features, torch.tensor([[-1.0, 1.0]]).expand(70, 2))
    assert [tuple(batch.shape) for batch in network.seen] == [(n, 3, 299, 299) for n in (32, 32, 6)]
    assert told == [(32, 70), (64, 70), (70, 70)]


def test_real_inception_knows_faces_from_noise() -> None:
    """The published network, by its size and by what it finds alike."""
    network = Inception().build(CPU)
    faces = network.features(torch.cat([tiny_private().images.pixels[:4], tiny_public().pixels[:2]]))
    noise = network.features(torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte())
    assert faces.shape == (6, 2048)
    assert float(faces.min()) >= 0  # pooled ReLU
    assert torch.cdist(faces, faces).max() < torch.cdist(faces, noise).min()


class Quarters(FidelityNetwork):
    """Channel means of every quarter: features enough for a distance."""

    name = "quarters"

    def features(self, pixels: Pixels) -> Features:
        return nn.functional.adaptive_avg_pool2d(pixels.float() / 255, 2).flatten(1)


class Anybody(Judge):
    """Finds everybody equally alike."""

    name = "anybody"

    def opinion(self, pixels: Pixels) -> Opinion:
        return Opinion(torch.zeros(len(pixels), 5), Quarters().features(pixels))


def test_a_feature_network_compares_every_set() -> None:
    private, public, network = tiny_private(), tiny_public(), Quarters()
    panel = Panel([Anybody()], private, network)
    pixels = public.pixels[:10]
    found = panel.images(ScoreKey("none", "x", 0), pixels, torch.arange(10) % 5)
    rows = list(measure(*panel.ceiling(), *panel.floor("public", public.pixels), *found))
    sets = {(row.defense, row.attack, row.metric): row.value for row in rows if row.judge == "quarters"}
    measured = {key: value for key, value in sets.items() if key[2] in {"fid", "kid"}}
    assert {("none", "x", "precision"), ("-", "public", "coverage")} <= sets.keys() - measured.keys()
    reference = network.features(private.part("train").pixels)
    assert measured == {
        (defense, attack, metric): distance(network.features(pixels), reference)
        for defense, attack, pixels in (
            ("-", "real", private.part("test").pixels),
            ("-", "public", public.pixels),
            ("none", "x", public.pixels[:10]),
        )
        for metric, distance in (("fid", frechet_distance), ("kid", kernel_distance))
    }
    assert "quarters" not in {row.judge for row in measure(*Panel([Anybody()], private).ceiling())}
