"""Reads external weights from safetensors files or pickles, without running any code in them.

This is the only place in trapmid that reads a pickle.
"""

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trapmid.errors import shown
from trapmid.files import write_atomic
from trapmid.types import UserError

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts store the weights beside their other state."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile put before every name."""
_SPARE_BYTES = 64 * 2**20
_MOST_REPETITION = 4
"""How often tensors that share memory may repeat the numbers in a file. Tied weights are stored once and used twice."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read tensors by name onto the CPU, from a safetensors file or a file that `torch.save` wrote.

    The format is detected from the content, not the suffix, because published `.tar` and `.pkl` files are often written
    by `torch.save`. Containers that training scripts put around the weights and prefixes of wrappers are removed.

    Returns:
        Dense tensors, neither quantised nor sparse.

    Raises:
        UserError: there is no such file; or it is a web page, a Git LFS pointer, an archive or cut off; or it holds
            other tensors, or Python objects other than tensors. Such objects are never loaded, since loading them would
            run code.
    """
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise UserError(
                f"{file} is not a regular file but a pipe, a socket or a device. Expected a file of weights."
            )
        with file.open("rb") as stream:
            start = stream.read(1024)
    except OSError as problem:
        raise UserError(
            f"The weights {file} cannot be read ({problem.strerror}). "
            "Expected a file: safetensors, or a checkpoint that torch.save wrote."
        ) from problem
    _refuse_stand_ins(file, start)
    return _unwrap(file, _read_safetensors(file) if start[8:9] == b"{" else _read_pickle(file))


def initialise(
    network: nn.Module, file: Path, heads: tuple[str, ...] = (), own_name: Callable[[str], str] = str
) -> tuple[str, ...]:
    """Load the weights in `file` into `network`, by name.

    Every tensor of the network has to be in the file with the same shape, and the file may hold no others. Layers below
    `heads` are an exception: a head that does not fit as a whole keeps its random weights. The batch counters of batch
    norm layers may be missing, because old files do not have them.

    Args:
        network: the network, changed in place.
        file: a file that `read_weights` can read.
        heads: prefixes of layers whose size depends on the task, or which another task does not have.
        own_name: maps a name in the file that the network does not know to the network's name.

    Returns:
        One sentence for every head that was not loaded.

    Raises:
        UserError: the file cannot be read, or holds the weights of another network; the message names what differs.
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
            "Choose the model that they were made for, or rename them."
        )
    network.load_state_dict(
        {name: value for name, value in given.items() if not name.startswith(tuple(left_out))}, strict=False
    )
    return tuple(
        f"{file.name} has no fitting {head.rstrip('.')}: that part starts from random weights." for head in left_out
    )


def convert(legacy: Path, to: Path) -> dict[str, Tensor]:
    """Write what `read_weights` finds in `legacy` to the safetensors file `to`, with the same names, and return it.

    Tensors that share memory are written separately, because safetensors does not support sharing. A file that would
    grow too much in this way is refused.

    Raises:
        UserError: `legacy` cannot be read, or holds what safetensors cannot; or `to` exists or cannot be written.
    """
    tensors = read_weights(legacy)
    size, stored = sum(value.nbytes for value in tensors.values()), legacy.stat().st_size
    if size > _MOST_REPETITION * stored + _SPARE_BYTES:
        raise UserError(
            f"{legacy} has {stored:,} bytes, and its tensors would take {size:,} as safetensors: "
            "they repeat few numbers. Save the tensors that are meant to be kept, with .clone()."
        )
    if to.exists():
        raise UserError(f"{to} exists. Choose another --to, or remove it.")
    plain = {name: value.detach().resolve_conj().resolve_neg().clone().contiguous() for name, value in tensors.items()}
    try:
        content = save(plain)
    except (KeyError, ValueError, SafetensorError) as problem:
        raise UserError(f"{legacy} holds what safetensors cannot ({type(problem).__name__}: {problem}).") from problem
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(to, content)
    except OSError as problem:
        raise UserError(f"{to} cannot be written ({problem.strerror}). Choose another --to.") from problem
    return tensors


def _refuse_stand_ins(file: Path, start: bytes) -> None:
    """Refuse files that failed downloads leave in place of weights. The first bytes of the file identify them."""
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
            f"{file} is a web page that was saved under the name of the weights: "
            "its link led to a page that asks to log in or to confirm. "
            "Open the link in a browser and save the file itself."
        )
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) or start[257:262] == b"ustar":
        raise UserError(f"{file} is an archive. Unpack it and give the file inside that holds the weights.")


def _read_safetensors(file: Path) -> Any:
    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError) as problem:
        raise _damaged(file, str(problem)) from problem


def _read_pickle(file: Path) -> Any:
    _refuse_compressed(file)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        found = re.search(r"GLOBAL ([\w.]+)", str(problem))
        if found is None:  # the rest of the text advises to switch the protection off
            raise _damaged(file, "its pickle holds an unknown instruction") from problem
        raise UserError(
            f"{file} holds Python objects beside tensors ({found[1]}), and loading those runs code from the file, "
            "so it was not loaded. If you trust it, open it in the program that wrote it and "
            "save the state_dict alone: torch.save(model.state_dict(), FILE)."
        ) from problem
    except Exception as problem:  # torch.load raises any exception if torch.save did not write the file
        raise _damaged(file, str(problem) or type(problem).__name__) from problem


def _refuse_compressed(file: Path) -> None:
    """Refuse a zip file that unpacks to more than its size, since torch.save does not compress."""
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # zipfile raises many exceptions on damaged files; torch.load then reports the damage
        return
    if unpacked > file.stat().st_size:
        raise UserError(
            f"{file} is a compressed archive, which torch.save does not write. "
            "Unpack it and give the file inside that holds the weights."
        )


def _damaged(file: Path, reason: str) -> UserError:
    first = next(iter(reason.splitlines()), "")
    told = "torch.load refuses it" if "weights_only" in first else shown(first)
    return UserError(
        f"{file} ({file.stat().st_size:,} bytes) is neither safetensors nor a checkpoint that torch.save wrote, "
        f"or it is cut off: {told}. Compare its size with the original and get it again."
    )


def _unwrap(file: Path, content: Any) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        holds = (
            ", ".join(shown(name, 80) for name in list(content)[:5])
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise UserError(
            f"{file} holds no weights by name (it holds: {holds or 'nothing'}). "
            f"Expected tensors by name, or such a mapping under {' or '.join(CONTAINERS)}."
        )
    if odd := [name for name, value in content.items() if not _is_dense(value)]:
        raise UserError(
            f"{file} holds {len(odd)} tensors that are sparse, quantised or without numbers, such as "
            f"{shown(odd[0], 80)}. "
            "Save them as dense tensors: value.to_dense() or value.dequantize()."
        )
    tensors = {str(name): value for name, value in content.items()}
    if len(tensors) < len(content) or not all(map(_is_name, tensors)):
        raise UserError(
            f"{file} holds tensors whose names are not text, or appear twice. Expected names such as conv1.weight."
        )
    while prefix := next((w for w in WRAPPERS if all(name.startswith(w) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _is_dense(value: Tensor) -> bool:
    return value.layout is torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_nested)


def _is_name(name: str) -> bool:
    return name.isprintable() and name != "__metadata__"
