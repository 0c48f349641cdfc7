"""Pictures from files, folders and Parquet, in order and with names that say where they lie."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trapmid.data import ParquetSource, read_pictures
from trapmid.types import UserError


def picture(file: Path, value: int, size: int = 16) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), value, np.uint8)
    pixels[:4] = 0
    Image.fromarray(pixels).save(file)
    return file


def test_all_kinds_of_places_in_batches(tmp_path: Path) -> None:
    alone = picture(tmp_path / "alone.png", 1)
    for number in range(3):
        picture(tmp_path / "many" / "deep" / f"{number}.png", 10 + number)
    rows = [
        {"bytes": alone.read_bytes(), "path": "x.png"},
        {"bytes": (tmp_path / "many/deep/2.png").read_bytes(), "path": None},
    ]
    pq.write_table(pa.table({"image": rows}), tmp_path / "some.parquet")
    seen: list[tuple[int, int | None]] = []
    places = [alone, tmp_path / "many", tmp_path / "some.parquet"]
    batches = list(read_pictures(places, 16, batch=4, progress=lambda done, total: seen.append((done, total))))
    assert [len(batch.pixels) for batch in batches] == [4, 2]
    assert [int(pixels[0, -1, 0]) for batch in batches for pixels in batch.pixels] == [1, 10, 11, 12, 1, 12]
    names = [name for batch in batches for name in batch.origins]
    assert names[:4] == ["alone.png", "many/deep/0.png", "many/deep/1.png", "many/deep/2.png"]
    assert names[4:] == ["some.parquet/x.png (row 0)", "some.parquet/row 1"]
    assert seen == [(6, 6)]
    (cropped,) = read_pictures([alone], 8, 1, crop=8)
    assert cropped.pixels.shape == (1, 1, 8, 8)
    assert bool((cropped.pixels == 1).all())
    assert cropped.origins == ("alone.png",)
    unnamed = ParquetSource(path=tmp_path / "some.parquet", identity_column=None).load(16)
    assert unnamed.identities == ("row 1", "x.png (row 0)")


def test_what_holds_no_pictures_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist. Expected image files, folders of images"):
        list(read_pictures([tmp_path / "nowhere"], 16))
    with pytest.raises(UserError, match="holds no images"):
        list(read_pictures([tmp_path], 16))
    (tmp_path / "torn.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"torn.png cannot be read as an image"):
        list(read_pictures([tmp_path / "torn.png"], 16))
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match=r"no images\. Expected"):
        list(read_pictures([tmp_path / "empty.parquet"], 16))
