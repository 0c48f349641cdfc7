"""Starts: pretraining of classifiers on public images, before the training on private images."""

from trapmid.starts.pretraining import (
    START,
    check_start,
    make_start,
    open_start,
    start_name,
    started,
)

__all__ = ["START", "check_start", "make_start", "open_start", "start_name", "started"]
