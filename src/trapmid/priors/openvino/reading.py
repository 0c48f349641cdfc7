"""Reading OpenVINO's exchange format, IR: operations and edges in XML, constants in a binary file (IR versions 10, 11).

Files come from strangers. An XML file with a document type is refused, so there are no entities to expand. Numbers are
bounded, and every constant has to lie within the binary file.
"""

import math
import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
import torch
from torch import Tensor

from trapmid.errors import shown
from trapmid.priors.openvino.graph import Graph, Node, Port
from trapmid.priors.openvino.operations import OPERATIONS
from trapmid.types import UserError

MOST_TEXT, MOST_WEIGHTS = 32 * 2**20, 2 * 2**30
"""Bytes that the XML and the binary file may have."""
MOST_LAYERS, MOST_NUMBERS, MOST_DIMENSIONS = 50_000, 2**28, 8
"""How many operations a network may have, and how many numbers and dimensions one output may have."""
TYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "i32": np.dtype("<i4"), "i64": np.dtype("<i8")}
"""The types of constants that are read, little-endian."""


def read_graph(description: Path, weights: Path) -> Graph:
    """Read a network.

    Args:
        description: the XML file.
        weights: the binary file with its constants.

    Raises:
        UserError: a file is missing, is too large, is not in this format, or has an operation that is not read here.
    """
    reader = _Reader(description, weights)
    try:
        return reader.graph(_parsed(description))
    except UserError:
        raise
    except (expat.ExpatError, UnicodeDecodeError) as problem:
        reader.refuse(f"it is not XML ({problem})")
    except CycleError:
        reader.refuse("its operations depend on each other in a circle")
    except (KeyError, ValueError, AttributeError) as problem:
        reader.refuse(f"it is incomplete: {shown(problem)}")


def _parsed(file: Path) -> Element:
    """The tree of elements of an XML file without a document type."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse_document_type(*_: object) -> NoReturn:
        raise UserError(f"{file} declares a document type, which networks of OpenVINO do not have. Export it again.")

    parser.StartDoctypeDeclHandler = refuse_document_type
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(_read(file, MOST_TEXT), True)
    return builder.close()


def _read(file: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes."""
    try:
        if not file.is_file():
            raise UserError(f"{file} is not a file. Expected a network in OpenVINO's format, NAME.xml and NAME.bin.")
        if (size := file.stat().st_size) > most:
            raise UserError(f"{file} has {size} bytes. Expected at most {most}.")
        return file.read_bytes()
    except OSError as problem:
        raise UserError(f"{file} cannot be read ({problem.strerror}).") from problem


