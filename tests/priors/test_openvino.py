"""Networks in OpenVINO's format: what its own runtime computes, gradients of every operation, hostile files."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.openvino_files import NetworkWriter, single, tiny_mobile_stylegan
from trapmid.priors.openvino import OpenVINONet, read_graph
from trapmid.types import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "openvino.json").read_text(encoding="utf-8"))
"""What OpenVINO's CPU plugin computed in float32 from the files that tests/helpers/openvino_files.py writes."""
FLAT: dict[str, str] = {"auto_pad": "explicit", "dilations": "1,1"}
NUMPY = {"auto_broadcast": "numpy"}
RNG = np.random.default_rng(3)
OPERATIONS: dict[str, NetworkWriter] = {
    "Add": single("Add", {"b": [[1.0, -2.0, 0.5]]}, [[1, 3]], [1, 3], **NUMPY),
    "Multiply": single("Multiply", {"b": [[1.5, -2.0, 0.5]]}, [[1, 3]], [1, 3], **NUMPY),
    "Power": single("Power", {"b": [[3.0]]}, [[1, 3]], [1, 3], **NUMPY),
    "MatMul": single("MatMul", {"b": RNG.normal(size=(2, 3))}, [[1, 2]], [1, 3], transpose_b="true"),
    "PReLU": single("PReLU", {"slope": [0.1, 0.3]}, [[1, 2, 2, 2]], [1, 2, 2, 2]),
    "ReduceMean": single("ReduceMean", {"axes": [1]}, [[1, 1, 2]], [1, 3, 2], keep_dims="true"),
    "Convolution": single(
        "Convolution",
        {"kernel": RNG.normal(size=(3, 2, 3, 2))},
        [[1, 3, 2, 3]],
        [1, 2, 4, 4],
        **FLAT,
        strides="2,1",
        pads_begin="1,0",
        pads_end="0,0",
    ),
    "GroupConvolution": single(
        "GroupConvolution",
        {"kernel": RNG.normal(size=(2, 2, 1, 3, 3))},
        [[1, 4, 3, 3]],
        [1, 2, 3, 3],
        **FLAT,
        strides="1,1",
        pads_begin="1,1",
        pads_end="1,1",
    ),
    "GroupConvolutionBackpropData": single(
        "GroupConvolutionBackpropData",
        {"kernel": RNG.normal(size=(2, 1, 2, 3, 3))},
        [[1, 4, 5, 5]],
        [1, 2, 3, 3],
        **FLAT,
        strides="2,2",
        pads_begin="1,1",
        pads_end="1,1",
        output_padding="0,0",
    ),
    "wavelet": single(
        "GroupConvolutionBackpropData",
        {"kernel": RNG.normal(size=(2, 1, 1, 2, 1))},
        [[1, 2, 6, 3]],
        [1, 2, 3, 3],
        **FLAT,
        strides="2,1",
        pads_begin="0,0",
        pads_end="0,0",
    ),
    "Gather": single("Gather", {"index": [2, 0], "axis": np.int64(1)}, [[1, 2, 2]], [1, 3, 2]),
    "Unsqueeze": single("Unsqueeze", {"axes": [1, -1]}, [[1, 1, 3, 1]], [1, 3]),
    "Squeeze": single("Squeeze", {"axes": [1]}, [[1, 3]], [1, 1, 3]),
    "Concat": single("Concat", {"b": [[4.0]]}, [[1, 3]], [1, 2], axis=1),
    "Reshape": single("Reshape", {"shape": [0, -1]}, [[1, 6]], [1, 3, 2], special_zero="true"),
    "VariadicSplit": single("VariadicSplit", {"axis": np.int64(1), "lengths": [1, -1]}, [[1, 1], [1, 2]], [1, 3]),
    "Broadcast": single("Broadcast", {"shape": [1, 3, 2]}, [[1, 3, 2]], [1, 3, 1], "opset3", mode="bidirectional"),
    "Tile": single("Tile", {"repeats": [1, 2]}, [[1, 6]], [1, 3]),
}


def network(files: tuple[Path, Path]) -> OpenVINONet:
    return OpenVINONet(read_graph(*files))


def run(net: OpenVINONet, x: torch.Tensor) -> torch.Tensor:
    return net({net.graph.parameter: x}, [net.graph.result])[0]


def test_equals_openvino_on_a_whole_generator(tmp_path: Path) -> None:
    folder = tiny_mobile_stylegan(tmp_path)
    mapping, synthesis = (
        network((folder / f"mobilestylegan_ffhq_{name}.xml", folder / f"mobilestylegan_ffhq_{name}.bin"))
        for name in ("mnet", "snet")
    )
    latents = torch.tensor(np.random.default_rng(1).normal(size=(2, 12)), dtype=torch.float32)
    styles = run(mapping, latents)
    pictures = run(synthesis, styles)[:, :, ::3, 1::3]
    torch.testing.assert_close(styles, torch.tensor(GOLDEN["tiny_styles"]).view_as(styles), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pictures, torch.tensor(GOLDEN["tiny_pictures"]).view_as(pictures), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_of_every_operation(name: str, tmp_path: Path) -> None:
    writer = OPERATIONS[name]
    net = network(writer.write(tmp_path)).double()
    shape = net.graph.shape(net.graph.parameter)
    x = torch.tensor(np.random.default_rng(7).normal(size=(2, *shape[1:]))).requires_grad_()
    if name == "Concat":  # the constant has a batch of one
        x = x[:1].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: run(net, x), (x,))
    assert run(net, x).shape[1:] == net.graph.shape(net.graph.result)[1:]


