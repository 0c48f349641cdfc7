"""Upper limits for external models."""

from typing import Annotated, TypeAlias

from pydantic import Field

MOST_SIDE = 4_096
MOST_CLASSES = 1_000_000

Side: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=MOST_SIDE)]
"""Height or width of an image in pixels."""
