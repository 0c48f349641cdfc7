"""The operations of OpenVINO's networks that are read, each as a function of tensors that torch differentiates.

They follow OpenVINO's operation sets 1 and 3. Shapes are int64 tensors and stay on the CPU.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Attributes: TypeAlias = Mapping[str, str]
Operation: TypeAlias = Callable[[Sequence[Tensor], Attributes], Sequence[Tensor]]

MOST_NUMBERS = 2**32
"""How many numbers an operation that repeats its input may produce, for a whole batch."""


class UnreadableOperationError(ValueError):
    """An operation has an attribute or an input that is not supported here."""


def _numbers(attributes: Attributes, name: str) -> list[int]:
    return [int(part) for part in attributes[name].split(",")]


def _flag(attributes: Attributes, name: str) -> bool:
    return attributes.get(name, "false").lower() in ("true", "1")


def _only(attributes: Attributes, name: str, value: str) -> None:
    if attributes.get(name, value) != value:
        raise UnreadableOperationError(f"{name}={attributes[name][:20]}, and {value} is supported")


def _elementwise(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def apply(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
        _only(attributes, "auto_broadcast", "numpy")
        return (function(*inputs),)

    return apply


def _matmul(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    a, b = inputs
    a = a.mT if _flag(attributes, "transpose_a") else a
    b = b.mT if _flag(attributes, "transpose_b") else b
    return (a @ b,)


def _prelu(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    return (F.prelu(inputs[0], inputs[1].flatten()),)


def _reduce_mean(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    return (inputs[0].mean(inputs[1].flatten().tolist(), keepdim=_flag(attributes, "keep_dims")),)


def _convolve(x: Tensor, kernel: Tensor, attributes: Attributes, groups: int) -> Tensor:
    _only(attributes, "auto_pad", "explicit")
    (top, left), (bottom, right) = _numbers(attributes, "pads_begin"), _numbers(attributes, "pads_end")
    strides, dilations = _numbers(attributes, "strides"), _numbers(attributes, "dilations")
    padding = [top, left]
    if (top, left) != (bottom, right):
        x, padding = F.pad(x, (left, right, top, bottom)), [0, 0]
    # channels last: depthwise convolutions on a CPU are three times as fast
    x = x.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, kernel, None, strides, padding, dilations, groups)


def _convolution(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    return (_convolve(inputs[0], inputs[1], attributes, 1),)


def _group_convolution(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    """The kernel is (groups, channels out of a group, channels into a group, h, w)."""
    return (_convolve(inputs[0], inputs[1].flatten(0, 1), attributes, len(inputs[1])),)


def _group_convolution_transposed(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    """The kernel is (groups, channels into a group, channels out of a group, h, w)."""
    _only(attributes, "auto_pad", "explicit")
    x, kernel = inputs
    strides, dilations = _numbers(attributes, "strides"), _numbers(attributes, "dilations")
    around = [_numbers(attributes, name) for name in ("pads_begin", "pads_end")]
    extra = _numbers(attributes, "output_padding") if "output_padding" in attributes else [0, 0]
    if strides == list(kernel.shape[3:]) and kernel.shape[1:3] == (1, 1) and around == [[0, 0]] * 2 and extra == [0, 0]:
        # kernels that do not overlap, as in wavelets: each number becomes a block, which is faster on a CPU
        spread = x[:, :, :, None, :, None] * kernel[:, 0, 0, None, :, None, :]
        return (spread.flatten(4, 5).flatten(2, 3),)
    if around[0] != around[1]:
        raise UnreadableOperationError("different padding on opposite sides")
    groups = len(kernel)
    return (F.conv_transpose2d(x, kernel.flatten(0, 1), None, strides, around[0], extra, groups, dilations),)


def _shape_of(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    _only(attributes, "output_type", "i64")
    return (torch.tensor(inputs[0].shape, dtype=torch.int64),)


def _gather(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    data, index, axis = inputs[0], inputs[1], int(inputs[2])
    found = data.index_select(axis, index.flatten())
    return (found.reshape((*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])),)


def _unsqueeze(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    x, axes = inputs[0], inputs[1].flatten().tolist()
    final = x.ndim + len(axes)
    for axis in sorted(axis % final for axis in axes):
        x = x.unsqueeze(axis)
    return (x,)


def _squeeze(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    return (inputs[0].squeeze(tuple(inputs[1].flatten().tolist())),)


def _concat(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    return (torch.cat(list(inputs), int(attributes["axis"])),)


def _reshape(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    x, shape = inputs[0], inputs[1].tolist()
    if _flag(attributes, "special_zero"):
        shape = [x.shape[i] if side == 0 else side for i, side in enumerate(shape)]
    return (x.reshape(shape),)


def _split(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    x, axis, lengths = inputs[0], int(inputs[1]), inputs[2].tolist()
    rest = x.shape[axis] - sum(length for length in lengths if length >= 0)
    return x.split([rest if length == -1 else length for length in lengths], axis)


def _broadcast(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    shape = tuple(inputs[1].tolist())
    if attributes.get("mode") == "bidirectional":
        shape = torch.broadcast_shapes(inputs[0].shape, shape)
    elif attributes.get("mode") != "numpy":
        raise UnreadableOperationError(f"mode={attributes.get('mode', '')[:20]}")
    return (inputs[0].expand(shape),)


def _tile(inputs: Sequence[Tensor], _: Attributes) -> Sequence[Tensor]:
    x, repeats = inputs[0], inputs[1].tolist()
    if x.numel() * math.prod(repeats) > MOST_NUMBERS:
        raise UnreadableOperationError(f"{repeats} repetitions of {tuple(x.shape)}")
    return (x.tile(repeats),)


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("Add", "opset1"): _elementwise(torch.add),
    ("Multiply", "opset1"): _elementwise(torch.mul),
    ("Power", "opset1"): _elementwise(torch.pow),
    ("MatMul", "opset1"): _matmul,
    ("PReLU", "opset1"): _prelu,
    ("ReduceMean", "opset1"): _reduce_mean,
    ("Convolution", "opset1"): _convolution,
    ("GroupConvolution", "opset1"): _group_convolution,
    ("GroupConvolutionBackpropData", "opset1"): _group_convolution_transposed,
    ("ShapeOf", "opset3"): _shape_of,
    ("Gather", "opset1"): _gather,
    ("Unsqueeze", "opset1"): _unsqueeze,
    ("Squeeze", "opset1"): _squeeze,
    ("Concat", "opset1"): _concat,
    ("Reshape", "opset1"): _reshape,
    ("VariadicSplit", "opset1"): _split,
    ("Broadcast", "opset3"): _broadcast,
    ("Tile", "opset1"): _tile,
}
"""By type and operation set."""
