"""The base of every config: frozen, closed to unknown keys, and equal to its own JSON."""

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen config. The config is the component: its methods do the work, runtime objects are their arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    paper: ClassVar[str] = ""
    """Where a union member comes from; printed by `trapmid list`."""

    def fingerprint(self) -> str:
        """Sixteen hex digits that change if and only if a value of the config changes."""
        return fingerprint(self.model_dump(mode="json"))


def fingerprint(value: Any) -> str:
    """Hash of a JSON-like value, independent of key order: sixteen hex digits of its SHA-256."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
