"""Where and how numbers are computed: the device and the precision."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from trapmid.types import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision import Precision as PrecisionPlugin

Precision = Literal["32-true", "bf16-mixed"]


def choose_device(device: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device.

    Raises:
        UserError: it is neither, or a CUDA device is asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as problem:
        raise UserError(f"--device {device} is not a device. Expected auto, cpu, cuda or cuda:N.") from problem
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(
            f"--device {device}: trapmid computes on CPUs and CUDA devices. Expected auto, cpu, cuda or cuda:N."
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device {device}: this torch sees no CUDA device. Use --device cpu, or install a CUDA driver."
        )
    return chosen


@dataclass(frozen=True)
class Compute:
    """Where and how numbers are computed.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `32-true`, or `bf16-mixed` (forward passes in bfloat16, weights and sums in float32).
        max_memory: bytes that a search may take, of the process on a CPU and of tensors on a GPU; None for no limit.
    """

    device: str = "auto"
    precision: Precision = "32-true"
    max_memory: int | None = None

    @cached_property
    def fabric(self) -> "Fabric":
        """The Fabric behind it; imported at first use, since it takes seconds."""
        from lightning_fabric import Fabric

        device = choose_device(self.device)
        plugins: list[Any] = [_bf16(device)] if self.precision == "bf16-mixed" else []
        devices = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices, plugins=plugins)

    def __getstate__(self) -> dict[str, Any]:
        """What decides it; another process makes a Fabric of its own."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def target(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device; its forward pass will run in the chosen precision.

        Weights of convolutions lie channels last in memory, which is faster and not seen from outside (docs/results.md).
        """
        return self.fabric.setup_module(module.to(memory_format=torch.channels_last), move_to_device=True)


def _bf16(device: torch.device) -> "PrecisionPlugin":
    """Forward passes in bfloat16, from and to float32.

    Fabric's own plugin insists on `fabric.backward`, which float16 needs for its scaling and bfloat16 does not; here losses
    are back-propagated by whoever made them, and triggers and latents ask autograd for their gradients alone.
    """
    from lightning_fabric.plugins.precision import Precision as PrecisionPlugin
    from lightning_utilities.core.apply_func import apply_to_collection

    class BFloat16(PrecisionPlugin):
        precision = "bf16-mixed"

        def forward_context(self) -> torch.autocast:
            return torch.autocast(device.type, torch.bfloat16)

        def convert_output(self, data: Any) -> Any:
            return apply_to_collection(data, Tensor, lambda x: x.float() if x.is_floating_point() else x)

    return BFloat16()
