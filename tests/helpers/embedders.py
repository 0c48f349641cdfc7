"""A face embedder of a few thousand weights in an ONNX file."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Exported = Literal["any", "one", "one, in a constant", "the first"]
"""For any batch; for a batch of one, with a reshape that says so; or an answer about the first image alone."""


def written_embedder(file: Path, exported: Exported = "any", width: int = 8, side: int = 112) -> Path:
    """Average pooling to 8 x 8 pixels and a random matrix; embeddings of `width` numbers."""
    weights = np.random.default_rng(0).normal(size=(3 * 64, width)).astype(np.float32)
    shape = numpy_helper.from_array(np.array([0 if exported == "any" else 1, 192], dtype=np.int64), "shape")
    stored = [numpy_helper.from_array(weights, "weights")]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["small"], kernel_shape=[side // 8] * 2, strides=[side // 8] * 2)
    ]
    if exported == "one, in a constant":
        nodes.append(helper.make_node("Constant", [], ["shape"], value=shape))
    else:
        stored.append(shape)
    if exported == "the first":
        stored += [
            numpy_helper.from_array(np.array([edge], dtype=np.int64), name) for name, edge in (("a", 0), ("b", 1))
        ]
        nodes.append(helper.make_node("Slice", ["small", "a", "b"], ["first"]))
    nodes += [
        helper.make_node("Reshape", ["first" if exported == "the first" else "small", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    batch = "n" if exported == "any" else 1
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, width])],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return file
