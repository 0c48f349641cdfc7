"""Checks for external training loops: an invalid batch is refused before anything changes.

One NaN in an image would set the discriminator to NaN. After that, no trigger would change any more, although every
loss would stay finite.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from trapmid import together
from trapmid.types import UserError

Step: TypeAlias = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""The losses of a batch by name, and other numbers to log."""
TOLERANCE = 1e-3
"""The tolerance for pixels outside [0, 1]. The overshoot of resampling in floating point is smaller."""


def check_batch(images: Tensor, labels: Tensor, shape: tuple[int, int, int], num_classes: int) -> None:
    """Refuse a batch that cannot be trained on.

    The values are checked by two reductions, whose four results are transferred together. On a GPU, this is one
    synchronisation per batch. It is necessary, because nothing may change before the result is known.

    Raises:
        UserError: shape, type, device or values of images or labels are not those of the training.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise UserError(
            f"The loss got images of shape {tuple(images.shape)}; expected (n, {', '.join(map(str, shape))}), since it "
            f"was built with image_shape={shape}."
        )
    if tuple(labels.shape) != (len(images),):
        raise UserError(f"The loss got labels of shape {tuple(labels.shape)} for {len(images)} images; expected (n,).")
    if not len(images):
        raise UserError("The loss got a batch without images. Skip empty batches.")
    if not images.is_floating_point():
        raise UserError(
            f"The loss got images of type {images.dtype}; expected floating point in [0, 1]. Convert them with "
            "`images.float() / 255`."
        )
    if labels.dtype != torch.int64:
        raise UserError(f"The loss got labels of type {labels.dtype}; expected class numbers of type torch.int64.")
    if images.device != labels.device:
        raise UserError(
            f"The loss got images on {images.device} and labels on {labels.device}. Move both to the classifier's "
            "device."
        )
    with torch.no_grad():
        bounds = torch.stack([bound.double() for bound in (*images.aminmax(), *labels.aminmax())])
    low, high, first, last = bounds.tolist()
    if not (abs(low) < float("inf") and abs(high) < float("inf")):  # aminmax propagates NaN
        raise UserError(
            "The loss got a batch with pixels that are not finite. Nothing has changed: repair the image, or skip the "
            "batch."
        )
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise UserError(
            f"The loss got pixels from {low:.2f} to {high:.2f}; expected images in [0, 1], in which triggers are "
            "blended. "
            "Move the normalisation into the model, as its first layer."
        )
    if first < 0 or last >= num_classes:
        raise UserError(
            f"The loss got labels from {first:.0f} to {last:.0f}; expected 0 to {num_classes - 1}, since it was built "
            f"with num_classes={num_classes}."
        )


def check_logits(logits: Tensor, num_classes: int) -> None:
    """Refuse logits that are not of shape (n, num_classes).

    Raises:
        UserError: the classifier has more or fewer outputs than there are classes.
    """
    if tuple(logits.shape[1:]) != (num_classes,):
        raise UserError(
            f"The classifier returned logits of shape {tuple(logits.shape)}; expected (n, {num_classes}), one for each "
            f"class. Give its last layer {num_classes} outputs, or pass the num_classes that it has."
        )


def refuse_not_finite(losses: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Refuse a batch whose losses are not finite, or after which some of `state` no longer is.

    On a GPU, this is one more synchronisation per batch.

    Raises:
        UserError: something is NaN or infinite.
    """
    with torch.no_grad():
        norm = get_total_norm([one for one in _tensors(state) if one.is_floating_point()])
        values = [*(loss.detach().double() for loss in losses.values()), norm.double()]
        finite = torch.stack([value.to(values[0].device) for value in values]).isfinite().tolist()
    if not all(finite):
        names = [name for name, fine in zip(losses, finite, strict=False) if not fine]
        raise UserError(
            f"The loss of this batch is not finite ({', '.join(names) or 'in the discriminator'}). Nothing has "
            "changed: skip the batch. "
            "If it happens again, lower the learning rate, or use bfloat16 instead of float16."
        )


@contextmanager
def undone_on_error(save: Callable[[], dict[str, Any]], load: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """A context that restores the state and torch's random state if an exception is raised in it.

    Args:
        save: returns the state.
        load: the inverse of `save`.
    """
    before = cloned(save())
    on_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    random = torch.get_rng_state(), torch.cuda.get_rng_state_all() if on_cuda else []
    try:
        yield
    except BaseException:
        load(before)
        torch.set_rng_state(random[0])
        torch.cuda.set_rng_state_all(random[1])
        raise


def guarded(
    step: Callable[[], Step],
    model: nn.Module,
    save: Callable[[], dict[str, Any]],
    load: Callable[[dict[str, Any]], None],
) -> Step:
    """Compute the losses of a batch, or change nothing.

    Args:
        step: returns losses by name and other numbers, and changes the state of a drop-in and the buffers of `model`.
        model: the classifier.
        save: returns the state of the drop-in.
        load: the inverse of `save`.

    Raises:
        UserError: a loss is not finite, in this process or in another one.
    """

    def load_all(state: dict[str, Any]) -> None:
        load(state["drop-in"])
        restore_buffers(model, state["buffers"])

    with undone_on_error(lambda: {"drop-in": save(), "buffers": buffers_of(model)}, load_all):
        losses, notes = step()
        with together.agreeing(together.bare(model)):
            refuse_not_finite(losses, save())
    return losses, notes


@contextmanager
def loading(what: str, save: Callable[[], dict[str, Any]], load: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """A context in which a state is loaded, either completely or not at all.

    Raises:
        UserError: the state does not belong to `what`. The previous state is restored.
    """
    try:
        with undone_on_error(save, load):
            yield
    except UserError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as problem:
        reason = str(problem).split("\n")[-1].strip()  # torch lists mismatches line by line
        missing = "lacks " if isinstance(problem, KeyError) else ""
        raise UserError(
            f"This is not the state of a {what} built like this one: {missing}{reason} Build the {what} as it was "
            "built when the state was saved."
        ) from problem


def buffers_of(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that a forward pass in train mode may change: the running statistics of batch norms, by name."""
    return dict(model.named_buffers())


@torch.no_grad()
def restore_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """The inverse of `buffers_of`."""
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def cloned(state: Any) -> Any:
    """A copy of a state that shares no memory with it."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        return {key: cloned(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(cloned(value) for value in state)
    return state


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)
