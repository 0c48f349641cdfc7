"""What a model from outside may look like, and how its words are shown."""

from typing import Annotated, TypeAlias

from pydantic import Field

MOST_SIDE = 4_096
MOST_CLASSES = 1_000_000
_SHOWN = 200

Side: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=MOST_SIDE)]
"""Height or width of an image in pixels."""


def shown(text: object) -> str:
    """What a stranger wrote, shortened, on one line and without control characters."""
    try:
        whole = str(text)
    except RecursionError:
        whole = "something nested too deeply"
    return repr(whole[:_SHOWN])[1:-1] + ("..." if len(whole) > _SHOWN else "")
