"""Files of strangers: nothing in them is run, and each is refused with one sentence."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from helpers.foreign import Small, exported, to_onnx
from trapmid.subjects import parse_subject
from trapmid.types import UserError


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    file = exported(Small().eval(), tmp_path_factory.mktemp("hostile") / "net.pt2")
    with zipfile.ZipFile(file) as opened:
        return {entry.filename: opened.read(entry) for entry in opened.infolist()}


def rewritten(archive: dict[str, bytes], file: Path, changes: dict[str, bytes]) -> Path:
    """The archive with some of its files changed or added, by the end of their names."""
    content = dict(archive)
    root = next(iter(content)).split("/")[0]
    for name, value in changes.items():
        content[next((one for one in content if one.endswith(name)), f"{root}/{name}")] = value
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as opened:
        for name, value in content.items():
            opened.writestr(name, value)
    return file


class Runs:
    """A pickle that would write a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.file, "it ran")


NETWORK, PAYLOADS = "models/model.json", "data/weights/model_weights_config.json"


def network_with(change: Callable[[Any], None]) -> Callable[[dict[str, bytes], Path], dict[str, bytes]]:
    def changed(archive: dict[str, bytes], _: Path) -> dict[str, bytes]:
        content = json.loads(next(value for name, value in archive.items() if name.endswith(NETWORK)))
        change(content)
        return {NETWORK: json.dumps(content).encode()}

    return changed


def weights_as_pickle(archive: dict[str, bytes], mark: Path) -> dict[str, bytes]:
    content = json.loads(next(value for name, value in archive.items() if name.endswith(PAYLOADS)))
    next(iter(content["config"].values()))["use_pickle"] = True
    return {PAYLOADS: json.dumps(content).encode(), "data/weights/weight_0": pickle.dumps(Runs(mark))}


def inputs_as_pickle(_: dict[str, bytes], mark: Path) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save(((Runs(mark),), {}), stream)
    return {"data/sample_inputs/model.pt": stream.getvalue()}


def operator(content: Any) -> None:
    content["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


def expression(content: Any) -> None:
    content["graph_module"]["graph"]["tensor_values"]["images"]["sizes"][0]["as_expr"]["expr_str"] = "exec('import os')"


def reads_a_file(content: Any) -> None:
    content["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def tree(content: Any) -> None:
    calls = content["graph_module"]["module_call_graph"]
    calls[0]["signature"]["in_spec"] = (
        '[1, {"type": "collections.defaultdict", "context": "null", "children_spec": []}]'
    )


def name(content: Any) -> None:
    content["graph_module"]["graph"]["nodes"][0]["outputs"][0]["as_tensor"]["name"] = "x; import os"


HOSTILE = {
    "pickled weights": (weights_as_pickle, "a pickled object"),
    "pickled inputs": (inputs_as_pickle, "example inputs with Python objects"),
    "an operator that is none": (network_with(operator), r"the operator 'torch\.os\.system'"),
    "an operator that reads files": (network_with(reads_a_file), r"the operator 'torch\.ops\.aten\.from_file"),
    "an expression that is code": (network_with(expression), "the expression"),
    "a tree of Python objects": (network_with(tree), r"inputs or outputs of the type 'collections\.defaultdict'"),
    "a name that is code": (network_with(name), "the name 'x; import os'"),
    "a compiled library": (lambda *_: {"data/aotinductor/model/net.so": b"\x7fELF"}, "besides the network"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_program_that_would_run_code_is_not_loaded(kind: str, archive: dict[str, bytes], tmp_path: Path) -> None:
    change, told = HOSTILE[kind]
    mark = tmp_path / "mark"
    file = rewritten(archive, tmp_path / "net.pt2", change(archive, mark))
    with pytest.raises(UserError, match=f"holds .*{told}.*Loading that could run code from the file"):
        parse_subject(str(file)).open()
    assert not mark.exists()


def absurd_images(content: Any) -> None:
    for side in content["graph_module"]["graph"]["tensor_values"]["images"]["sizes"][2:]:
        side["as_int"] = 10**9


@pytest.mark.parametrize("sides", [(10**9, 10**9), (10**6, 10**9)])
def test_weights_of_an_absurd_size_are_not_loaded(
    sides: tuple[int, int], archive: dict[str, bytes], tmp_path: Path
) -> None:
    content = json.loads(next(value for name, value in archive.items() if name.endswith(PAYLOADS)))
    for side, size in zip(content["config"]["head.weight"]["tensor_meta"]["sizes"], sides, strict=True):
        side["as_int"] = size
    file = rewritten(archive, tmp_path / "net.pt2", {PAYLOADS: json.dumps(content).encode()})
    with pytest.raises(UserError, match=r"net\.pt2 cannot be loaded by torch"):
        parse_subject(str(file)).open()


def test_images_of_an_absurd_size_are_refused(archive: dict[str, bytes], tmp_path: Path) -> None:
    changed = network_with(absurd_images)(archive, tmp_path)
    with pytest.raises(UserError, match=r"takes images of 1,000,000,000 x 1,000,000,000 px\. Expected 1 to 4,096"):
        parse_subject(str(rewritten(archive, tmp_path / "net.pt2", changed))).open()


def test_a_program_that_makes_an_absurd_tensor_is_refused(tmp_path: Path) -> None:
    class Filling(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :5] + images.new_zeros(10**7, 10**8).sum()

    with pytest.raises(UserError, match=r"net\.pt2 fails on images of shape \(3, 32, 32\)"):
        parse_subject(str(exported(Filling().eval(), tmp_path / "net.pt2"))).open()


def test_external_data_of_an_onnx_file_comes_from_its_folder_with_white_box_access_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    file = to_onnx(Small().eval(), home / "net.onnx")
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    parse_subject(str(file)).open("white-box")
    (home / "weights.bin").rename(tmp_path / "weights.bin")
    inside = onnx.load(file, load_external_data=False)
    for tensor in inside.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    file.write_bytes(inside.SerializeToString())
    for access in ("white-box", "scores"):
        with pytest.raises(UserError, match="is not a network that onnxruntime can run"):
            parse_subject(str(file)).open(access)


def test_the_same_archive_without_a_change_is_loaded(archive: dict[str, bytes], tmp_path: Path) -> None:
    parse_subject(str(rewritten(archive, tmp_path / "net.pt2", {}))).open()


def test_a_text_of_an_absurd_size_is_not_read(
    archive: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trapmid.subjects.archive._LONGEST_TEXT", 100)
    with pytest.raises(UserError, match=r"holds a text of \d+ bytes, .*At most 100 bytes are read"):
        parse_subject(str(rewritten(archive, tmp_path / "net.pt2", {}))).open()


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04", pickle.dumps([1])])
def test_what_is_no_program(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(content)
    with pytest.raises(UserError, match=r"is not an archive that torch\.export\.save wrote"):
        parse_subject(str(tmp_path / "net.pt2")).open()


def test_names_in_an_onnx_file_do_not_become_code(tmp_path: Path) -> None:
    file, mark = to_onnx(Small().eval(), tmp_path / "net.onnx"), tmp_path / "mark"
    model = onnx.load(file)
    model.graph.node[0].name = f'x"); open({str(mark)!r}, "w").write("it ran") #'
    onnx.save(model, file)
    parse_subject(str(file)).open("white-box")
    assert not mark.exists()


def test_a_conversion_that_answers_otherwise_is_not_trusted(tmp_path: Path) -> None:
    # Resize with the model's own rounding is one of the functions that onnx2torch takes for another
    nodes = [
        helper.make_node("Resize", ["images", "", "scales"], ["half"], mode="nearest", nearest_mode="ceil"),
        helper.make_node("Flatten", ["half"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    weights = torch.randn(3 * 16, 3, generator=torch.Generator().manual_seed(0)).numpy()
    graph = helper.make_graph(
        nodes,
        "resize",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(torch.tensor([1.0, 1.0, 0.5, 0.5]).numpy(), "scales"),
        ],
    )
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    parse_subject(str(file)).open("scores")
    with pytest.raises(UserError, match=r"onnx2torch.*Give --access scores, or the network itself"):
        parse_subject(str(file)).open("white-box")
