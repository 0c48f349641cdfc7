"""A model in an ONNX file, run by onnxruntime (the extra `onnx`)."""

from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from trapmid.errors import needs, shown
from trapmid.manifests import sha256
from trapmid.reach.limits import MOST_CLASSES, MOST_SIDE
from trapmid.targets import OpaqueModel
from trapmid.types import Images, UserError

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_MOST_BATCH = 4_096
_QUIET = 4
"""The log level at which onnxruntime reports fatal errors only. Other errors are raised as exceptions."""


@final
class OnnxModel(OpaqueModel):
    """An ONNX network with one input, images (n, c, h, w) in [0, 1]; its first output holds the scores (n, classes).

    Normalisation has to be part of the network. The answers to two images decide whether the scores are logits or
    probabilities: rows of probabilities sum to one. External data is read from the file's own folder only, which
    onnxruntime checks.

    Args:
        file: the network.
        identities: the names of its classes. If none are given, the classes are numbered.

    Raises:
        UserError: the file is not such a network, or it answers with NaN.
    """

    answers: Literal["labels", "scores"] = "scores"

    def __init__(self, file: Path, identities: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._file, self._session = file, _session(file)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or not all(map(_is_side, inputs[0].shape[1:])):
            told = ", ".join(f"{shown(i.name)} {shown(i.shape)}" for i in inputs) or "nothing"
            raise UserError(
                f"{file} takes {told}. Expected one input of images, (n, channels, height, width), "
                f"with sides of at most {MOST_SIDE:,} pixels."
            )
        self._input, self.image_shape = inputs[0].name, tuple(inputs[0].shape[1:])
        if inputs[0].type not in _FLOATS:
            raise UserError(
                f"{file} takes images of {inputs[0].type}. Expected {', '.join(_FLOATS)}, with values in [0, 1]: "
                "put the conversion into the network."
            )
        self._type = _FLOATS[inputs[0].type]
        batch = inputs[0].shape[0]
        self._batch = batch if isinstance(batch, int) else None
        if self._batch is not None and not 1 <= self._batch <= _MOST_BATCH:
            raise UserError(f"{file} takes batches of {batch} images. Expected 1 to {_MOST_BATCH:,}, or any number.")
        self.digest = sha256(file)[:16]
        probe = self._run(torch.stack([torch.zeros(self.image_shape), torch.ones(self.image_shape)]))
        if not 2 <= probe.shape[1] <= MOST_CLASSES:
            raise UserError(
                f"{file} knows {probe.shape[1]:,} classes. Expected 2 to {MOST_CLASSES:,}, with a score for each; "
                "a network with one output for two classes needs a second one, 1 - p."
            )
        self.probabilities = bool((probe >= 0).all()) and torch.allclose(probe.sum(1), torch.ones(2), atol=1e-3)
        self.identities = identities or tuple(f"class-{i:05d}" for i in range(probe.shape[1]))
        if len(self.identities) != probe.shape[1]:
            raise UserError(f"{file} knows {probe.shape[1]} classes, and {len(self.identities)} names were given.")

    def __reduce__(self) -> tuple[type["OnnxModel"], tuple[Path, tuple[str, ...]]]:
        """Another process reads the file anew, because a session cannot be pickled."""
        return OnnxModel, (self._file, self.identities)

    def forward(self, images: Images) -> Tensor:
        """See `OpaqueModel`.

        Raises:
            UserError: the network fails, or answers with NaN.
        """
        answer = self._run(images.detach().cpu().float())
        logs = answer.log() if self.probabilities else answer.log_softmax(1)
        if bool(logs.isnan().any()):
            raise UserError(
                f"{self._file} gives some images no score at all, or probabilities below 0. Its weights are damaged."
            )
        return logs

    def _run(self, images: Images) -> Tensor:
        """The output (n, classes) of the network. If its batch size is fixed, the last batch is padded."""
        if self._batch is None:
            return self._ask(images)
        answers = []
        for part in images.split(self._batch):
            missing = self._batch - len(part)
            answers.append(self._ask(torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]))[: len(part)])
        return torch.cat(answers)

    def _ask(self, images: Images) -> Tensor:
        try:
            answer = self._session.run(None, {self._input: images.numpy().astype(self._type)})[0]
        except Exception as problem:  # onnxruntime's exceptions have no common base class
            raise UserError(
                f"{self._file} fails on {len(images)} images of shape {self.image_shape}: {shown(problem)}. "
                "Export it again, with a batch dimension of any size."
            ) from problem
        if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
            kind = answer.dtype if isinstance(answer, np.ndarray) else type(answer).__name__
            raise UserError(f"{self._file} answers with {kind}. Expected a first output of floating-point scores.")
        if answer.ndim != 2 or len(answer) != len(images):
            raise UserError(
                f"{self._file} answers {len(images)} images with a tensor of shape {answer.shape}. "
                "Expected (n, classes)."
            )
        if np.isnan(answer).any() or np.isposinf(answer).any():
            raise UserError(
                f"{self._file} answers with NaN or infinity. "
                "Its weights are damaged, or images in [0, 1] are not what it takes."
            )
        return torch.from_numpy(answer).float()


def _is_side(side: Any) -> bool:
    return isinstance(side, int) and 1 <= side <= MOST_SIDE


def _session(file: Path) -> Any:
    with needs("onnx", "An ONNX file"):
        import onnxruntime
    if not file.is_file():
        raise UserError(f"{file} does not exist, or is not a regular file. Expected an .onnx file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(file, options, providers=onnxruntime.get_available_providers())
    except Exception as problem:  # onnxruntime's exceptions have no common base class
        raise UserError(f"{file} is not a network that onnxruntime can run: {shown(problem)}.") from problem
