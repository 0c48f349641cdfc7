"""The same arithmetic with other rounding errors, as on another processor or with another number of threads."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
INEXACT = {
    aten.convolution,
    aten.convolution_backward,
    aten.mm,
    aten.addmm,
    aten.bmm,
    aten.baddbmm,
    aten.sum,
    aten.mean,
    aten.native_batch_norm,
    aten.native_batch_norm_backward,
    aten._log_softmax,
    aten._softmax,
}
"""Operations that sum, and so depend on the order of their sums."""


def exact(func: Any, args: Any) -> bool:
    """Whether an operation is a sum or a mean of whole numbers, such as an accuracy. No processor rounds these."""
    if func.overloadpacket not in (aten.sum, aten.mean):
        return False
    return not args[0].is_floating_point() or bool((args[0] == args[0].round()).all())


class LastBit(TorchDispatchMode):
    """Moves every result of a sum, a matrix product or a convolution up or down by one unit in the last place.

    No processor rounds worse, so this stands for all that are not at hand. The noise is a stream of its own.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (1 << 21,), generator=self.rng) * 2 - 1
        kinds = (torch.float32, torch.float64)
        self.factors = {kind: 1 + signs.to(kind) * torch.finfo(kind).eps for kind in kinds}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and change the last bit of the results."""
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in INEXACT and not exact(func, args):
            for tensor in result if isinstance(result, tuple | list) else (result,):
                factors = self.factors.get(tensor.dtype) if isinstance(tensor, Tensor) else None
                if factors is not None and tensor.numel() <= len(factors):
                    begin = int(torch.randint(len(factors) - tensor.numel() + 1, (1,), generator=self.rng))
                    tensor.mul_(factors[begin : begin + tensor.numel()].view(tensor.shape))
        return result


@contextlib.contextmanager
def as_it_is(seed: int) -> Iterator[None]:
    """One thread, channels last, oneDNN, and the instructions of the environment."""
    yield


@contextlib.contextmanager
def two_threads(seed: int) -> Iterator[None]:
    """Every sum is computed in two halves."""
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(1)


@contextlib.contextmanager
def no_onednn(seed: int) -> Iterator[None]:
    """Convolutions by torch's own loops."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


@contextlib.contextmanager
def contiguous(seed: int) -> Iterator[None]:
    """The weights of convolutions are kept channels first and not channels last."""
    move = nn.Module.to

    def stay(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        kwargs.pop("memory_format", None)
        return move(self, *args, **kwargs) if args or kwargs else self

    nn.Module.to = stay  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.to = move  # type: ignore[method-assign]


@contextlib.contextmanager
def last_bit(seed: int) -> Iterator[None]:
    """See `LastBit`."""
    with LastBit(seed):
        yield


ROUNDINGS: dict[str, Callable[[int], contextlib.AbstractContextManager[None]]] = {
    "as it is": as_it_is,
    "last bit": last_bit,
    "two threads": two_threads,
    "no oneDNN": no_onednn,
    "contiguous": contiguous,
    "no vectors": as_it_is,
    "AVX2": as_it_is,
    "AVX512": as_it_is,
}
CAPABILITIES = {"no vectors": "default", "AVX2": "avx2", "AVX512": "avx512"}
"""What ATEN_CPU_CAPABILITY has to be before torch is imported."""