class _Reader:
    """Reads the elements of one network."""

    def __init__(self, description: Path, weights: Path) -> None:
        self.description, self.weights = description, weights

    def refuse(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self.description} and {self.weights.name} are not a network that trapmid reads: {reason}. Expected "
            "OpenVINO's format, version 10 or 11, with one input and one output."
        )

    def graph(self, net: Element) -> Graph:
        if net.tag != "net" or net.get("version") not in ("10", "11"):
            self.refuse(f"it begins with <{net.tag[:20]}> of version {str(net.get('version'))[:20]}")
        layers = {_number(layer.attrib["id"]): layer for layer in _within(net, "layers")}
        if len(layers) > MOST_LAYERS:
            self.refuse(f"it has {len(layers)} operations, and {MOST_LAYERS} are allowed")
        sources = self._sources(_within(net, "edges"), layers)
        kinds = {number: layer.attrib["type"] for number, layer in layers.items()}
        content = _read(self.weights, MOST_WEIGHTS)
        nodes, constants, names = {}, {}, {}
        ends: dict[str, list[Port]] = {"Parameter": [], "Result": []}
        order = TopologicalSorter({n: [port.layer for port in sources.get(n, ())] for n in layers})
        for number in order.static_order():
            layer, inputs = layers[number], sources.get(number, ())
            outputs = self._outputs(number, layer)
            match kinds[number]:
                case "Const":
                    ((port, shape),) = outputs.items()
                    constants[port] = self._constant(layer, shape, content)
                    names[port] = layer.get("name", "")
                case "Parameter":
                    ends["Parameter"] += outputs
                case "Result":
                    ends["Result"] += inputs
                case kind if (kind, layer.get("version", "")) not in OPERATIONS:
                    self.refuse(f"it has the operation {kind[:40]} of {layer.get('version', '')[:20]}")
            data = layer.find("data")
            attributes = {} if data is None else dict(data.attrib)
            nodes[number] = Node((kinds[number], layer.get("version", "")), attributes, inputs, outputs)
        for kind, found in ends.items():
            if len(found) != 1:
                self.refuse(f"it has {len(found)} of {kind}, and one was expected")
        known = {port for node in nodes.values() for port in node.outputs}
        if unknown := [port for node in nodes.values() for port in node.inputs if port not in known]:
            self.refuse(f"an edge begins at output {unknown[0].number} of layer {unknown[0].layer}, which is not there")
        return Graph(nodes, constants, names, ends["Parameter"][0], ends["Result"][0])

    def _sources(self, edges: Iterable[Element], layers: dict[int, Element]) -> dict[int, tuple[Port, ...]]:
        """The outputs that each operation takes, in the order of its inputs."""
        found: dict[int, dict[int, Port]] = {}
        for edge in edges:
            into, place = _number(edge.attrib["to-layer"]), _number(edge.attrib["to-port"])
            source = Port(_number(edge.attrib["from-layer"]), _number(edge.attrib["from-port"]))
            if into not in layers or source.layer not in layers or place in found.setdefault(into, {}):
                self.refuse(f"an edge from layer {source.layer} to input {place} of layer {into} does not fit")
            found[into][place] = source
        ordered = {into: tuple(port for _, port in sorted(ports.items())) for into, ports in found.items()}
        for number, layer in layers.items():
            if len(_within(layer, "input")) != len(ordered.get(number, ())):
                self.refuse(f"an input of layer {number} is not connected")
        return ordered

    def _outputs(self, number: int, layer: Element) -> dict[Port, tuple[int, ...]]:
        found = {}
        for port in _within(layer, "output"):
            shape = tuple(_number(dimension.text or "") for dimension in port.findall("dim"))
            if len(shape) > MOST_DIMENSIONS or math.prod(shape) > MOST_NUMBERS:
                self.refuse(f"an output of layer {number} has the shape {shape[: MOST_DIMENSIONS + 1]}")
            found[Port(number, _number(port.attrib["id"]))] = shape
        return found

    def _constant(self, layer: Element, shape: tuple[int, ...], content: bytes) -> Tensor:
        data = layer.find("data")
        if data is None:
            self.refuse("a constant has no data")
        kind = TYPES.get(data.attrib["element_type"])
        if kind is None:
            self.refuse(f"a constant is of type {data.attrib['element_type'][:20]}, and {' and '.join(TYPES)} are read")
        begin, size = _number(data.attrib["offset"]), _number(data.attrib["size"])
        if begin + size > len(content):
            self.refuse(f"a constant ends at byte {begin + size}, and {self.weights.name} has {len(content)} bytes")
        if size != math.prod(shape) * kind.itemsize:
            self.refuse(f"a constant of shape {shape} and type {data.attrib['element_type']} has {size} bytes")
        values = np.frombuffer(content, kind, math.prod(shape), begin)
        return torch.from_numpy(values.astype(np.float32 if kind.kind == "f" else np.int64)).reshape(shape)


def _within(parent: Element, tag: str) -> list[Element]:
    """The children of the child `tag`, or nothing if there is no such child."""
    child = parent.find(tag)
    return [] if child is None else list(child)


def _number(text: str) -> int:
    """A number of at most 15 digits that is not negative."""
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise ValueError(f"{text[:20]!r} is not a number")
    return int(text)
