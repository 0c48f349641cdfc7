import numpy as np
import pytest

from trapmid.report.contents import GalleryRow, Reconstruction
from trapmid.report.sheet import COLUMNS, GAP, gallery_sheet, sheet

SIDE = 4


def grey(value: int, channels: int = 3) -> np.ndarray:
    return np.full((SIDE, SIDE, channels), value, dtype=np.uint8)


def row(value: int, *titles: str, private: bool = True) -> GalleryRow:
    columns = {title: [Reconstruction(picture=grey(value + n), recognised=None)] for n, title in enumerate(titles, 1)}
    return GalleryRow(identity=str(value), private=[grey(value)] if private else None, columns=columns)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_lie_in_their_row_and_column_on_white(channels):
    whole = np.array(sheet([[grey(10, channels), grey(20, channels)], [grey(30, channels)]]))
    assert whole.shape == (2 * SIDE + GAP, 2 * SIDE + GAP, 3)
    second = SIDE + GAP
    assert (whole[:SIDE, :SIDE] == 10).all()
    assert (whole[:SIDE, second:] == 20).all()
    assert (whole[second:, :SIDE] == 30).all()
    assert (whole[second:, SIDE:] == 255).all()
    assert (whole[SIDE:second] == 255).all()


def test_an_identity_that_lacks_a_picture_has_no_column():
    gallery = [row(10, "none", "trapmid"), row(20, "none"), row(30, "none", "trapmid")]
    whole = np.array(gallery_sheet(gallery, redact=False))[:: SIDE + GAP, :: SIDE + GAP, 0]
    assert whole.tolist() == [[10, 30], [11, 31], [12, 32]]


def test_redacted_it_has_no_private_image_and_needs_none():
    gallery = [row(10 * n, "none", private=False) for n in range(1, COLUMNS + 3)]
    whole = np.array(gallery_sheet(gallery, redact=True))[:: SIDE + GAP, :: SIDE + GAP, 0]
    assert whole.tolist() == [[10 * n + 1 for n in range(1, COLUMNS + 1)]]
    assert gallery_sheet(gallery, redact=False) is None
    assert gallery_sheet([], redact=True) is None
