"""Reads CelebA as its authors distribute it, cropped and divided as the papers on model inversion do."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from trapmid.config import Count, CropSide
from trapmid.data.decoding import BrokenImage, check_regular
from trapmid.data.records import Record, StoredSource, readable
from trapmid.types import UserError

IDENTITY_FILE = "identity_CelebA.txt"
_IMAGE_FOLDER = "img_align_celeba"
_MOST_DIGITS = 18


class CelebASource(StoredSource):
    """CelebA's aligned images (178 x 218) and its identity file. The central 108 x 108 is used, as in the paper.

    Attributes:
        path: the folder with `img_align_celeba/` and `identity_CelebA.txt`, or with both where the download puts them:
            in `Img/` and in `Anno/`.
        part: "private" is the identities with the most images, "public" is images of all others, "all" is everything.
        private_identities: number of private identities. Of those with equally many images, the smaller number comes
            first.
        public_images: number of images in the public part, drawn once with a fixed seed; None for all.
    """

    paper: ClassVar[str] = "Liu et al., ICCV 2015; crop and sizes as in Trap-MID, appendix C.2"
    kind: Literal["celeba"] = "celeba"
    crop: CropSide | None = 108
    part: Literal["all", "private", "public"] = "all"
    private_identities: Count = 1_000
    public_images: Count | None = 30_000

    @property
    def names_identities(self) -> bool:
        """True, because identities have numbers."""
        return True

    def records(self) -> tuple[int, Iterator[Record]]:
        """The images of this part in the order of the identity file.

        Raises:
            UserError: the folder or the identity file is missing or unreadable, or a line of it is not "FILE IDENTITY".
        """
        images = _first_of(self.path / _IMAGE_FOLDER, self.path / "Img" / _IMAGE_FOLDER)
        listed = self._select(_read_identities(_first_of(*identity_files(self.path))))
        return len(listed), (Record(identity, readable(name), images / name) for name, identity in listed)

    def _select(self, listed: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if self.part == "all":
            return listed
        counts = Counter(identity for _, identity in listed)
        by_images = sorted(counts, key=lambda identity: (-counts[identity], int(identity)))
        private = set(by_images[: self.private_identities])
        if self.part == "private":
            return [line for line in listed if line[1] in private]
        public = [line for line in listed if line[1] not in private]
        kept = np.random.default_rng(0).permutation(len(public))[: self.public_images]
        return [public[i] for i in sorted(kept)]


def identity_files(path: Path) -> tuple[Path, ...]:
    """The possible paths of the identity file in a folder of CelebA."""
    return path / IDENTITY_FILE, path / "Anno" / IDENTITY_FILE


def _first_of(*places: Path) -> Path:
    for place in places:
        if place.exists():
            return place
    raise UserError(
        f"{places[0]} does not exist. CelebA as distributed is a folder with {_IMAGE_FOLDER}/ and {IDENTITY_FILE}."
    )


def _read_identities(file: Path) -> list[tuple[str, str]]:
    try:
        check_regular(file)
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except (BrokenImage, OSError) as problem:
        raise UserError(f"{file} cannot be read ({problem}). Expected lines such as '000001.jpg 2880'.") from problem
    listed = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) != 2 or not _is_file_name(fields[0]) or not _is_number(fields[1]):
            raise UserError(
                f"{file}, line {number}: expected FILE IDENTITY such as '000001.jpg 2880', "
                f"found {readable(line)[:80]!r}."
            )
        listed.append((fields[0], fields[1]))
    return listed


def _is_file_name(text: str) -> bool:
    return Path(text).name == text and "\0" not in text


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS
