"""A GPU that is pretended: tensors on `cuda:1` are on the CPU, know where they claim to be, and mix with no others.

PyTorch's own fake tensors cannot stand in for CUDA here: the backward pass of a build with CUDA asks the driver for
contexts, and on its place for other accelerators (PrivateUse1) it crashes now and then. So this mode watches every call
of torch's Python functions instead. Results of tensors on the GPU are on the GPU; a tensor of the CPU with a dimension
or more among them is an error, as it would be there. Numbers are real, so whatever they decide is decided.

It is the second of two GPUs, and not the current one, so that code which means the current one is found as well.

What it does not see: what torch's C++ functions and hooks of the backward pass do by themselves, CUDA's kernels, their
rounding, streams and memory.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
DRAWS = {torch.rand, torch.randn, torch.randint, torch.randperm}
DRAWS_LIKE = {torch.rand_like, torch.randn_like, torch.randint_like}
MOVES = {Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.type_as}
MAY_MIX = {
    torch._has_compatible_shallow_copy_type,
    Tensor.copy_,
    Tensor.__setitem__,
    Tensor.backward,
    torch.autograd.backward,
    torch.autograd.grad,
}
NEEDS_THE_CPU = {Tensor.numpy, Tensor.__array__, torch.from_numpy}
PLAIN = {Tensor.as_subclass, Tensor.__reduce_ex__, Tensor.is_leaf.__get__, Tensor.data_ptr, Tensor.__repr__}


class OnGPU(Tensor):
    """A tensor that claims to be on the GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return self.detach().as_subclass(Tensor).__reduce_ex__(protocol)


def claimed(value: Any) -> Any:
    """The same tensor, or list or tuple of tensors, on the GPU."""
    if type(value) in (list, tuple):
        return type(value)(claimed(one) for one in value)
    if isinstance(value, tuple) and type(value).__module__ == "torch.return_types":
        return type(value)([claimed(one) for one in value])
    if not isinstance(value, Tensor) or isinstance(value, OnGPU):
        return value
    return value.as_subclass(OnGPU)


def place_of(tensor: Tensor) -> torch.device:
    """Where a tensor claims to be."""
    return GPU if isinstance(tensor, OnGPU) else CPU


class Pretence(TorchFunctionMode):
    """Keeps track of who is where."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in PLAIN:
            return func(*args, **kwargs)
        tensors = [one for one in tree_iter((args, kwargs)) if isinstance(one, Tensor)]
        on_gpu = any(isinstance(one, OnGPU) for one in tensors)
        if func in (Tensor.device.__get__, Tensor.is_cuda.__get__):
            return place_of(args[0]) if func == Tensor.device.__get__ else on_gpu
        if func in MOVES:
            return self._moved(func, args, kwargs)
        if func in NEEDS_THE_CPU and on_gpu:
            raise TypeError("can't convert cuda:1 device type tensor to numpy. Use Tensor.cpu() first")
        if func == Tensor.__deepcopy__ and on_gpu:
            return self._copied(*args)
        if func == Tensor.register_hook and on_gpu:
            return func(args[0], self._hook(args[1]))
        if on_gpu and func not in MAY_MIX:
            self._refuse_mixed(func, args, tensors)
        device = kwargs.get("device")
        if device is not None:
            device = torch.device(device)
            rng = kwargs.get("generator")
            if rng is not None and rng.device.type != device.type:
                raise RuntimeError(f"{func.__name__}: a generator on {rng.device} cannot draw on {device}")
            kwargs["device"], on_gpu = CPU, _is_gpu(device)
            if on_gpu and func in DRAWS and rng is None:
                kwargs["generator"] = torch.cuda.default_generators[1]
        if on_gpu and func in DRAWS_LIKE:
            kwargs.setdefault("generator", torch.cuda.default_generators[1])
        result = func(*args, **kwargs)
        return claimed(result) if on_gpu else result

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, *rest = args
        target = {Tensor.cuda: GPU, Tensor.cpu: CPU}.get(func)
        if func in (Tensor.cuda, Tensor.cpu):
            rest, kwargs = [], {}
        for value in (*rest, kwargs.get("device"), kwargs.get("other")):
            if isinstance(value, str | torch.device):
                target = torch.device(value)
            elif isinstance(value, Tensor):
                target = place_of(value)
        rest = [CPU if isinstance(value, str | torch.device) else value for value in rest]
        kwargs = {name: CPU if name == "device" else value for name, value in kwargs.items()}
        moved = Tensor.to(tensor, *rest, **kwargs) if rest or kwargs else tensor
        if target is None or _is_gpu(target) == isinstance(tensor, OnGPU):
            return claimed(moved) if isinstance(tensor, OnGPU) else moved
        moved = moved.clone() if moved is tensor else moved  # another device is another memory
        return claimed(moved) if _is_gpu(target) else moved.as_subclass(Tensor)

    def _hook(self, hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def with_claims(gradient: Tensor) -> Any:
            with self:  # which is off while a function of torch runs, such as a backward pass
                return hook(claimed(gradient))

        return with_claims

    def _copied(self, tensor: Tensor, memo: dict[int, Any]) -> Any:
        if id(tensor) not in memo:
            copied = claimed(tensor.detach().clone())
            if isinstance(tensor, nn.Parameter):
                copied = copied.requires_grad_(tensor.requires_grad)
                copied._is_param = True
            memo[id(tensor)] = copied
        return memo[id(tensor)]

    def _refuse_mixed(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        if func == Tensor.__getitem__ and isinstance(args[0], OnGPU):
            return  # indices may be on the CPU
        if any(not isinstance(one, OnGPU) and one.ndim for one in tensors):
            raise RuntimeError(
                f"{func.__name__}: expected all tensors to be on the same device, and got "
                f"{[(place_of(one).type, tuple(one.shape)) for one in tensors]}"
            )


def _is_gpu(device: torch.device) -> bool:
    if device.type == "cuda" and device.index != 1:
        raise RuntimeError(f"a tensor would be on {device}, and the chosen device is {GPU}")
    return device.type == "cuda"


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Inside, there is a device `cuda:1`."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, value in {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "device_count": lambda: 2,
            "current_device": lambda: 0,
            "_lazy_init": lambda: None,
            "default_generators": (torch.Generator(), torch.Generator()),
            "current_stream": lambda device=None: SimpleNamespace(cuda_stream=0, synchronize=lambda: None),
            "memory_allocated": lambda device=None: 0,
        }.items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        stack.enter_context(
            patch.object(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
        )
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        stack.enter_context(Pretence())
        yield GPU
