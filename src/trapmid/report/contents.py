"""What a report is made of: plain values, no files, no tensors, no models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8

from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.recognition import AA1
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, Score

Picture: TypeAlias = UInt8[np.ndarray, "h w c"]
"""One image, 0 to 255, channels last; one channel (grey) or three (RGB)."""

Access: TypeAlias = Literal["label", "score", "white-box"]

UNPROTECTED = "none"
"""The name of the defense that defends nothing: every other row is compared with its row."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images of the audit.

    Attributes:
        private: name of the private source, e.g. "celeba-private.parquet".
        public: name of the attacker's source.
        identities: private identities, i.e. classes of the model.
        train_images: private images the model learned from.
        val_images: private images that chose the epoch.
        test_images: private images looked at once.
        public_identities: None where the source has no identities.
        public_images: how many the attacker had.
        image_size: side in pixels.
        channels: 1 or 3.
        subject: what one image shows, singular: "face", "digit".
        public_description: what the attacker's images show, in words that fit "holds the model and ...".
    """

    private: str
    public: str
    identities: int
    train_images: int
    val_images: int
    test_images: int
    public_identities: int | None
    public_images: int
    image_size: int
    channels: int = 3
    subject: str = "face"
    public_description: str = "public photographs of other people"


@dataclass(frozen=True, kw_only=True)
class Defense:
    """A defense that was tried; `name` is the one in the scores, `title` the one people read."""

    name: str
    title: str
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack that was run.

    Attributes:
        name: as in the scores.
        title: as people read it.
        access: what the attacker needs of the model.
        adaptive: it was told which defense it faces and works around it.
        attempts: reconstructions per identity; with one, an attack accuracy is a share of identities.
        paper: where it comes from.
    """

    name: str
    title: str
    access: Access = "white-box"
    adaptive: bool = False
    attempts: int = 1
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who decides whether a reconstruction is recognised; `note` says what it was trained on."""

    name: str
    title: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One picture of the gallery and what the first judge said: None where it was not asked."""

    picture: Picture
    recognised: bool | None = None


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One identity: its private images (None: left out) and, per column title, what was reconstructed."""

    identity: str
    private: Sequence[Picture] | None
    columns: Mapping[str, Sequence[Reconstruction]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The log of one cell, e.g. the training of one model or of one generator.

    Attributes:
        cell: its title.
        rows: one mapping per log line. The key `x` is the horizontal axis; keys that hold "loss" are drawn as losses,
            keys that hold "accuracy" or "success" as shares from 0 to 1, all others are left out. Rows may lack keys.
        x: "epoch", "step", ...
    """

    cell: str
    rows: Sequence[Mapping[str, int | float]]
    x: str = "epoch"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What one trapdoored model's detector made of every set of images it was shown.

    Attributes:
        defense: name of the defense.
        cell: title of the model.
        scores: of each image, by the name of its set in the scores; clean and public ones first.
        titles: of the sets, as people read them.
        threshold: above it an image is flagged; None where none was calibrated.
    """

    defense: str
    cell: str
    scores: Mapping[str, Sequence[float]]
    titles: Mapping[str, str]
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Defenses that differ in one number and in nothing else.

    Attributes:
        kind: theirs, as people read it.
        setting: the number, as a dotted path of the config.
        defenses: the name of the defense by the value it has, ascending.
    """

    kind: str
    setting: str
    defenses: Mapping[float, str]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one cell took.

    Attributes:
        cell: its title.
        work: "train", "attack" or "measure".
        defense: the name of the defense of the cell's model; None where it concerns none.
        seconds: wall-clock time.
        peak_mib: peak memory, None where it was not measured.
        relative: seconds as a multiple of the same work without defense, None for that one itself or where unknown.
        identities: how many an attack was after; None for other work.
        queries: images it showed to the model.
        confidence: how sure the model was, on average, that a picture shows whom the attack was after.
    """

    cell: str
    work: Literal["train", "attack", "measure"]
    defense: str | None
    seconds: int | float
    peak_mib: int | float | None = None
    relative: int | float | None = None
    identities: int | None = None
    queries: int | None = None
    confidence: int | float | None = None


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything a report says that was measured or chosen; the wording is the page's.

    Attributes:
        title: of the page.
        data: the images.
        architecture: of the attacked model, in words.
        defenses: in the order of the tables; the unprotected one has name "none".
        attacks: those that were run.
        judges: the first is the one the verdict and the main table go by.
        seeds: of training and attack.
        scores: the tidy table. A group with several seeds must also hold its mean (seed None).
        gallery: identities to show.
        curves: logs to draw.
        ablations: settings of which several values were tried.
        detections: what detectors made of clean, recovered and adversarial images.
        costs: time and memory.
        warnings: plain sentences from the sanity checks.
        not_tried: attacks that exist here and were not run, by title.
        config: of the whole audit.
        versions: of the code and what it stands on.
        made: when, as text; empty leaves it out, so that equal contents give equal pages.
        trapdoor_took: the trapdoor success from which a trapdoor counts as installed.
        tolerated_loss: the loss of clean accuracy from which the model may simply have learned less.
    """

    title: str
    data: Data
    architecture: str
    defenses: Sequence[Defense]
    attacks: Sequence[Attack]
    judges: Sequence[Judge]
    seeds: Sequence[int]
    scores: Sequence[Score]
    gallery: Sequence[GalleryRow] = ()
    curves: Sequence[Curves] = ()
    ablations: Sequence[Ablation] = ()
    detections: Sequence[Detection] = ()
    costs: Sequence[Cost] = ()
    warnings: Sequence[str] = ()
    not_tried: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    made: str = ""
    trapdoor_took: float = 0.95
    tolerated_loss: float = 0.05

    def __post_init__(self) -> None:
        """Refuse contents a page could only show wrongly."""
        if not (self.defenses and self.judges):
            raise ValueError("a report needs at least one defense and one judge")
        groups: dict[tuple[str, str, str, str], list[int | None]] = {}
        for score in self.scores:
            groups.setdefault((score.defense, score.attack, score.judge, score.metric), []).append(score.seed)
        for group, seeds in groups.items():
            if len(seeds) > 1 and None not in seeds:
                raise ValueError(f"{group} has seeds {seeds} but no mean over seeds (seed None)")
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{group} holds a seed twice: {seeds}")

    def score(self, defense: str, attack: str, metric: AnyMetric | str, judge: str | None = None) -> Score | None:
        """The mean over seeds, or the only seed; None where it was not measured.

        Args:
            defense: its name.
            attack: its name.
            metric: a metric, or the name of a score for a metric that has variants.
            judge: whose value; by default the first judge's or, where that judge has none, that of any other judge or network.
        """
        name = metric if isinstance(metric, str) else metric.name
        rows = [
            row
            for row in self.scores
            if (row.defense, row.attack, row.metric) == (defense, attack, name) and not math.isnan(row.value)
        ]
        if judge is None and rows:
            named = [row for row in rows if row.judge == self.judges[0].name]
            rows = named or [row for row in rows if row.judge == rows[0].judge]
        elif judge is not None:
            rows = [row for row in rows if row.judge == judge]
        means = [row for row in rows if row.seed is None]
        return next(iter(means or rows), None)

    def by_seed(self, defense: str, attack: str, metric: AnyMetric, judge: str) -> dict[int, Score]:
        """The rows of single seeds; empty where there is one seed only."""
        rows = {
            row.seed: row
            for row in self.scores
            if (row.defense, row.attack, row.metric, row.judge) == (defense, attack, metric.name, judge)
            and row.seed is not None
        }
        return rows if len(rows) > 1 else {}

    def floors(self) -> list[str]:
        """The attack names of random samples of the attackers' generators: what guessing alone achieves."""
        return list(dict.fromkeys(row.attack for row in self.scores if row.attack.startswith(PRIOR_FLOOR)))

    def floor(self, metric: AnyMetric | str, judge: str | None = None) -> Score | None:
        """The highest of the floors."""
        rows = [row for name in self.floors() if (row := self.score(NOT_APPLICABLE, name, metric, judge)) is not None]
        return max(rows, key=lambda row: row.value, default=None)

    def ceiling(self, metric: AnyMetric, judge: str | None = None) -> Score | None:
        """The same measure on held-out private images."""
        return self.score(NOT_APPLICABLE, HELD_OUT, metric, judge)

    def strongest(self, defense: str, metric: AnyMetric = AA1) -> tuple[Attack, Score] | None:
        """The attack that got most out of this defense's model: a defense is as good as its worst case."""
        found = [
            (attack, score)
            for attack in self.attacks
            if (score := self.score(defense, attack.name, metric)) is not None
        ]
        return max(found, key=lambda pair: pair[1].value, default=None)
