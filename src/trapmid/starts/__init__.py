"""Starts: pretraining on public images, so that a classifier knows faces before it sees a private one."""

from trapmid.starts.pretraining import (
    START,
    check_start,
    make_start,
    open_start,
    start_name,
    started,
)

__all__ = ["START", "check_start", "make_start", "open_start", "start_name", "started"]
