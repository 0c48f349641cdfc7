"""Models that trapmid does not hold: they are reached through an ONNX file or a URL, and only answer."""

from trapmid.reach.http import HttpModel
from trapmid.reach.onnx import OnnxModel

__all__ = ["HttpModel", "OnnxModel"]
