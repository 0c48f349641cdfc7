"""Checks a torch.export archive before torch loads it, because loading a malicious archive can run its code.

`torch.export.load` unpickles tensors that are marked as pickled, custom objects and, if they do not load otherwise, the
example inputs. It looks up operators as attributes of `torch`, such as torch.os.system, evaluates the expressions of
sizes as Python, imports modules that are named in tree specifications, and loads compiled libraries. An archive passes
the check if none of this can happen: every operator is an ATen operator, every expression is arithmetic with known
functions, trees consist of tuples, lists and dictionaries, and the weights are plain bytes.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trapmid.errors import shown
from trapmid.types import UserError

_FILES = re.compile(
    r"models/model\.json|data/weights/(model_weights_config\.json|weight_\d+)"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)|data/sample_inputs/model\.pt"
    r"|archive_(format|version)|byteorder|\.data/(version|serialization_id)|extra/[\w.-]+"
)
"""The files of an archive that `torch.export.save` writes for a network, relative to its top-level folder."""
_OPERATORS = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|le|ge|lt|gt|and_|or_)"
    r"|torch\.sym_(int|float|max|min|not|ite|sum)"
)
_READS_FILES = re.compile(r"torch\.ops\.aten\.from_file\.\w+")
_KNOWN_WORD = re.compile(
    r"Symbol|positive|integer|nonnegative|Integer|Float|Rational|precision|True|False"
    r"|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|Eq"
    r"|Ne|Le|Lt|Ge|Gt|And|Or|Not|Equality|Unequality|TruncToInt|ToFloat|Where"
    r"|StrictLessThan|StrictGreaterThan|LessThan|GreaterThan|RoundToInt|FloorToInt|CeilToInt"
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[suz]\d+")
_SIGNS = re.compile(r"[\w\s()+\-*/%,.=<>'&|~!]*")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_TREES = ("builtins.tuple", "builtins.list", "builtins.dict", None)
_LONGEST_TEXT = 256 * 2**20
"""The most bytes of a record that is read into memory before it is trusted."""


def check_archive(file: Path) -> None:
    """Refuse an archive that could run code when torch loads it.

    Raises:
        UserError: it is not an archive of `torch.export.save`, or has content that an archive of a plain network does
            not have.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        names = [entry.filename for entry in entries]
        packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        if long := next((one for one in entries if one.file_size > _LONGEST_TEXT and _is_text(one.filename)), None):
            raise UserError(
                f"{file} holds a text of {long.file_size} bytes, {shown(long.filename, 80)!r}. At most {_LONGEST_TEXT} "
                "bytes are read of each. Expected a file that torch.export.save wrote."
            )
        reader = torch._C.PyTorchFileReader(str(file))
        read = {name: bytes(reader.get_record(name)) for name in reader.get_all_records() if _is_text(name)}
        found = list(reader.get_all_records())
    except UserError:
        raise
    except Exception as problem:  # zipfile and torch's reader raise many exceptions on damaged files
        raise UserError(
            f"{file} is not an archive that torch.export.save wrote: {shown(problem)}. Export the model again."
        ) from problem
    if packed or len(set(names)) < len(names):
        raise UserError(f"{file} is a zip file that torch.export.save does not write. Export the model again.")
    if odd := [name for name in found if not _FILES.fullmatch(name)]:
        raise _refused(file, f"a file {odd[0]!r} besides the network and its weights")
    if "models/model.json" not in found:
        raise UserError(f"{file} holds no exported network. Expected a file that torch.export.save wrote.")
    try:
        for name, content in read.items():
            if name.endswith("_config.json"):
                _check_payloads(file, json.loads(content))
            elif name == "models/model.json":
                _check_network(file, json.loads(content))
            elif name.startswith("data/sample_inputs/"):
                _check_inputs(file, content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        if isinstance(problem, UserError):
            raise
        raise UserError(f"{file} does not describe a network ({shown(problem)}). Export the model again.") from problem


def _is_text(name: str) -> bool:
    return name.endswith(".json") or "data/sample_inputs/" in name


def _check_inputs(file: Path, content: bytes) -> None:
    """Check that the example inputs load with `weights_only=True`, so that torch does not fall back to another way."""
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as problem:
        raise _refused(file, "example inputs with Python objects") from problem


def _check_payloads(file: Path, content: Any) -> None:
    for name, payload in content["config"].items():
        if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
            raise _refused(file, f"a pickled object {shown(name, 80)!r}")


def _check_network(file: Path, content: Any) -> None:
    if any(not _SYMBOL.fullmatch(name) for name in content.get("range_constraints", {})):
        raise _refused(file, "a size that is no symbol")
    if content["graph_module"].get("treespec_namedtuple_fields"):
        raise _refused(file, "named tuples as inputs or outputs")
    for key, value in _entries(content):
        if key in ("target", "as_operator") and isinstance(value, str) and not _is_operator(value):
            raise _refused(file, f"the operator {shown(value, 80)!r}")
        if key == "expr_str" and not _is_arithmetic(value):
            raise _refused(file, f"the expression {shown(value, 80)!r}")
        if key in ("in_spec", "out_spec") and isinstance(value, str):
            _check_tree(file, value)
        if key == "name" and not (isinstance(value, str) and (not value or _NAME.fullmatch(value))):
            raise _refused(file, f"the name {shown(value, 80)!r}")


def _is_operator(text: str) -> bool:
    return bool(_OPERATORS.fullmatch(text)) and not _READS_FILES.fullmatch(text)


def _is_arithmetic(text: Any) -> bool:
    if not isinstance(text, str) or len(text) > 10_000 or not _SIGNS.fullmatch(text) or "__" in text:
        return False
    return all(_KNOWN_WORD.fullmatch(word) or _SYMBOL.fullmatch(word) for word in _WORD.findall(text))


def _check_tree(file: Path, text: str) -> None:
    for key, value in _entries(json.loads(text)):
        if key == "type" and value not in _TREES:
            raise _refused(file, f"inputs or outputs of the type {shown(value, 80)!r}")
        if key == "context" and isinstance(value, str) and ("factory" in value or "enum" in value):
            raise _refused(file, "inputs or outputs that name Python objects")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON document with its value, at all depths."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _refused(file: Path, what: str) -> UserError:
    return UserError(
        f"{file} holds {what}. Loading that could run code from the file, so it was not loaded. If the network is "
        "yours, name the code that builds it, package.module:factory, with --weights FILE."
    )
