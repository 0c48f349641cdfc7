"""Annotations of trapmid are checked at every call in the tests, at a third of what jaxtyping's hook takes for it.

`--jaxtyping-packages` wraps every function so that the sizes that one call names, such as the n of images and labels,
agree. Most functions name none, and there the wrapper alone took a third of the whole suite. Here only functions with
arrays in their annotations are wrapped, and all others get beartype's checks alone.

Where another version of jaxtyping does not look up `jaxtyping.jaxtyped`, all is checked as before, and slower.
"""

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped


def _has_arrays(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    parts = hint if isinstance(hint, list) else get_args(hint)
    return any(map(_has_arrays, parts))


def _resolved(function: FunctionType) -> dict[str, Any]:
    """The annotations without quotes; what has a name that is not defined yet is not checked, as jaxtyping has it."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:
        return {name: Any if isinstance(hint, str) else hint for name, hint in function.__annotations__.items()}


def checked(what: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """In the place of `jaxtyping.jaxtyped`, with its arguments."""
    if what is None:
        return partial(checked, typechecker=typechecker)
    if not isinstance(what, FunctionType):
        return _jaxtyped(what, typechecker=typechecker)
    what.__annotations__ = _resolved(what)
    typed = beartype(what)
    return _jaxtyped(typed, typechecker=None) if any(map(_has_arrays, what.__annotations__.values())) else typed


jaxtyping.jaxtyped = checked
