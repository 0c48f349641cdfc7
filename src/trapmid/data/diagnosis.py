"""The checks of `trapmid doctor`, and the report of its findings."""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from trapmid.config import Config

Severity: TypeAlias = Literal["error", "warning", "note"]
"""error: trainings or attacks refuse the data, or would mislead; warning: numbers suffer; note: good to know."""

Role: TypeAlias = Literal["private", "public", "both"]

EXAMPLES = 5
FEWEST_IMAGES = 3  # one each for train, val and test
FEW_IMAGES = 10


class Rule(NamedTuple):
    """The texts of a check: severity, problem (to be read after a count), and remedy."""

    severity: Severity
    problem: str
    remedy: str


RULES = {
    "unreadable": Rule(
        "error", "images or folders that cannot be read", "Make them readable, fetch them again, or remove them."
    ),
    "nameless": Rule("error", "images without an identity", "Give the identity's name, or remove them."),
    "no-identities": Rule(
        "error",
        "private data set that does not name identities",
        "Sort its images into one folder per identity, IDENTITY/*.jpg. Only public images may be unnamed.",
    ),
    "one-identity": Rule("error", "data set with fewer than two identities", "Add images of other people."),
    "too-few-images": Rule(
        "error",
        f"identities with fewer than {FEWEST_IMAGES} images",
        "Add images or remove these identities: train, val and test need one each.",
    ),
    "identity-in-both": Rule(
        "error",
        "identities in both the private and the public images",
        "Remove them from the public images, or rename those if they are other people.",
    ),
    "image-in-both": Rule(
        "error",
        "images in both the private and the public images (private = public)",
        "Remove these people from the public images.",
    ),
    "few-images": Rule(
        "warning",
        f"identities with fewer than {FEW_IMAGES} images",
        "Add images if you can: a classifier learns little from so few, and one or two test images measure it badly.",
    ),
    "two-names": Rule(
        "warning",
        "images that appear under several names",
        "Keep each image under the right name only: the classifier would learn a contradiction.",
    ),
    "duplicate": Rule(
        "warning",
        "images that appear several times under one name",
        "Keep one of each: copies on both sides of a split make the test accuracy look better than it is.",
    ),
    "small": Rule(
        "warning", "images smaller than the size they are resized to", "Use larger images, or train at a smaller size."
    ),
    "transparent": Rule(
        "warning",
        "images with transparency",
        "Transparency is dropped, so hidden colours show: flatten the images onto a background.",
    ),
    "cmyk": Rule(
        "warning",
        "images in CMYK, the colours of print",
        "They are converted to RGB without a colour profile. Convert them yourself to be sure of their colours.",
    ),
    "grey": Rule(
        "note", "images in grey", "They are loaded as three equal channels, unless you train in grey (channels=1)."
    ),
    "not-square": Rule("note", "images that are not square", "Their central square is used."),
    "mixed-sizes": Rule(
        "note", "different sizes", "All images are resized to one size: make sure that they are cropped alike."
    ),
    "ignored": Rule(
        "note",
        "files that are not read",
        "If they are images, convert them, or move them into the folder of an identity.",
    ),
}
"""Every check, in the order in which findings are listed."""


class Finding(Config):
    """One kind of problem, with all its cases.

    Attributes:
        severity: how severe it is.
        code: a short name for scripts; it does not change between versions.
        role: the data set that has the problem; "both" if it lies between the two.
        count: number of images, identities or files with the problem.
        problem: description of them, to be read after the count, such as "images without an identity".
        examples: the first few of them.
        remedy: what to do about it, as a sentence.
    """

    severity: Severity
    code: str
    role: Role
    count: int
    problem: str
    examples: tuple[str, ...]
    remedy: str


class Facts(Config):
    """Facts about a data set. If it does not name identities, all values that are counted by identity are None.

    Attributes:
        role: private or public.
        path: path of its file or folder.
        kind: kind of the reader.
        images: number of images that can be read.
        broken: number of images that cannot be read.
        identities: number of people with a name.
        fewest: number of images of the identity with the fewest images.
        typical: median of the number of images per identity.
        most: number of images of the identity with the most images.
        sizes: (width, height, images), the most frequent sizes first, at most five.
        modes: images per Pillow mode, e.g. {"RGB": 100}.
    """

    role: Role
    path: Path
    kind: str
    images: int
    broken: int
    identities: int | None
    fewest: int | None
    typical: float | None
    most: int | None
    sizes: tuple[tuple[int, int, int], ...]
    modes: dict[str, int]


class Diagnosis(Config):
    """Everything that was found; `model_dump_json` turns it into a report for machines.

    Attributes:
        facts: one entry for each data set, the private one first.
        findings: errors first, then warnings, then notes.
    """

    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """True if there is no error."""
        return all(finding.severity != "error" for finding in self.findings)
