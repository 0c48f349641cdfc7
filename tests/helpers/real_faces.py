"""Real faces may never enter the repository, so a clone skips the tests that need them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

DATA = Path(os.environ.get("TRAPMID_SHARED", Path(__file__).parents[3] / "shared")) / "data"
PRIVATE, PUBLIC = DATA / "celeba-private.parquet", DATA / "celeba-public.parquet"

Test = TypeVar("Test", bound=Callable[..., None])


def needs_real_faces(test: Test) -> Test:
    """Mark a test with `faces`; it runs where both files are there."""
    absent = [file for file in (PRIVATE, PUBLIC) if not file.exists()]
    reason = f"no real faces: {', '.join(map(str, absent))} (TRAPMID_SHARED names the folder that holds data/)"
    return pytest.mark.faces(pytest.mark.skipif(bool(absent), reason=reason)(test))
