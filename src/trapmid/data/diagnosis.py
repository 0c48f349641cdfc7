"""What the doctor can find in a data set, and the form in which it says so."""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from trapmid.config import Config

Severity: TypeAlias = Literal["error", "warning", "note"]
"""Training or attacking refuses, or would mislead; numbers suffer; good to know."""

Role: TypeAlias = Literal["private", "public", "both"]

EXAMPLES = 5
FEWEST_IMAGES = 3  # one each for train, val and test
FEW_IMAGES = 10


class Rule(NamedTuple):
    """The words that go with a check: how bad it is, what was found (to be read after a count), what to do about it."""

    severity: Severity
    problem: str
    remedy: str


RULES = {
    "unreadable": Rule("error", "images that cannot be read", "Delete them or fetch them again."),
    "nameless": Rule("error", "images without an identity", "Name their identity or remove them."),
    "no-identities": Rule(
        "error",
        "private data set that does not say who is who",
        "Sort its images into one folder per identity, IDENTITY/*.jpg; only public images do without.",
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
        "Add images if you can: so few teach a classifier little, and one or two test images measure it badly.",
    ),
    "two-names": Rule(
        "warning",
        "images that stand under several names",
        "Keep each under the right name only: as they are they teach a contradiction.",
    ),
    "duplicate": Rule(
        "warning",
        "images that one identity has several times",
        "Keep one of each: copies on both sides of a split make test accuracy look better than it is.",
    ),
    "small": Rule("warning", "images smaller than they will be used", "Use larger ones, or train at a smaller size."),
    "transparent": Rule(
        "warning",
        "images with transparency",
        "It is dropped, and what was hidden shows: flatten them onto a background.",
    ),
    "cmyk": Rule(
        "warning",
        "images in CMYK, the colours of print",
        "They are turned into RGB without a colour profile: convert them yourself to be sure.",
    ),
    "grey": Rule("note", "images in grey", "They are loaded as three equal channels unless you train in grey."),
    "not-square": Rule("note", "images that are not square", "Their central square is used."),
    "mixed-sizes": Rule("note", "different sizes", "All are resized to one: make sure that they are cropped alike."),
    "ignored": Rule(
        "note",
        "files that are not read",
        "If they are images, convert them or move them into the folder of an identity.",
    ),
}
"""Every check, in the order in which findings are listed."""


class Finding(Config):
    """One kind of problem, with all its cases.

    Attributes:
        severity: how bad.
        code: a short name for scripts, the same in every version.
        role: the data set that has it, "both" if it is between them.
        count: how many images, identities or files.
        problem: what they are, to be read after the count: "images that cannot be read".
        examples: the first few.
        remedy: what to do about it, a sentence.
    """

    severity: Severity
    code: str
    role: Role
    count: int
    problem: str
    examples: tuple[str, ...]
    remedy: str


class Facts(Config):
    """What a data set is.

    Attributes:
        role: private or public.
        path: where it lies.
        kind: the reader that reads it.
        images: those that can be read.
        broken: those that cannot.
        identities: how many people.
        fewest: images of the identity with the fewest.
        typical: the median over identities.
        most: images of the identity with the most.
        sizes: (width, height, images), the most frequent sizes first, at most five.
        modes: images per Pillow mode, e.g. {"RGB": 100}.
    """

    role: Role
    path: Path
    kind: str
    images: int
    broken: int
    identities: int
    fewest: int
    typical: float
    most: int
    sizes: tuple[tuple[int, int, int], ...]
    modes: dict[str, int]


class Diagnosis(Config):
    """All that was found; `model_dump_json` makes it a report for machines.

    Attributes:
        facts: one for each data set, the private one first.
        findings: errors first, then warnings, then notes.
    """

    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)
