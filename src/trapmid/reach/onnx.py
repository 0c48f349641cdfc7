"""A model in an ONNX file, run by onnxruntime (the extra `onnx`)."""

import hashlib
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from trapmid.targets import OpaqueModel
from trapmid.types import Images, UserError

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


@final
class OnnxModel(OpaqueModel):
    """The first output of an ONNX network whose one input are images (n, c, h, w) in [0, 1]; normalisation belongs inside.

    Whether it gives logits or probabilities is told by its answers to two images: rows of probabilities sum to one.

    Args:
        file: the network.
        identities: names of its classes; numbers where none are given.
    """

    answers: Literal["labels", "scores"] = "scores"

    def __init__(self, file: Path, identities: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._session = _session(file)
        inputs = self._session.get_inputs()
        if (
            len(inputs) != 1
            or len(inputs[0].shape) != 4
            or not all(isinstance(side, int) for side in inputs[0].shape[1:])
        ):
            told = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise UserError(f"{file} takes {told}. Expected one input of images, (n, channels, height, width).")
        self._input, self.image_shape = inputs[0].name, tuple(inputs[0].shape[1:])
        if inputs[0].type not in _FLOATS:
            raise UserError(
                f"{file} takes images of {inputs[0].type}. Expected {', '.join(_FLOATS)}, with values in [0, 1]: put the conversion into the network."
            )
        self._type = _FLOATS[inputs[0].type]
        batch = inputs[0].shape[0]
        self._batch = batch if isinstance(batch, int) else None
        self.digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        probe = self._run(torch.stack([torch.zeros(self.image_shape), torch.ones(self.image_shape)]))
        if probe.ndim != 2:
            raise UserError(f"{file} answers with a tensor of shape {tuple(probe.shape)}. Expected (n, classes).")
        self._probabilities = bool((probe >= 0).all()) and torch.allclose(probe.sum(1), torch.ones(2), atol=1e-3)
        self.identities = identities or tuple(f"class-{i:05d}" for i in range(probe.shape[1]))
        if len(self.identities) != probe.shape[1]:
            raise UserError(f"{file} knows {probe.shape[1]} classes, and {len(self.identities)} names were given.")

    def forward(self, images: Images) -> Tensor:
        """See `OpaqueModel`."""
        answer = self._run(images.detach().cpu().float())
        return answer.log() if self._probabilities else answer.log_softmax(1)

    def _run(self, images: Images) -> Tensor:
        """(n, classes), as the network says; a network of fixed batch size is shown full batches, the last one padded."""
        if self._batch is None:
            return self._ask(images)
        answers = []
        for part in images.split(self._batch):
            missing = self._batch - len(part)
            answers.append(self._ask(torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]))[: len(part)])
        return torch.cat(answers)

    def _ask(self, images: Images) -> Tensor:
        return torch.from_numpy(self._session.run(None, {self._input: images.numpy().astype(self._type)})[0]).float()


def _session(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as problem:
        raise UserError("Reading ONNX files takes onnxruntime: pip install 'trapmid[onnx]'.") from problem
    if not file.is_file():
        raise UserError(f"{file} does not exist. Expected an .onnx file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(file, options, providers=onnxruntime.get_available_providers())
    except Exception as problem:  # onnxruntime's own classes share no base
        raise UserError(f"{file} is not a network that onnxruntime can run: {problem}") from problem
