"""The tiny training of a StyleGAN2 whose losses tests/golden/stylegan2.json records."""

from pathlib import Path

from helpers.runs import without_seconds
from helpers_attacks import CLASSES, CPU, STYLE_TINY, faces
from trapmid.priors import PriorTraining

FILE = Path(__file__).parent.parent / "golden" / "stylegan2.json"


def style_losses() -> list[dict[str, float]]:
    """Losses of twelve steps at 32 px, penalty and style mixing included, averaged by four."""
    return without_seconds(STYLE_TINY.fit(PriorTraining(faces(6, 4), CLASSES, 0, CPU)).rows)
