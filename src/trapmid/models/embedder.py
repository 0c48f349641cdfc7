"""A face embedder in an ONNX file: the teacher of a start, or a judge."""

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from trapmid.augment import warp
from trapmid.errors import needs, shown
from trapmid.types import Features, Images, UserError

_FRAME_LANDMARKS = np.array([(69.5, 111.3), (107.8, 111.2), (88.6, 132.5), (72.9, 152.2), (105.1, 152.1)])
_ARCFACE_LANDMARKS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_CROP_CORNER, _CROP_SIDE, _EMBEDDER_SIDE = np.array([35.0, 55.0]), 108, 112
_QUIET = 4
"""The level of onnxruntime's log at which it does not warn of a batch size that differs from the exported one."""
_BATCH, _BATCH_OF_REWRITTEN = 64, 4
"""Batch sizes.

On one CPU core, EdgeFace-S took 9.9 ms per image with batches of 1, 7.9 with 4, 10.5 with 16 and 18 with 64.
"""
_SAME = 1e-3
"""The largest accepted change of an embedding when the image is embedded in a batch with others."""


@final
class Embedder:
    """Embeddings of faces by an ONNX network, such as ArcFace's, InsightFace's or EdgeFace.

    The network has one input (n, 3, 112, 112): RGB images in [-1, 1], with faces aligned as ArcFace does. Its first
    output holds the embeddings (n, d). A network that was exported for a batch of one is rewritten for larger batches
    if its graph allows it. This needs the package `onnx`. Otherwise the network embeds one image at a time.

    Args:
        file: the network.

    Attributes:
        batch: the number of images in one forward pass.

    Raises:
        UserError: onnxruntime is not installed, or the file is not such a network.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise UserError(f"{file} does not exist, or is not a regular file. Expected an .onnx file.")
        self.file = file
        self._session = _session(file, str(file))
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape)[1:] if len(inputs) == 1 else None
        if shape != [3, _EMBEDDER_SIDE, _EMBEDDER_SIDE]:
            told = ", ".join(f"{shown(i.name)} {shown(i.shape)}" for i in inputs) or "nothing"
            raise UserError(
                f"{file} takes {told}. Expected a face embedder with one input, (n, 3, {_EMBEDDER_SIDE}, "
                f"{_EMBEDDER_SIDE})."
            )
        self._input, self.batch = inputs[0].name, _BATCH
        single = self._session
        if not self._batches_as(single):
            self._session, self.batch = _for_batches(file) or single, _BATCH_OF_REWRITTEN
            if not self._batches_as(single):
                self._session, self.batch = single, 1

    def __call__(self, images: Images) -> Features:
        """Embeddings (n, d) of unit length for images (n, 1 or 3, s, s) in [0, 1] that are central CelebA crops.

        Raises:
            UserError: the network fails.
        """
        aligned = align_to_arcface(images.expand(-1, 3, -1, -1)) * 2 - 1
        return F.normalize(torch.cat([self._ask(part) for part in aligned.split(self.batch)]), dim=1)

    def _ask(self, aligned: Tensor) -> Features:
        try:
            answer = self._session.run(None, {self._input: aligned.numpy()})[0]
        except Exception as problem:  # onnxruntime's exceptions have no common base class
            raise UserError(f"{self.file} fails on {len(aligned)} images: {shown(problem)}.") from problem
        found = torch.from_numpy(np.asarray(answer, dtype=np.float32)).flatten(1)
        if len(found) != len(aligned) or not bool(found.isfinite().all()):
            raise UserError(
                f"{self.file} answers {len(aligned)} images with a tensor of shape {answer.shape}, or with NaN. "
                "Expected finite embeddings (n, d)."
            )
        return found

    def _batches_as(self, single: Any) -> bool:
        """Whether two images in one batch have the same embeddings as when `single` embeds each image alone."""
        probe = torch.linspace(-1, 1, 2 * 3 * _EMBEDDER_SIDE**2).view(2, 3, _EMBEDDER_SIDE, _EMBEDDER_SIDE)
        session = self._session
        try:
            together = self._ask(probe)
            self._session = single
            alone = torch.cat([self._ask(image) for image in probe.split(1)])
        except UserError:
            return False
        finally:
            self._session = session
        return torch.allclose(F.normalize(together, dim=1), F.normalize(alone, dim=1), atol=_SAME)


def align_to_arcface(images: Images) -> Float[Tensor, "n 3 112 112"]:
    """Warp central CelebA crops (n, 3, s, s) to ArcFace's 112 x 112.

    All images share one similarity transform, the least-squares fit of five landmarks.
    """
    side = images.shape[-1]
    source = (_FRAME_LANDMARKS - _CROP_CORNER + 0.5) / _CROP_SIDE * 2 - 1
    aligned = (_ARCFACE_LANDMARKS + 0.5) / _EMBEDDER_SIDE * 2 - 1
    rows = [row for u, v in aligned for row in ([u, -v, 1, 0], [v, u, 0, 1])]
    a, b, x, y = np.linalg.lstsq(np.array(rows), source.reshape(-1), rcond=None)[0]
    maps = torch.tensor([[a, -b, x], [b, a, y]], dtype=torch.float32).expand(len(images), 2, 3)
    if side != _EMBEDDER_SIDE:
        images = F.interpolate(images, size=(_EMBEDDER_SIDE, _EMBEDDER_SIDE), mode="bilinear", align_corners=False)
    return warp(images, maps)


def _session(file: Path, network: str | bytes) -> Any:
    with needs("onnx", "An ONNX file"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's exceptions have no common base class
        raise UserError(f"{file} is not a network that onnxruntime can run: {shown(problem)}.") from problem


def _for_batches(file: Path) -> Any:
    """A session of the network in which every reshape to a batch of one keeps the batch size; None if this fails."""
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(file)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = (node for node in model.graph.node if node.op_type == "Constant")
    stored |= {node.output[0]: node.attribute[0].t for node in constants if node.attribute[0].name == "value"}
    for node in model.graph.node:
        shape = stored.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None:
            sides = onnx.numpy_helper.to_array(shape).copy()
            if len(sides) > 1 and sides[0] == 1:
                sides[0] = 0  # in ONNX, 0 keeps the size of the input
                shape.CopyFrom(onnx.numpy_helper.from_array(sides, shape.name))
    del model.graph.value_info[:]  # onnxruntime would rely on these shapes, which are for a batch of one
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    try:
        return _session(file, model.SerializeToString())
    except UserError:
        return None
