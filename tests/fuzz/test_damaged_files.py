"""Damaged and random files of every format that is read: images, Parquet, safetensors, torch.save's and ONNX.

Each test prints its counts: `pytest -m slow -n 0 -s tests/fuzz/test_damaged_files.py`.
"""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from helpers.mutations import cases, run, tell
from helpers.pictures import encoded, picture
from trapmid.data import FolderSource, ImageSet, ParquetSource
from trapmid.data.doctor import examine
from trapmid.models.weights import convert, read_weights
from trapmid.reach import OnnxModel
from trapmid.types import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of libraries, about the damage
]


def images(suffix: str, **options: Any) -> list[bytes]:
    def stored(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, suffix, **options)
        return stream.getvalue()

    modes = {"PNG": ("RGB", "RGBA", "P", "L", "1"), "JPEG": ("RGB", "L", "CMYK")}.get(suffix, ("RGB",))
    return [stored(picture(number, mode=mode)) for number, mode in enumerate(modes)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"])
def test_images(tmp_path: Path, kind: str) -> None:
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encoded(picture(7)))
    source = FolderSource(path=tmp_path)

    def right(result: ImageSet) -> bool:
        return result.pixels.shape == (3, 3, 16, 16)

    def read(file: Path) -> ImageSet:
        codes = {finding.code for finding in examine(source, image_size=16).findings}
        try:
            found = source.load(16)
        except UserError:
            assert "unreadable" in codes
            raise
        assert "unreadable" not in codes
        return found

    good = images(kind, **({"save_all": True, "append_images": [picture(9)]} if kind == "GIF" else {}))
    tell(kind, run(cases(good, 1, 1_500), tmp_path / "ann" / "x.png", read, right))


def tables() -> list[bytes]:
    pictures = [encoded(picture(number)) for number in range(6)]
    found = []
    for options in ({}, {"compression": "zstd"}, {"compression": "none", "use_dictionary": False}):
        for image in (pa.array(pictures), [{"bytes": content, "path": "x.png"} for content in pictures]):
            stream = io.BytesIO()
            table = pa.table({"image": image, "identity": list("aabbcc")})
            pq.write_table(table, stream, row_group_size=4, **options)
            found.append(stream.getvalue())
    return found


def test_parquet(tmp_path: Path) -> None:
    def read(file: Path) -> ImageSet:
        return ParquetSource(path=file).load(8)

    def right(result: ImageSet) -> bool:
        return len(result) >= 2 and result.pixels.shape[1:] == (3, 8, 8) and len(result.identities) >= 2

    tell("Parquet", run(cases(tables(), 2, 3_000), tmp_path / "faces.parquet", read, right))


def right_weights(result: dict[str, Tensor]) -> bool:
    return all(isinstance(name, str) and value.layout is torch.strided for name, value in result.items())


WEIGHTS = {"conv.weight": torch.rand(4, 3, 3, 3), "norm.bias": torch.rand(4), "steps": torch.tensor(7)}


def checkpoints(write: Callable[[Any, io.BytesIO], None]) -> list[bytes]:
    found = []
    for content in (WEIGHTS, {"state_dict": WEIGHTS, "epoch": 3}):
        stream = io.BytesIO()
        write(content, stream)
        found.append(stream.getvalue())
    return found


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_weights(tmp_path: Path, kind: str) -> None:
    good = {
        "safetensors": [save(WEIGHTS), save({"a": torch.rand(9).half()}, {"format": "pt"})],
        "zip": checkpoints(torch.save),
        "legacy": checkpoints(lambda content, to: torch.save(content, to, _use_new_zipfile_serialization=False)),
    }[kind]
    tell(kind, run(cases(good, 3, 3_000), tmp_path / "w.pth", read_weights, right_weights))


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_convert(tmp_path: Path, kind: str) -> None:
    """What can be read can be written and read again, or is refused without a file."""
    good = {
        "safetensors": [save(WEIGHTS)],
        "zip": checkpoints(torch.save),
        "legacy": checkpoints(lambda content, to: torch.save(content, to, _use_new_zipfile_serialization=False)),
    }[kind]
    written = tmp_path.with_name(f"{tmp_path.name}-written") / "w.safetensors"

    def read(file: Path) -> bool:
        try:
            made = convert(file, written)
            again = read_weights(written)
            return made.keys() == again.keys() and all(_same(made[name], again[name]) for name in made)
        finally:
            written.unlink(missing_ok=True)

    tell(f"convert {kind}", run(cases(good, 4, 1_500), tmp_path / "w.pth", read, bool))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def network(file: Path) -> bytes:
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["mapped"]),
        helper.make_node("Relu", ["mapped"], ["bent"]),
        helper.make_node("Flatten", ["bent"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    rng = np.random.default_rng(0)
    held = {"kernel": rng.normal(size=(2, 3, 3, 3)), "weights": rng.normal(size=(72, 3)), "bias": rng.normal(size=3)}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    content = file.read_bytes()
    file.unlink()
    return content


def test_onnx(tmp_path: Path) -> None:
    def read(file: Path) -> Tensor:
        model = OnnxModel(file)
        return model(torch.rand(2, *model.image_shape))

    def right(result: Tensor) -> bool:
        return result.ndim == 2 and len(result) == 2 and not math.isnan(float(result.sum()))

    tell("ONNX", run(cases([network(tmp_path / "net.onnx")], 5, 2_000), tmp_path / "net.onnx", read, right))
