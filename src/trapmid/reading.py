"""Reading the files that trapmid writes, which may have been damaged or changed since."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trapmid.types import UserError

DEEPEST = 100
"""The most levels of nesting that a JSON file may have. The files that trapmid writes have fewer than twenty."""


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is not JSON in UTF-8, holds NaN or infinity, or is nested more than `DEEPEST` levels deep.
    """
    try:
        content = json.loads(file.read_bytes().decode(), parse_constant=_refuse_constant)
        levels = [content]
        for _ in range(DEEPEST):
            levels = [entry for level in levels for entry in _entries(level)]
        if levels:
            raise RecursionError
    except RecursionError:
        raise UserError(f"{file} is nested more than {DEEPEST} levels deep. {_EDITED}") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"{file} is not UTF-8 (byte {problem.start}). {_EDITED}") from problem
    except ValueError as problem:
        raise UserError(f"{file} is not JSON ({problem}). {_EDITED}") from problem
    return content


_EDITED = "It was damaged or changed: put back a copy that was not, or remove its folder and run the command again."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _entries(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        UserError: the file is not a safetensors file.
    """
    try:
        return load_file(file)
    except SafetensorError as problem:
        raise UserError(f"{file} is not a safetensors file ({problem}). {_EDITED}") from problem


def load_weights(module: nn.Module, file: Path) -> None:
    """Fill `module` with the tensors of a safetensors file.

    Raises:
        UserError: the file is not a safetensors file, or its tensors are not those of the module.
    """
    try:
        module.load_state_dict(read_tensors(file))
    except RuntimeError as problem:
        reason = " ".join(str(problem).split())[:300]
        raise UserError(f"{file} does not hold the weights of this network ({reason}). {_EDITED}") from problem
