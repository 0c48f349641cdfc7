"""Communication between processes that train one model with `torch.distributed`.

With one process, or without a process group, every function returns what one process needs.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from trapmid.types import UserError


def processes() -> int:
    """The number of processes that train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def rank() -> int:
    """The number of this process, counted from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def bare(model: nn.Module) -> nn.Module:
    """The module inside of `DistributedDataParallel`; any other module is returned as it is."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def refuse_sharded(model: nn.Module) -> None:
    """Refuse a model whose weights are spread over processes.

    Raises:
        UserError: FSDP, or another kind of sharding, holds the weights.
    """
    if any(type(one).__name__ in ("FullyShardedDataParallel", "DTensor") for one in (*model.modules(), *_data(model))):
        raise UserError(
            "The weights of this model are spread over several processes (FSDP), and a defense needs all of them in "
            "each process. Wrap the model in torch.nn.parallel.DistributedDataParallel instead."
        )


def _data(model: nn.Module) -> list[Tensor]:
    return [parameter.data for parameter in model.parameters()]


def refuse_processes(what: str) -> None:
    """Refuse to go on in a process that already trains together with others.

    Raises:
        UserError: it does.
    """
    if processes() > 1:
        raise UserError(
            f"{what} starts its own processes, and {processes()} train together here. Start trapmid without torchrun "
            "and give it --devices, or use the drop-ins Trapdoor or Defended in a loop with DistributedDataParallel."
        )


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if processes() > 1:
        distributed.barrier()


def share(rows: Tensor) -> Tensor:
    """The part of the rows (n, ...) of a step that belongs to this process.

    Raises:
        UserError: the processes cannot have equally many.
    """
    count = processes()
    if len(rows) % count:
        raise UserError(
            f"A step has {len(rows)} images, which {count} processes cannot share equally. Choose a number of "
            "--devices that divides the batch size."
        )
    return rows.chunk(count)[rank()] if count > 1 else rows


def mean(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """The mean of each value over the processes. All of them have the same names."""
    if processes() == 1:
        return dict(values)
    rows = _gathered(list(values.values()), device)
    return {name: sum(column) / len(rows) for name, column in zip(values, zip(*rows, strict=True), strict=True)}


def counts(n: int, device: torch.device) -> list[int]:
    """The number of images of each process in this step, in the order of their ranks."""
    return [n] if processes() == 1 else [int(row[0]) for row in _gathered([float(n)], device)]


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes. The tensors travel in one message."""
    if processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= processes()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def average_gradients(module: nn.Module) -> None:
    """Average the gradients of a module that is not wrapped, and give every process the buffers of the first one."""
    if processes() == 1:
        return
    average([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
    for buffer in module.buffers():
        distributed.broadcast(buffer, 0)


def from_first(state: Any) -> Any:
    """The state of the first process, with tensors on the CPU."""
    box = [_on_cpu(state) if rank() == 0 else None]
    distributed.broadcast_object_list(box, 0)
    return box[0]


def gather(tensor: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, in the order of their ranks. Gradients flow back to where rows come from.

    Raises:
        UserError: the processes bring different numbers of rows.
    """
    if processes() == 1:
        return tensor
    found = counts(len(tensor), tensor.device)
    if len(set(found)) > 1:
        raise UserError(
            f"The processes bring {found} images to this step. This defense compares all images of a step, so each "
            "process has to bring as many as the others: drop the incomplete last batch (drop_last=True)."
        )
    return _Gathered.apply(tensor)


class _Gathered(torch.autograd.Function):
    """The rows of all processes. The gradient of a row is the sum of those that all processes have of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        mine = tensor.contiguous()
        parts = [torch.empty_like(mine) for _ in range(processes())]
        distributed.all_gather(parts, mine)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        total = gradient.clone(memory_format=torch.contiguous_format)  # gloo sends memory, whatever its strides
        distributed.all_reduce(total)
        return total.chunk(processes())[rank()]


@contextmanager
def agreeing(model: nn.Module) -> Iterator[None]:
    """A batch that one process refuses inside is refused by all of them, so that no process waits forever.

    The processes also compare their weights, which differ if gradients are not averaged.

    Args:
        model: the classifier.

    Raises:
        UserError: this process refused its batch; or another one did; or the weights differ.
    """
    problem: UserError | None = None
    try:
        yield
    except UserError as refusal:
        problem = refusal
    if processes() > 1:
        last = [parameter for parameter in model.parameters() if parameter.requires_grad][-1].detach().double()
        weighed = last.flatten() * torch.arange(
            1, last.numel() + 1, device=last.device
        )  # a plain sum may stay the same
        rows = _gathered([float(problem is not None), float(weighed.sum()), float(weighed.abs().sum())], last.device)
        refusing = [number for number, row in enumerate(rows) if row[0]]
        if problem is None and refusing:
            raise UserError(
                f"Process {refusing[0]} refused its batch, so no process takes this step. Its own error says why. "
                "Nothing has changed."
            )
        spread = max(row[1] for row in rows) - min(row[1] for row in rows)
        if problem is None and spread > 1e-6 * rows[0][2]:
            raise UserError(
                f"The weights differ between the {len(rows)} processes, so nobody averages their gradients. Give the "
                "loss the model that is wrapped in DistributedDataParallel, or call `.through(model)` with it."
            )
    if problem is not None:
        raise problem


def _gathered(values: list[float], device: torch.device) -> list[list[float]]:
    mine = torch.tensor(values, dtype=torch.float64, device=device)
    rows = [torch.empty_like(mine) for _ in range(processes())]
    distributed.all_gather(rows, mine)
    return torch.stack(rows).tolist()


def _on_cpu(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_on_cpu(value) for value in state)
    return copy.copy(state)
