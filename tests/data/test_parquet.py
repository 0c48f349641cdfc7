"""Image Parquet in all its layouts, and what is said about files that are none."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trapmid.data import ParquetSource, guess_source
from trapmid.types import UserError


def png(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_parquet_shards_columns_and_types(tmp_path: Path) -> None:
    for shard in range(2):
        pictures = [png(4 * shard + i) for i in range(4)]
        who = pa.array([1, 1, 2, 2]).dictionary_encode() if shard else pa.array([1, 1, 2, 2])
        pq.write_table(pa.table({"png": pictures, "who": who}), tmp_path / f"{shard}.parquet")
    images = ParquetSource(path=tmp_path, image_column="png", identity_column="who").load(16)
    assert images.identities == ("1", "2")
    assert images.origins[5] == "1.parquet row 1"
    assert guess_source(tmp_path) == ParquetSource(path=tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"picture": [b"x"], "identity": ["a"]}, "has no column 'image' but 'picture', 'identity'"),
        ({"image": [b"x"]}, "has no column 'identity'"),
        ({"image": ["x"], "identity": ["a"]}, "column 'image' is string, expected a struct"),
        ({"image": [{"path": "x"}], "identity": ["a"]}, "column 'image' is struct<path: string>"),
        ({"image": [b"x"], "identity": [0.5]}, "column 'identity' is double, expected strings"),
        ({"image": [b"x"], "identity": ["a"]}, "row 0 cannot be read as an image"),
        ({"image": pa.array([None], pa.binary()), "identity": ["a"]}, r"row 0 cannot be read as an image \(no bytes\)"),
        ({"image": [b"x"], "identity": pa.array([None], pa.string())}, "row 0 has no identity"),
        ({"image": pa.array([], pa.binary()), "identity": pa.array([], pa.string())}, "holds no images"),
    ],
)
def test_parquet_errors(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "faces.parquet")
    with pytest.raises(UserError, match=message):
        ParquetSource(path=tmp_path / "faces.parquet").load(16)


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.parquet cannot be read \(No such file"):
        ParquetSource(path=tmp_path / "nowhere.parquet").load(16)
    with pytest.raises(UserError, match=r"holds no \.parquet file"):
        ParquetSource(path=tmp_path).load(16)
    faces = pa.table({"image": [png(i) for i in range(8)], "identity": list("aabbccdd")})
    pq.write_table(faces, tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"cut\.parquet cannot be read as Parquet"):
        ParquetSource(path=tmp_path / "cut.parquet").load(16)
    (tmp_path / "holes.parquet").write_bytes(whole[:4] + bytes(2000) + whole[2004:])
    with pytest.raises(UserError, match=r"holes\.parquet is damaged after row"):
        ParquetSource(path=tmp_path / "holes.parquet").load(16)
