"""What every source of images promises."""

from functools import partial
from pathlib import Path

import torch

from trapmid.data import Source
from trapmid.testing.check import Check, expect

SIZE = 16


def source_checks(source: Source) -> list[Check]:
    """The promises that a reader has to keep.

    Args:
        source: that reads a few images, of at least two people if it names people.
    """
    checks = (_describes_itself, _equals_its_own_json, _reads_the_same_images_each_time, _converts_to_grey)
    return [Check(check.__name__.lstrip("_"), partial(check, source)) for check in checks]


def _describes_itself(source: Source, folder: Path) -> None:
    del folder
    expect(bool(source.title), f"{type(source).__name__} has no `title`: messages and reports name a data set by it.")
    expect(bool(source.depicts), f"{type(source).__name__} does not say what its images depict.")
    expect(
        bool(type(source).__doc__),
        f"{type(source).__name__} has no docstring: `trapmid list` shows its first sentence.",
    )


def _equals_its_own_json(source: Source, folder: Path) -> None:
    del folder
    again = type(source).model_validate_json(source.model_dump_json())
    expect(again == source, f"{source!r} became {again!r} in JSON and back, so that a run could not resume.")


def _reads_the_same_images_each_time(source: Source, folder: Path) -> None:
    del folder
    first, second = source.load(SIZE, 3), source.load(SIZE, 3)
    n = len(first.labels)
    expect(n > 0, "It read no image.")
    expect(tuple(first.pixels.shape) == (n, 3, SIZE, SIZE), f"Pixels have the shape {tuple(first.pixels.shape)}.")
    expect(first.pixels.dtype == torch.uint8, f"Pixels are {first.pixels.dtype}; expected torch.uint8, 0 to 255.")
    expect(first.digest() == second.digest(), "Reading twice gave different images, or another order.")
    if source.names_identities:
        expect(len(first.identities) >= 2, f"It found {len(first.identities)} identity; a classifier needs two.")
        used = torch.unique(first.labels).tolist()
        expect(used == list(range(len(first.identities))), "Every identity needs an image, and labels count from 0.")


def _converts_to_grey(source: Source, folder: Path) -> None:
    del folder
    expect(source.load(SIZE, 1).pixels.shape[1] == 1, "Asked for one channel, it did not give one.")
