"""Writes networks in OpenVINO's format: any list of operations, and a MobileStyleGAN of 16 px."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from xml.sax.saxutils import quoteattr

import numpy as np

Source: TypeAlias = tuple[int, int]
TYPES = {"float32": "f32", "int64": "i64", "int32": "i32"}


class NetworkWriter:
    """Collects operations, each with the shapes of its outputs for a batch of one, and writes the two files."""

    def __init__(self, version: str = "10") -> None:
        self.version, self.layers, self.edges, self.content = version, list[str](), list[str](), b""
        self.precisions: list[str] = []

    def add(
        self,
        kind: str,
        inputs: Sequence[Source] = (),
        shapes: Sequence[Sequence[int]] = (),
        *,
        operations: str = "opset1",
        name: str = "",
        **attributes: object,
    ) -> Source:
        """One operation. Returns its first output."""
        number = len(self.layers)
        whole = kind == "ShapeOf" or str(attributes.get("element_type", "")).startswith("i")
        self.precisions.append("I64" if whole else self.precisions[inputs[0][0]] if inputs else "FP32")
        data = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
        taken = "".join(f'<port id="{place}"/>' for place in range(len(inputs)))
        sides = ["".join(f"<dim>{side}</dim>" for side in shape) for shape in shapes]
        given = "".join(
            f'<port id="{len(inputs) + place}" precision="{self.precisions[-1]}">{dimensions}</port>'
            for place, dimensions in enumerate(sides)
        )
        self.layers.append(
            f'<layer id="{number}" name={quoteattr(name or f"{kind}-{number}")} type="{kind}" version="{operations}">'
            + (f"<data{data}/>" if data else "")
            + (f"<input>{taken}</input>" if taken else "")
            + (f"<output>{given}</output>" if given else "")
            + "</layer>"
        )
        self.edges += [
            f'<edge from-layer="{layer}" from-port="{port}" to-layer="{number}" to-port="{place}"/>'
            for place, (layer, port) in enumerate(inputs)
        ]
        return number, len(inputs)

    def constant(self, values: object, name: str = "", kind: str = "float32") -> Source:
        """A constant."""
        array = np.asarray(values, kind)
        begin, self.content = len(self.content), self.content + array.astype(array.dtype.newbyteorder("<")).tobytes()
        shape, element = ",".join(map(str, array.shape)), TYPES[kind]
        return self.add(
            "Const", (), [array.shape], name=name, offset=begin, size=array.nbytes, shape=shape, element_type=element
        )

    def whole(self, values: object) -> Source:
        """A constant of whole numbers."""
        return self.constant(values, kind="int64")

    def text(self) -> str:
        """The XML."""
        layers, edges = "".join(self.layers), "".join(self.edges)
        return (
            f'<?xml version="1.0"?><net name="net" version="{self.version}"><layers>{layers}</layers>'
            f"<edges>{edges}</edges></net>"
        )

    def write(self, folder: Path, name: str = "net") -> tuple[Path, Path]:
        """Write NAME.xml and NAME.bin."""
        files = folder / f"{name}.xml", folder / f"{name}.bin"
        files[0].write_text(self.text(), encoding="utf-8")
        files[1].write_bytes(self.content)
        return files


def single(
    kind: str,
    inputs: Mapping[str, object],
    shapes: Sequence[Sequence[int]],
    before: Sequence[int],
    operations: str = "opset1",
    **attributes: object,
) -> NetworkWriter:
    """A network of one operation with constant further inputs; `before` is the shape of the network's input.

    The result is its first output.
    """
    net = NetworkWriter()
    first = net.add("Parameter", (), [before], shape=",".join(map(str, before)), element_type="f32")
    rest = [net.constant(v, kind="int64" if np.asarray(v).dtype.kind == "i" else "float32") for v in inputs.values()]
    net.add("Result", [net.add(kind, [first, *rest], shapes, operations=operations, **attributes)])
    return net


def mapping_network(rng: np.random.Generator, size: int) -> NetworkWriter:
    """Normalisation and one layer with a leaky ReLU, from `size` numbers to as many."""
    net = NetworkWriter()
    latent = net.add("Parameter", (), [[1, size]], shape=f"1,{size}", element_type="f32")
    squares = net.add("Power", [latent, net.constant([[2.0]])], [[1, size]], auto_broadcast="numpy")
    mean = net.add("ReduceMean", [squares, net.whole([1])], [[1, 1]], keep_dims="true")
    raised = net.add("Add", [mean, net.constant([[1e-8]])], [[1, 1]], auto_broadcast="numpy")
    inverse = net.add("Power", [raised, net.constant([[-0.5]])], [[1, 1]], auto_broadcast="numpy")
    unit = net.add("Multiply", [latent, inverse], [[1, size]], auto_broadcast="numpy")
    kernel = net.constant(rng.normal(size=(size, size)) / size**0.5)
    product = net.add("MatMul", [unit, kernel], [[1, size]], transpose_a="false", transpose_b="true")
    net.add("Result", [net.add("PReLU", [product, net.constant([0.2])], [[1, size]])])
    return net


def synthesis_network(rng: np.random.Generator, size: int, width: int) -> NetworkWriter:
    """A MobileStyleGAN of 16 px: one convolution at 4 px, one layer at 8 px, wavelets, `width` channels."""
    net = NetworkWriter()
    style = net.add("Parameter", (), [[1, size]], shape=f"1,{size}", element_type="f32")

    def dimension(of: Source, rank: int, place: int) -> Source:
        sides = net.add("ShapeOf", [of], [[rank]], operations="opset3", output_type="i64")
        one = net.add("Gather", [sides, net.whole(place), net.whole(0)], [[]])
        return net.add("Unsqueeze", [one, net.whole([0])], [[1]])

    def modulated(maps: Source, channels: int, side: int, name: str) -> Source:
        kernel, bias = rng.normal(size=(channels, size)) / size**0.5, np.ones((1, channels))
        product = net.add("MatMul", [style, net.constant(kernel)], [[1, channels]], transpose_b="true")
        raised = net.add("Add", [product, net.constant(bias, f"{name}.modulation.bias/x")], [[1, channels]])
        ones = [net.whole([number]) for number in (-1, 1, 1)]
        shape = net.add("Concat", [dimension(style, 2, 0), *ones], [[4]], axis=0)
        factors = net.add("Reshape", [raised, shape], [[1, channels, 1, 1]], special_zero="true")
        return net.add("Multiply", [factors, maps], [[1, channels, side, side]])

    def finished(maps: Source, channels: int, side: int) -> Source:
        shape = [1, channels, side, side]
        noisy = net.add("Add", [maps, net.constant(0.1 * rng.normal(size=(1, 1, side, side)))], [shape])
        biased = net.add("Add", [noisy, net.constant(0.1 * rng.normal(size=(1, channels, 1, 1)))], [shape])
        return net.add("PReLU", [biased, net.constant([0.2])], [shape])

    plain = {"auto_pad": "explicit", "dilations": "1,1"}
    around = plain | {"strides": "1,1", "pads_begin": "1,1", "pads_end": "1,1"}
    alone = plain | {"strides": "1,1", "pads_begin": "0,0", "pads_end": "0,0"}

    def from_wavelets(maps: Source, channels: int, side: int) -> Source:
        """Channels: first the means, then three times the details."""
        low, _ = net.add(
            "VariadicSplit",
            [maps, net.whole(1), net.whole([channels, -1])],
            [[1, channels, side, side], [1, 3 * channels, side, side]],
        )
        sides = [
            dimension(maps, 4, 0),
            net.whole([channels]),
            net.whole([3]),
            dimension(maps, 4, 2),
            dimension(maps, 4, 3),
        ]
        shape = net.add("Concat", sides, [[5]], axis=0)
        details = net.add("Reshape", [(low, 4), shape], [[1, channels, 3, side, side]], special_zero="true")
        split = net.add(
            "VariadicSplit", [details, net.whole(2), net.whole([1, 1, 1])], [[1, channels, 1, side, side]] * 3
        )
        bands = [(low, 3)] + [
            net.add("Squeeze", [(split[0], 3 + band), net.whole([2])], [[1, channels, side, side]]) for band in range(3)
        ]

        def spread(maps: Source, sign: float, down: bool) -> Source:
            kernel = np.broadcast_to(np.array([1.0, sign]) / 2**0.5, (channels, 1, 1, 1, 2))
            return net.add(
                "GroupConvolutionBackpropData",
                [maps, net.constant(kernel.swapaxes(3, 4) if down else kernel)],
                [[1, channels, 2 * side, side if down else 2 * side]],
                **plain,
                strides="2,1" if down else "1,2",
                pads_begin="0,0",
                pads_end="0,0",
                output_padding="0,0",
            )

        columns = [
            net.add("Add", [spread(bands[i], 1, True), spread(bands[i + 1], -1, True)], [[1, channels, 2 * side, side]])
            for i in (0, 2)
        ]
        rows = [spread(columns[0], 1, False), spread(columns[1], -1, False)]
        return net.add("Add", rows, [[1, channels, 2 * side, 2 * side]])

    def depthwise(maps: Source, before: int, after: int, side: int) -> Source:
        first = net.constant(rng.normal(size=(before, 1, 1, 3, 3)) / 3)
        maps = net.add("GroupConvolution", [maps, first], [[1, before, side, side]], **around)
        second = net.constant(rng.normal(size=(after, before, 1, 1)) / before**0.5)
        return net.add("Convolution", [maps, second], [[1, after, side, side]], **alone)

    shape = [1, width, 4, 4]
    four = net.add("Concat", [dimension(style, 2, 0), *(net.whole([1]) for _ in range(3))], [[4]], axis=0)
    sides = net.add("ShapeOf", [four], [[1]], operations="opset3", output_type="i64")
    ones = net.add("Broadcast", [net.whole([1]), sides], [[4]], operations="opset3", mode="numpy")
    constant = net.constant(rng.normal(size=shape), "m.input.input")
    maps = net.add("Broadcast", [constant, ones], [shape], operations="opset3", mode="bidirectional")
    maps = net.add("Tile", [maps, four], [shape])
    kernel = net.constant(rng.normal(size=(width, width, 3, 3)) / (9 * width) ** 0.5)
    maps = net.add("Convolution", [modulated(maps, width, 4, "m.conv1.conv"), kernel], [shape], **around)
    maps = finished(maps, width, 4)
    maps = from_wavelets(modulated(maps, width, 4, "m.layers.0.up"), width // 4, 4)
    maps = depthwise(modulated(maps, width // 4, 8, "m.layers.0.conv1.conv"), width // 4, width, 8)
    maps = finished(maps, width, 8)
    maps = depthwise(modulated(maps, width, 8, "m.layers.0.conv2.conv"), width, width, 8)
    maps = modulated(finished(maps, width, 8), width, 8, "m.layers.0.to_img.conv")
    to_picture = net.constant(rng.normal(size=(12, width, 1, 1)) / width**0.5)
    maps = net.add("Convolution", [maps, to_picture], [[1, 12, 8, 8]], **alone)
    net.add("Result", [from_wavelets(maps, 3, 8)])
    return net


def tiny_mobile_stylegan(folder: Path) -> Path:
    """Write mapping and synthesis of 16 px with styles of 12 numbers into a folder, and return it."""
    rng = np.random.default_rng(0)
    mapping_network(rng, 12).write(folder, "mobilestylegan_ffhq_mnet")
    synthesis_network(rng, 12, 8).write(folder, "mobilestylegan_ffhq_snet")
    return folder
