"""Black-box models in an ONNX file or behind a URL, which give answers but no gradients."""

from trapmid.reach.http import HttpModel
from trapmid.reach.onnx import OnnxModel

__all__ = ["HttpModel", "OnnxModel"]
