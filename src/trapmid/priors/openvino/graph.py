"""A network as OpenVINO's exchange format describes it: operations, and which output each of their inputs is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Port(NamedTuple):
    """One output of one operation.

    Attributes:
        layer: number of the operation.
        number: number of its output.
    """

    layer: int
    number: int


class Node(NamedTuple):
    """One operation.

    Attributes:
        operation: its type and the set of operations that defines it, such as ("Add", "opset1").
        attributes: its attributes, as text.
        inputs: the outputs that it takes, in order.
        outputs: its outputs, in order, with the shape that the file gives for a batch of one.
    """

    operation: tuple[str, str]
    attributes: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: Mapping[Port, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network.

    Attributes:
        nodes: the operations by their number, each after those that it takes its inputs from.
        constants: constant outputs.
        names: names of constant outputs.
        parameter: the one input of the network.
        result: the one output of the network.
    """

    nodes: Mapping[int, Node]
    constants: Mapping[Port, Tensor]
    names: Mapping[Port, str]
    parameter: Port
    result: Port

    def shape(self, port: Port) -> tuple[int, ...]:
        """The shape of an output, for a batch of one."""
        return self.nodes[port.layer].outputs[port]

    def takers(self, port: Port) -> list[int]:
        """The numbers of the operations that take this output, in the order of computation."""
        return [number for number, node in self.nodes.items() if port in node.inputs]
