"""How many images fit into memory, from the number of bytes that autograd keeps for one image."""

from collections.abc import Callable

import psutil
import torch
from torch import Tensor

from trapmid.types import UserError

HEADROOM = 2.0
"""A factor for gradients and workspace. A backward pass doubles the memory, as measured (docs/design.md)."""


def bytes_kept(compute: Callable[[], Tensor]) -> int:
    """Bytes of all tensors that autograd keeps for a backward pass through `compute`; each storage counts once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    assert result.requires_grad
    return sum(kept.values())


def bytes_per_image(loss: Callable[[Tensor, slice], Tensor], latents: Tensor) -> int:
    """What two images keep more than one: weights and constants, kept once however many images there are, cancel out.

    Args:
        loss: per latent, of the latents of a slice, as `optimise` takes it.
        latents: (n, latent_size), n > 1, with gradients wanted.
    """

    def of(count: int) -> int:
        return bytes_kept(lambda: loss(latents[:count], slice(0, count)))

    return of(2) - of(1)


def fitting_chunk(wanted: int, each: int, max_memory: int, device: torch.device) -> int:
    """The number of images to decode at once: `wanted`, or fewer if memory is too small.

    Args:
        wanted: the largest number of images.
        each: number of bytes for one image.
        max_memory: the memory limit in bytes of the process or, on a GPU, of its tensors.
        device: the device of the images.

    Raises:
        UserError: the memory is too small for one image.
    """
    taken = torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
    fits = int((max_memory - taken) / (HEADROOM * each))
    if fits < 1:
        raise UserError(
            f"--max-memory {_mib(float(max_memory))} is too little: {_mib(float(taken))} are taken before the search, "
            "and one image takes "
            f"{_mib(HEADROOM * each)}. Raise it to {_mib(taken + HEADROOM * each)} at least."
        )
    return min(wanted, fits)


def _mib(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"
