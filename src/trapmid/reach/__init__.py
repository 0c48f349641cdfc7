"""Models that trapmid does not hold: they are reached through an ONNX file or a URL, and only answer."""

from pathlib import Path

from trapmid.reach.http import HttpModel
from trapmid.reach.onnx import OnnxModel
from trapmid.targets import OpaqueModel
from trapmid.types import UserError

__all__ = ["HttpModel", "OnnxModel", "reach"]


def reach(where: str) -> OpaqueModel:
    """The model that a path or a URL stands for.

    Raises:
        UserError: it is neither, or nothing answers there.
    """
    if where.startswith(("http://", "https://")):
        return HttpModel(where)
    if where.endswith(".onnx"):
        return OnnxModel(Path(where))
    raise UserError(f"--target {where!r} is neither an .onnx file nor a http:// or https:// address.")
