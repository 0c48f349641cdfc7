"""Networks in OpenVINO's exchange format, as torch modules that yield gradients."""

from trapmid.priors.openvino.graph import Graph, Node, Port
from trapmid.priors.openvino.module import OpenVINONet
from trapmid.priors.openvino.reading import read_graph

__all__ = ["Graph", "Node", "OpenVINONet", "Port", "read_graph"]
