"""Where and how numbers are computed: the device and the precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from trapmid import together
from trapmid.types import UserError

Precision = Literal["32-true", "bf16-mixed"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def choose_device(device: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device; `auto` is the first CUDA device, or else the CPU.

    Raises:
        UserError: the text names no device that trapmid computes on, or this machine has no such CUDA device.
    """
    expected = "Expected auto, cpu, cuda or cuda:N."
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as problem:
        raise UserError(f"--device {device} is not a device. {expected}") from problem
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: trapmid computes on CPUs and CUDA devices. {expected}")
    if chosen.type == "cpu":
        if chosen.index:
            raise UserError(f"--device {device}: a machine has one CPU device. {expected}")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"--device {device}: this torch sees no CUDA device. Use --device cpu, or install a CUDA driver."
        )
    index, count = chosen.index or 0, torch.cuda.device_count()
    if index >= count:
        raise UserError(f"--device {device}: this machine has {count} CUDA device(s), numbered from 0.")
    return torch.device("cuda", index)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, torch computes on one core, as every task of an audit does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Compute:
    """Where and how numbers are computed.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `32-true`, or `bf16-mixed` (forward passes in bfloat16; weights, losses and gradients in float32).
        max_memory: bytes that a search may take, of the process on a CPU and of tensors on a GPU; None for no limit.
        devices: number of processes that share the batches of one training, each on a GPU or core of its own.
    """

    device: str = "auto"
    precision: Precision = "32-true"
    max_memory: int | None = None
    devices: int = 1

    @cached_property
    def torch_device(self) -> torch.device:
        """The device that `device` names on this machine.

        Raises:
            UserError: there is no such device, or there are fewer GPUs than `devices`.
        """
        chosen = choose_device(self.device)
        if self.devices > 1 and chosen.type == "cuda":
            if ":" in self.device:
                raise UserError(f"--devices {self.devices}: --device {self.device} names one GPU. Use --device cuda.")
            if torch.cuda.device_count() < self.devices:
                raise UserError(f"--devices {self.devices}: this machine has {torch.cuda.device_count()} GPU(s).")
        return chosen

    def seen_by_process(self, rank: int) -> dict[str, str]:
        """The environment of one of the processes that train together: its GPU is the only one that it sees.

        So tensors that it is sent are on its own GPU, whose number is 0 in every process.
        """
        if self.torch_device.type == "cpu":
            return {}
        return {"CUDA_VISIBLE_DEVICES": _gpu_names()[rank]}

    def check_batches(self, size: int, setting: str) -> None:
        """Check that the processes can share batches of `size` images, the value of `setting`.

        Raises:
            UserError: they cannot have equally many.
        """
        if size % self.devices:
            raise UserError(
                f"--devices {self.devices} cannot share batches of {size} images equally. Choose a number that "
                f"divides {setting}."
            )

    @property
    def gpus(self) -> tuple[str, ...]:
        """What each parallel task may use, as a value of CUDA_VISIBLE_DEVICES: a GPU, or as many as `devices`.

        Empty on a CPU, and if `device` names one GPU, which all tasks then share.
        """
        if self.torch_device.type == "cpu" or ":" in self.device:
            return ()
        count, names = torch.cuda.device_count(), _gpu_names()
        return tuple(
            ",".join(names[first : first + self.devices]) for first in range(0, count - self.devices + 1, self.devices)
        )

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, because another machine chooses a device of its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def place(self, module: ModuleT) -> ModuleT:
        """Move a module to the device and let its forward pass run in the chosen precision. Returns the module itself.

        The weights of convolutions are stored channels last, which is faster and changes no result (docs/results.md).
        Where several processes train together on GPUs, batch norms take the images of all of them.
        """
        if together.processes() > 1 and self.torch_device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        module.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.precision == "bf16-mixed":
            module.forward = partial(_forward_in_bfloat16, module)
        return module


def _gpu_names() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(index) for index in range(torch.cuda.device_count())] if named is None else named.split(",")


def _forward_in_bfloat16(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The module's own forward pass in bfloat16, with its outputs in float32.

    It is bound to the module by `partial`, so that a deep copy of the module runs its own weights, and so does another
    process that the module is sent to.
    """
    with torch.autocast(next(module.parameters()).device.type, torch.bfloat16):
        output = type(module).forward(module, *args, **kwargs)
    return _in_float32(output)


def _in_float32(output: Any) -> Any:
    """The same output, a tensor or a tuple of outputs, with floating-point tensors converted to float32."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        parts = [_in_float32(part) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
    return output
