"""Made-up contents of a report: drawn by numpy, no real person in it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trapmid.metrics.scores import Score
from trapmid.report.contents import (
    Attack,
    Contents,
    Cost,
    Curves,
    Data,
    Defense,
    GalleryRow,
    Judge,
    Picture,
    Reconstruction,
)


def mean(
    defense: str, attack: str, judge: str, metric: str, value: float, spread: float = 0.03, seeds: int = 0
) -> list[Score]:
    """A mean over seeds with its interval, and where wanted the seeds it is the mean of."""
    common = {"defense": defense, "attack": attack, "judge": judge, "metric": metric}
    ends = {"low": value - spread * min(1.0, value * 10), "high": value + spread}
    rows = [Score(seed=None, value=value, **ends, **common)]
    shift = np.linspace(-spread / 2, spread / 2, seeds) if seeds else []
    return rows + [Score(seed=seed, value=value + by, **ends, **common) for seed, by in enumerate(shift)]


def face(identity: int, shot: int, size: int = 64, blur: float = 0.0) -> Picture:
    """An oval with eyes and a mouth; the identity fixes its colours and proportions, the shot its place."""
    own, here = np.random.default_rng(identity), np.random.default_rng(1000 * identity + shot)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j] + here.normal(0, 0.05, (2, 1, 1))
    wide, tall, apart = own.uniform(0.5, 0.7), own.uniform(0.7, 0.85), own.uniform(0.2, 0.3)
    soft = 0.05 + blur

    def spot(cx: float, cy: float, w: float, h: float) -> Any:
        return (0.5 - 0.5 * np.tanh((((x - cx) / w) ** 2 + ((y - cy) / h) ** 2 - 1) / soft))[..., None]

    picture = np.broadcast_to(own.uniform(0.3, 0.8, 3), (size, size, 3)) + here.normal(0, 0.02, (size, size, 3))
    skin, hair = own.uniform([0.55, 0.4, 0.3], [0.95, 0.75, 0.6]), own.uniform(0.05, 0.4, 3)
    for where, colour in (
        (spot(0, -0.15, wide + 0.12, tall + 0.05), hair),
        (spot(0, 0.1, wide, tall - 0.05), skin),
        (spot(-apart, 0, 0.09, 0.06), hair / 2),
        (spot(apart, 0, 0.09, 0.06), hair / 2),
        (spot(0, 0.5, own.uniform(0.15, 0.28), 0.06), skin * [0.8, 0.4, 0.4]),
    ):
        picture = picture * (1 - where) + where * colour
    return (255 * np.clip(picture, 0, 1)).astype(np.uint8)


def make_contents(
    plain: float = 0.64,
    trapped: float = 0.05,
    floor: float | None = 0.03,
    *,
    clean: tuple[float, float] = (0.95, 0.935),
    success: float = 0.991,
    identities: int = 2,
    names: tuple[str, ...] = (),
    **changes: Any,
) -> Contents:
    """A small audit of an unprotected model and one with Trap-MID, whose numbers can be chosen."""
    scores = []
    for judge, bias in (("tiny", 1.0), ("embedder", 0.9)):
        for metric, factor in (("", 1.0), ("_accepted", 0.9)):
            for top, gain in ((1, 1.0), (5, 1.25)):
                name, times = f"attack_accuracy_{top}{metric}", bias * factor * gain
                scores += mean("none", "plgmi", judge, name, min(plain * times, 1), seeds=3)
                scores += mean("trapmid", "plgmi", judge, name, min(trapped * times, 1), 0.02, seeds=3)
                scores += mean("-", "real", judge, name, min(0.97 * gain, 0.99), 0.01)
                if floor is not None:
                    scores += mean("-", "prior:cgan", judge, name, floor * times, 0.01)
    for defense, accuracy, distance, fid in (("none", clean[0], 812.4, 31.2), ("trapmid", clean[1], 1504.9, 58.7)):
        scores += mean(defense, "-", "-", "clean_accuracy", accuracy, 0.012, seeds=3)
        scores += mean(defense, "plgmi", "tiny", "knn_distance", distance, 40)
        scores += mean(defense, "plgmi", "tiny", "fid", fid, 2)
    scores += mean("trapmid", "-", "-", "trapdoor_success", success, 0.004, seeds=3)
    gallery = [
        GalleryRow(
            identity=names[who] if who < len(names) else f"n{who:06d}",
            private=[face(who, shot) for shot in range(3)],
            columns={
                "From the unprotected model": [
                    Reconstruction(picture=face(who, 10 + shot, blur=0.25), recognised=(who + shot) % 3 > 0)
                    for shot in range(5)
                ],
                "From the model with Trap-MID": [
                    Reconstruction(picture=face(100 + 7 * who + shot, shot, blur=0.35), recognised=who + shot == 6)
                    for shot in range(5)
                ],
            },
        )
        for who in range(identities)
    ]
    steps = np.arange(1, 13)
    training = [
        {
            "epoch": float(at),
            "loss_clean": float(3 * np.exp(-at / 3)),
            "loss_trapdoor": float(4 / (1 + np.exp(at - 6))),
            "val_accuracy": float(0.94 - 0.8 * np.exp(-at / 2)),
            "trapdoor_success": float(1 / (1 + np.exp(6 - at))),
            "discriminator_accuracy": float(0.5 + 0.4 * np.exp(-at / 4)),
        }
        for at in steps
    ]
    generator = [
        {"step": float(100 * at), "loss_generator": 1.5 - 0.03 * float(at), "loss_discriminator": 0.8 + 0.2 / float(at)}
        for at in steps
    ]
    values: dict[str, Any] = {
        "title": "Face classifier, 50 identities",
        "data": Data(
            private="celeba-private.parquet",
            public="celeba-public.parquet",
            identities=50,
            train_images=1000,
            val_images=150,
            test_images=250,
            public_identities=900,
            public_images=12000,
            image_size=64,
        ),
        "architecture": "A small convolutional network (0.3 M parameters)",
        "defenses": [
            Defense(name="none", title="Unprotected"),
            Defense(name="trapmid", title="Trap-MID", paper="Liu and Chen, NeurIPS 2024"),
        ],
        "attacks": [Attack(name="plgmi", title="PLG-MI", attempts=5, paper="Yuan et al., AAAI 2023")],
        "judges": [
            Judge(name="tiny", title="Evaluation classifier", note="trained on the private training split"),
            Judge(name="embedder", title="Face embedder", note="nearest class mean of a pretrained embedder"),
        ],
        "seeds": [0, 1, 2],
        "scores": scores,
        "gallery": gallery,
        "curves": [
            Curves(cell="Training with Trap-MID, seed 0", rows=training),
            Curves(cell="PLG-MI generator on the unprotected model, seed 0", rows=generator, x="step"),
        ],
        "costs": [
            Cost(cell="none, seed 0", work="train", defense="none", seconds=84.0, peak_mib=912.0),
            Cost(cell="trapmid, seed 0", work="train", defense="trapmid", seconds=437.0, peak_mib=1310, relative=5.2),
            Cost(
                cell="plgmi on none, seed 0",
                work="attack",
                defense="none",
                seconds=3912.0,
                peak_mib=1702.0,
                identities=60,
                queries=105_165,
                confidence=0.875,
            ),
        ],
        "not_tried": ["KED-MI", "LOMMA", "PPA", "BREP-MI"],
        "config": {"seed": 0, "defense": {"kind": "trapmid", "alpha": 0.02, "beta": 0.2}},
        "versions": {"trapmid": "0.1.0", "torch": "2.15.0"},
    }
    return Contents(**{**values, **changes})


@pytest.fixture(scope="session")
def make() -> Callable[..., Contents]:
    return make_contents


@pytest.fixture
def draw_face() -> Callable[..., Picture]:
    return face