def test_operations_by_hand(tmp_path: Path) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])
    expected = {"Power": [[1, 8, 27]], "Unsqueeze": [[[[1], [2], [3]]]], "Tile": [[1, 2, 3, 1, 2, 3]]}
    expected["VariadicSplit"] = [[1]]
    for name, values in expected.items():
        (tmp_path / name).mkdir()
        found = run(network(OPERATIONS[name].write(tmp_path / name)), x)
        torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float32))


def test_kernels_that_do_not_overlap_take_a_shorter_way(tmp_path: Path) -> None:
    net = network(OPERATIONS["wavelet"].write(tmp_path))
    x = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    (kernel,) = (weight.view(2, 1, 2, 1) for weight in net.weights.values())
    expected = torch.nn.functional.conv_transpose2d(x, kernel, stride=(2, 1), groups=2)
    torch.testing.assert_close(run(net, x), expected)


def changed(change: Callable[[str], str]) -> Callable[[Path, Path], None]:
    return lambda text, _: text.write_text(change(text.read_text(encoding="utf-8")), encoding="utf-8") and None


BOMB = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
DAMAGE: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "entities": (changed(lambda t: t.replace("<net", BOMB + "<net")), "declares a document type"),
    "outside entity": (
        changed(lambda t: t.replace("<net", '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net')),
        "declares a document type",
    ),
    "cut off": (changed(lambda t: t[: len(t) // 2]), "not XML"),
    "not a network": (changed(lambda _: "<html/>"), "begins with <html>"),
    "another version": (changed(lambda t: t.replace('version="10"', 'version="7"')), "version 7"),
    "weights cut off": (lambda _, w: w.write_bytes(w.read_bytes()[:-1]), "ends at byte"),
    "weights absent": (lambda _, w: w.unlink(), "is not a file"),
    "offset": (changed(lambda t: t.replace('offset="0"', 'offset="-8"')), "is not a number"),
    "huge offset": (changed(lambda t: t.replace('offset="0"', 'offset="99999999999"')), "ends at byte"),
    "size": (changed(lambda t: t.replace('size="24"', 'size="4"')), "has 4 bytes"),
    "huge shape": (changed(lambda t: t.replace("<dim>3</dim>", "<dim>999999999</dim>")), "has the shape"),
    "type": (changed(lambda t: t.replace('"f32" /><', '"f16" /><').replace('"f32"/><output', '"f16"/><output')), "f16"),
    "unknown operation": (changed(lambda t: t.replace('"MatMul"', '"Loop"')), "operation Loop"),
    "unknown version": (changed(lambda t: t.replace('"MatMul" version="opset1"', '"MatMul" version="x"')), "of x"),
    "edge to nowhere": (changed(lambda t: t.replace('to-layer="2"', 'to-layer="77"', 1)), "does not fit"),
    "edge from no output": (changed(lambda t: t.replace('from-port="0"', 'from-port="9"', 1)), "which is not there"),
    "an input without an edge": (changed(lambda t: re.sub("<edge [^>]*>", "", t, count=1)), "is not connected"),
    "circle": (changed(lambda t: t.replace('from-layer="0"', 'from-layer="2"', 1)), "in a circle"),
    "no result": (changed(lambda t: t.replace('"Result"', '"Parameter"')), "it has"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_and_hostile_files_are_refused(name: str, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    files = OPERATIONS["MatMul"].write(tmp_path)
    damage(*files)
    with pytest.raises(UserError, match=message):
        read_graph(*files)


def test_large_files_are_not_read(tmp_path: Path) -> None:
    text, weights = OPERATIONS["MatMul"].write(tmp_path)
    with text.open("r+b") as stream:
        stream.truncate(33 * 2**20)
    with pytest.raises(UserError, match="Expected at most"):
        read_graph(text, weights)


def test_shapes_that_differ_from_the_file_are_refused(tmp_path: Path) -> None:
    net = network(single("Tile", {"repeats": [1, 5]}, [[1, 6]], [1, 3]).write(tmp_path))
    with pytest.raises(UserError, match="gave the shape"):
        run(net, torch.zeros(1, 3))
    (tmp_path / "2").mkdir()
    net = network(single("Tile", {"repeats": [1, 10**12]}, [[1, 6]], [1, 3]).write(tmp_path / "2"))
    with pytest.raises(UserError, match="repetitions"):
        run(net, torch.zeros(1, 3))
    (tmp_path / "3").mkdir()
    net = network(single("Tile", {"repeats": [1, 2, 3]}, [[1, 6]], [1, 3]).write(tmp_path / "3"))
    with pytest.raises(UserError, match="gave the shape"):
        run(net, torch.zeros(1, 3))
