"""Trainings in float64, so that no processor's rounding decides how they end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

CallT = TypeVar("CallT", bound=Callable[..., Any])


@contextmanager
def in_double_precision() -> Iterator[None]:
    """Weights, images and triggers in float64. As a decorator, it applies to every call.

    A training doubles a difference in rounding step after step. In float32 its end depends on the processor; in float64
    the difference is still small when a training of these tests ends.
    """
    single, usual = Tensor.float, torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.set_default_dtype(usual)
        Tensor.float = single  # type: ignore[method-assign]


def cached(function: CallT) -> CallT:
    """`functools.cache` with a network of its own for each precision."""

    @cache
    def found(precision: torch.dtype, *arguments: Any) -> Any:
        del precision
        return function(*arguments)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return found(torch.get_default_dtype(), *arguments)

    call.cache_clear = found.cache_clear  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]
