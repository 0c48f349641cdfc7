"""Lists all problems of a data set in one pass, so that it has to be repaired only once."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeAlias

from PIL import Image

from trapmid.data.contract import ReadProgress
from trapmid.data.decoding import BrokenImage, to_channels
from trapmid.data.diagnosis import EXAMPLES, FEW_IMAGES, FEWEST_IMAGES, RULES, Diagnosis, Facts, Finding, Role
from trapmid.data.records import Record, StoredSource, reported
from trapmid.data.sources import guess_source

_Case: TypeAlias = tuple[str, list[str]]
"""The code of a check and the items that fail it."""


def examine(
    private: str | Path | StoredSource,
    public: str | Path | StoredSource | None = None,
    image_size: int = 64,
    progress: ReadProgress | None = None,
) -> Diagnosis:
    """Decode every image of a data set, or of a private and a public one, and list all problems.

    Args:
        private: the private images, or the only ones.
        public: the attacker's images, which must show other people.
        image_size: the side length in pixels that images will be resized to; smaller images are a finding.
        progress: called with the number of finished images of both data sets.

    Raises:
        UserError: a data set as a whole cannot be read, for example because there is no such path, a column is missing
            or there are no images.
    """
    given = [data for data in (private, public) if data is not None]
    sources = [data if isinstance(data, StoredSource) else guess_source(data) for data in given]
    roles: tuple[Role, ...] = ("private", "public")
    surveys = [_Survey(role, source) for role, source in zip(roles, sources, strict=False)]
    listed = [source.records() for source in sources]
    everything = ((survey, record) for survey, (_, records) in zip(surveys, listed, strict=True) for record in records)
    for survey, record in reported(everything, sum(count for count, _ in listed), progress):
        survey.look(record)
    findings = [_finding(survey.role, case) for survey in surveys for case in survey.cases(image_size)]
    if len(surveys) == 2:
        findings += [_finding("both", case) for case in _overlap(*surveys)]
    order = list(RULES)
    return Diagnosis(
        facts=tuple(survey.facts() for survey in surveys),
        findings=tuple(sorted((f for f in findings if f.count), key=lambda finding: order.index(finding.code))),
    )


class _Seen(NamedTuple):
    """Stored properties of a readable image."""

    identity: str
    origin: str
    size: tuple[int, int]
    mode: str
    transparent: bool
    digest: bytes


class _Survey:
    """A data set while its images are examined one by one."""

    def __init__(self, role: Role, source: StoredSource) -> None:
        self.role: Role = role
        self.source = source
        self.seen: list[_Seen] = []
        self.broken: list[str] = []
        self.nameless: list[str] = []

    def look(self, record: Record) -> None:
        if not record.identity:
            self.nameless.append(record.origin)
        try:
            image = self.source.open(record)
        except BrokenImage as problem:
            self.broken.append(f"{record.origin}: {problem}")
            return
        transparent = image.has_transparency_data
        self.seen.append(_Seen(record.identity, record.origin, image.size, image.mode, transparent, _digest(image)))

    def per_identity(self) -> Counter[str]:
        """Readable images of each named identity."""
        return Counter(seen.identity for seen in self.seen if seen.identity)

    def by_digest(self) -> dict[bytes, list[_Seen]]:
        alike = defaultdict(list)
        for seen in self.seen:
            alike[seen.digest].append(seen)
        return alike

    def facts(self) -> Facts:
        counts = sorted(self.per_identity().values()) or [0]
        named = self.source.names_identities
        sizes = Counter(seen.size for seen in self.seen).most_common(EXAMPLES)
        return Facts(
            role=self.role,
            path=self.source.path,
            kind=self.source.kind,
            images=len(self.seen),
            broken=len(self.broken),
            identities=len(self.per_identity()) if named else None,
            fewest=counts[0] if named else None,
            typical=median(counts) if named else None,
            most=counts[-1] if named else None,
            sizes=tuple((*size, count) for size, count in sizes),
            modes=dict(Counter(seen.mode for seen in self.seen).most_common()),
        )

    def cases(self, image_size: int) -> Iterator[_Case]:
        """Every check of a single data set, whether it passes or not."""
        yield "unreadable", self.broken
        yield "nameless", self.nameless
        counts = self.per_identity()
        yield "one-identity", [f"{self.source.path}: {', '.join(counts) or 'none'}"] if len(counts) < 2 else []
        if self.role == "private" and not self.source.names_identities:
            yield "no-identities", [str(self.source.path)]
        elif self.role == "private":  # the identities of public images are not used, so one image of each is enough
            yield "too-few-images", [f"{name} ({n})" for name, n in sorted(counts.items()) if n < FEWEST_IMAGES]
            few = range(FEWEST_IMAGES, FEW_IMAGES)
            yield "few-images", [f"{name} ({n})" for name, n in sorted(counts.items()) if n in few]
        alike = [group for group in self.by_digest().values() if len(group) > 1]
        mixed = [self.source.names_identities and len({seen.identity for seen in group}) > 1 for group in alike]
        yield "two-names", [_chain(group, names=True) for group, several in zip(alike, mixed, strict=True) if several]
        yield "duplicate", [_chain(group) for group, several in zip(alike, mixed, strict=True) if not several]
        yield "small", [seen.origin for seen in self.seen if min(self.source.crop or math.inf, *seen.size) < image_size]
        yield "transparent", [seen.origin for seen in self.seen if seen.transparent]
        yield "cmyk", [seen.origin for seen in self.seen if seen.mode == "CMYK"]
        yield "grey", [seen.origin for seen in self.seen if seen.mode in ("1", "L", "LA")]
        if self.source.crop is None:
            yield "not-square", [seen.origin for seen in self.seen if seen.size[0] != seen.size[1]]
        sizes = Counter(seen.size for seen in self.seen)
        if len(sizes) > 1:
            yield "mixed-sizes", [f"{width} x {height} ({n})" for (width, height), n in sizes.most_common()]
        yield "ignored", [str(file) for file in self.source.ignored()]


def _overlap(private: _Survey, public: _Survey) -> Iterator[_Case]:
    """Content that the two data sets must not have in common."""
    yield "identity-in-both", sorted(private.per_identity().keys() & public.per_identity().keys())
    known, found = private.by_digest(), public.by_digest()
    twins = [(known[digest][0], found[digest][0]) for digest in known if digest in found]
    yield "image-in-both", [f"{mine.origin} = {theirs.origin}" for mine, theirs in twins]


def _finding(role: Role, case: _Case) -> Finding:
    code, found = case
    return Finding(code=code, role=role, count=len(found), examples=tuple(found[:EXAMPLES]), **RULES[code]._asdict())


def _chain(group: list[_Seen], names: bool = False) -> str:
    return " = ".join(f"{seen.origin} as {seen.identity}" if names else seen.origin for seen in group)


def _digest(image: Image.Image) -> bytes:
    content = blake2b(repr(image.size).encode(), digest_size=16)
    content.update(to_channels(image, 3).tobytes())
    return content.digest()
