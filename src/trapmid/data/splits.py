"""Divides private images into train, val and test within every identity, and keeps private and public apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import model_validator
from torch import Tensor

from trapmid.config import BelowOne, Config, Fraction, Seed, fingerprint
from trapmid.data.images import ImageSet
from trapmid.types import UserError

_NAMED = 5
_PARTS = ("train", "val", "test")


class SplitConfig(Config):
    """The fractions of every identity's images that are held out.

    Attributes:
        val: fraction for selecting the epoch and calibrating judges and detectors. The paper has none and selects on
            `test`, as `training.keep=test` does.
        test: fraction for the final evaluation.
        seed: seed of the split.
    """

    val: BelowOne = 0.1
    test: Fraction = 0.1
    seed: Seed = 0

    @model_validator(mode="after")
    def _leaves_something_for_every_part(self) -> "SplitConfig":
        if self.val == 0:
            raise ValueError(
                "val=0 leaves no images for judges, detectors and the choice of the epoch; expected above 0, e.g. 0.1. "
                "For the paper's choice of the epoch set training.keep=test"
            )
        if self.val + self.test >= 1:
            raise ValueError(f"val={self.val} and test={self.test} leave no images to train on; expected a sum below 1")
        return self

    def held_out(self, images: int) -> tuple[int, int]:
        """The numbers of images of an identity in val and in test: the rounded fractions, but at least one each."""
        return max(1, round(self.val * images)), max(1, round(self.test * images))


@dataclass(frozen=True, eq=False)
class Split:
    """Images divided into three parts; every image is in exactly one of them.

    Attributes:
        images: all of them.
        train: (n_train,), int64, ascending row numbers of `images`; every identity has some.
        val: (n_val,), the same.
        test: (n_test,), the same.

    Raises:
        UserError: a part is empty.
    """

    images: ImageSet
    train: Tensor
    val: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        if empty := [name for name in _PARTS if not len(getattr(self, name))]:
            raise UserError(
                f"A split of {len(self.images)} images has none in {' and '.join(empty)}; trainings and measurements "
                f"need some in each of {', '.join(_PARTS)}. "
                "Divide them with `trapmid.data.split`, or name rows for every part."
            )

    def part(self, name: Literal["train", "val", "test"]) -> ImageSet:
        """The images of one part. Identities keep their numbers."""
        rows: Tensor = getattr(self, name)
        return self.images.subset(rows)

    def digest(self) -> str:
        """Sixteen hex digits that depend on every pixel and on its part; manifests name the private data by them."""
        return fingerprint([self.to_table().to_pydict(), self.images.digest()])

    def to_table(self) -> pa.Table:
        """One row per image, in the order of `images`: identity, source (the origin) and split. Run folders keep it."""
        parts = np.empty(len(self.images), dtype=object)
        for name in _PARTS:
            parts[getattr(self, name).numpy()] = name
        identities = [self.images.identities[label] for label in self.images.labels.tolist()]
        return pa.table({"identity": identities, "source": list(self.images.origins), "split": parts.tolist()})


def split(images: ImageSet, config: SplitConfig) -> Split:
    """Divide every identity's images at random, by the config's seed.

    The part of an image depends only on the seed, the identity's name and the origins of that identity's images, not on
    the order of rows, the image size or the other identities.

    Raises:
        UserError: some identities have too few images for one in each part.
    """
    names, counts = images.identities, images.counts().tolist()
    thin = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if sum(config.held_out(n)) >= n]
    if thin:
        raise UserError(
            f"{len(thin)} identities have too few images for at least one in every part (val={config.val}, "
            f"test={config.test}): {_some(thin)}. Remove these identities, add images of them, or hold out less."
        )
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for identity, name in enumerate(names):
        rows = sorted(images.of_identity(identity).tolist(), key=lambda row: images.origins[row])
        rng = np.random.default_rng([config.seed, int.from_bytes(_digest(name.encode()))])
        shuffled = [rows[i] for i in rng.permutation(len(rows))]
        val, test = config.held_out(len(rows))
        pieces = (shuffled[val + test :], shuffled[:val], shuffled[val : val + test])
        for part, piece in zip(parts, pieces, strict=True):
            part.extend(piece)
    return Split(images, *(torch.tensor(sorted(part), dtype=torch.int64) for part in parts))


def check_disjoint(private: ImageSet, public: ImageSet) -> None:
    """Make sure that the attacker's public images show none of the private identities.

    Equal names count as the same person, even between data sets that happen to number their people alike: no reader can
    tell the two cases apart, and a silent overlap would make every attack look better than it is.

    Raises:
        UserError: an identity's name, or an image equal to the last pixel, is in both.
    """
    shared = sorted(set(private.identities) & set(public.identities))
    if shared:
        raise UserError(
            f"{len(shared)} identities are in both the private and the public images: {_some(shared)}. "
            "Remove them from the public ones; if other people only have the same names, rename them there."
        )
    known = dict(zip(_digests(private), private.origins, strict=True))
    candidates = zip(_digests(public), public.origins, strict=True)
    twins = [f"{known[digest]} = {source}" for digest, source in candidates if digest in known]
    if twins:
        raise UserError(
            f"{len(twins)} public images equal private ones (private = public): {_some(twins)}. "
            "Remove them, and whatever else shows these people, from the public images."
        )


def _digests(images: ImageSet) -> Iterable[bytes]:
    return (_digest(image.tobytes()) for image in images.pixels.numpy())


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
