"""The union of all kinds of models that can be audited, from this package and from other packages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from trapmid.config import explain
from trapmid.registry import Registry
from trapmid.subjects.subject import SubjectConfig
from trapmid.types import UserError

SUBJECTS: Registry[SubjectConfig] = Registry(
    SubjectConfig,  # type: ignore[type-abstract]
    "kind of model",
    "trapmid.subjects",
    "trapmid.subjects.members:MEMBERS",
)
"""Every kind of model by its name."""

AnySubject: TypeAlias = Annotated[SubjectConfig, SUBJECTS]


def parse_subject(
    text: str,
    *,
    weights: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    normalise: str | None = None,
    label: str = "",
) -> SubjectConfig:
    """Find the model for a text: a file, a folder, an address, `timm:NAME` or `package.module:factory`.

    Args:
        text: the text that names the model.
        weights: its weights, for `timm:NAME` and for a factory that does not load them itself.
        classes: the names of its classes in order, or a file with one name per line.
        image_size: height and width of its images in pixels.
        channels: number of channels of its images, one or three.
        normalise: its normalisation, see `trapmid.subjects.inputs.KNOWN`.
        label: its name in the run folder.

    Raises:
        UserError: the text does not name a model, or an option is not valid.
    """
    weights = None if weights is None else Path(weights)
    found = next((config for kind in SUBJECTS if (config := kind.named(text, weights)) is not None), None)
    if found is None:
        raise UserError(_unknown(text, weights))
    given: dict[str, Any] = {
        "classes": read_classes(classes) if isinstance(classes, str | Path) else classes,
        "image_size": image_size,
        "channels": channels,
        "normalise": normalise,
        "label": label,
    }
    settings = {name: value for name, value in given.items() if value}
    try:
        return type(found).model_validate(found.model_dump() | settings)
    except ValueError as problem:
        raise UserError(f"{text}: {explain(problem)}.") from problem


def read_classes(file: str | Path) -> tuple[str, ...]:
    """Read the names of classes from a text file, one per line, in the model's order.

    Raises:
        UserError: the file cannot be read, or it has an empty line or a duplicate name.
    """
    try:
        names = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(
            f"{file} cannot be read as text: {problem}. Expected the name of one class a line."
        ) from problem
    if len(names) < 2 or not all(name.strip() for name in names):
        raise UserError(f"{file} has {len(names)} lines, or an empty one. Expected the name of one class on each line.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{file} has the class {twice!r} twice. Expected each name once.")
    return tuple(name.strip() for name in names)


def _unknown(text: str, weights: Path | None) -> str:
    path, expected = (
        Path(text),
        (
            "Expected a .pt2 or .onnx file, a folder of Hugging Face or of a model in a run folder, timm:NAME with "
            "--weights FILE, package.module:factory, or an http(s) address."
        ),
    )
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".tar", ".safetensors"):
        return (
            f"{text} holds weights without the network. Name the network and give it the weights: "
            f"package.module:factory --weights {text}, or timm:NAME --weights {text}. Lightning checkpoints work so, "
            "too."
        )
    if weights is not None:
        return f"--weights belongs to timm:NAME or package.module:factory, and {text!r} is neither."
    return f"{text!r} is not a model{'' if path.exists() else ': there is no such file or folder'}. {expected}"
