"""Weights from a local file: the one place that reads what others wrote, be it safetensors or a legacy pickle, and runs no code of theirs."""

import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trapmid.files import write_atomic
from trapmid.types import UserError

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside their other state."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile put before every name."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, out of a safetensors file or anything that `torch.save` wrote with tensors alone.

    The format is told by the content, not by the suffix: the field's `.tar` and `.pkl` files are `torch.save`'s. What a
    training script or a wrapper put around the weights is taken off.

    Raises:
        UserError: there is no such file, or it is a web page, a Git LFS pointer, an archive, cut off, or holds Python
            objects other than tensors. Those are never loaded, since loading them would run code.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(1024)
    except OSError as problem:
        raise UserError(
            f"The weights {file} cannot be read ({problem.strerror}). Expected a file: safetensors, or a checkpoint that torch.save wrote."
        ) from problem
    _refuse_stand_ins(file, start)
    return _unwrap(file, _read_safetensors(file) if start[8:9] == b"{" else _read_pickle(file))


def initialise(
    network: nn.Module, file: Path, heads: tuple[str, ...] = (), own_name: Callable[[str], str] = str
) -> tuple[str, ...]:
    """Load the weights in `file` into `network`, by name.

    Every tensor has to be there and of the right shape, and none may be left over, except below `heads`: a head that does not
    fit as a whole keeps its random weights. Counters of batch norm batches may be missing, as they are from old files.

    Args:
        network: the network, in place.
        file: as `read_weights` takes it.
        heads: prefixes of layers that another task has in another size, or not at all.
        own_name: the network's name for a tensor that the file has under a name it does not know.

    Returns:
        One sentence about every head that was left out.

    Raises:
        UserError: the file cannot be read, or is of another network: with the names and shapes that differ.
    """
    own, read = network.state_dict(), read_weights(file)
    renamed = {name: name if name in own else own_name(name) for name in read}
    given = {renamed[name]: value for name, value in read.items()}
    twice = [name for name, count in Counter(renamed.values()).items() if count > 1]
    differing = {name for name in own.keys() & given.keys() if own[name].shape != given[name].shape}
    missing = {name for name in own.keys() - given.keys() if not name.endswith(".num_batches_tracked")}
    left_over = given.keys() - own.keys()
    left_out = [head for head in heads if any(name.startswith(head) for name in differing | missing | left_over)]

    def wrong(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not name.startswith(tuple(left_out)))

    problems = [
        f"{len(names)} {what}, such as {', '.join(told(name) for name in names[:3])}"
        for what, names, told in (
            ("are missing", wrong(missing), str),
            ("are unknown", wrong(left_over), str),
            ("are there under two names", twice, str),
            (
                "have another shape",
                wrong(differing),
                lambda name: f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}",
            ),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"{file} holds the weights of another network: of {len(own)} expected tensors {'; '.join(problems)}. "
            "Choose the model they were made for, or rename them."
        )
    network.load_state_dict(
        {name: value for name, value in given.items() if not name.startswith(tuple(left_out))}, strict=False
    )
    return tuple(
        f"{file.name} has no fitting {head.rstrip('.')}: that part starts from random weights." for head in left_out
    )


def convert(legacy: Path, to: Path) -> dict[str, Tensor]:
    """Write what `read_weights` finds in `legacy` to the safetensors file `to`, names unchanged, and return it.

    Raises:
        UserError: `legacy` cannot be read, or `to` exists or cannot be written.
    """
    tensors = read_weights(legacy)
    if to.exists():
        raise UserError(f"{to} exists. Choose another --to, or remove it.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        # safetensors refuses tensors that share memory
        write_atomic(to, save({name: value.detach().clone().contiguous() for name, value in tensors.items()}))
    except (OSError, SafetensorError) as problem:
        raise UserError(f"{to} cannot be written ({problem}). Choose another --to.") from problem
    return tensors


def _refuse_stand_ins(file: Path, start: bytes) -> None:
    """What downloads leave behind in place of weights."""
    if not start:
        raise UserError(f"{file} is empty: its download did not happen. Get it again.")
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"size (\d+)", start)
        raise UserError(
            f"{file} is a Git LFS pointer, not the weights themselves{f' ({int(size[1])} bytes)' if size else ''}. "
            "Run `git lfs pull` in that repository, or download the file itself."
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(
            f"{file} is a web page that was saved under the name of the weights: its link led to a page that asks to log in or to confirm. "
            "Open the link in a browser and save the file itself."
        )
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) or start[257:262] == b"ustar":
        raise UserError(f"{file} is an archive. Unpack it and give the file inside that holds the weights.")


def _read_safetensors(file: Path) -> Any:
    try:
        return load_file(file)
    except SafetensorError as problem:
        raise _damaged(file, problem) from problem


def _read_pickle(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        found = re.search(r"GLOBAL ([\w.]+)", str(problem))
        if found is None:
            raise _damaged(file, problem) from problem
        raise UserError(
            f"{file} holds Python objects beside tensors ({found[1]}), and loading those runs code from the file, so it was not loaded. "
            "Where you trust it, open it in the program that wrote it and save the state_dict alone: torch.save(model.state_dict(), FILE)."
        ) from problem
    except Exception as problem:  # on bytes that no torch.save wrote, torch.load raises whatever it trips over
        raise _damaged(file, problem) from problem


def _damaged(file: Path, problem: Exception) -> UserError:
    reason = next(iter(str(problem).splitlines()), type(problem).__name__)
    return UserError(
        f"{file} ({file.stat().st_size:,} bytes) is neither safetensors nor a checkpoint that torch.save wrote, or it is cut off: {reason[:200]}. "
        "Compare its size with the original and get it again."
    )


def _unwrap(file: Path, content: Any) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        holds = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(
            f"{file} holds no weights by name (it holds: {holds or 'nothing'}). Expected tensors by name, or such a mapping under {' or '.join(CONTAINERS)}."
        )
    tensors = {str(name): value for name, value in content.items()}
    while prefix := next((w for w in WRAPPERS if all(name.startswith(w) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
