"""The contents of a report as plain values, without files, tensors or models."""

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
"""The name of the unprotected model in the scores. The verdict compares every defense with it."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images of the audit.

    Attributes:
        private: name of the private source, e.g. "celeba-private.parquet".
        public: name of the attacker's source.
        identities: number of private identities, i.e. classes of the model.
        train_images: number of private images that the model was trained on.
        val_images: number of private images that selected the epoch.
        test_images: number of private images kept for the final measurement.
        public_identities: number of public identities; None if the source does not name identities.
        public_images: number of images that the attacker had.
        image_size: side in pixels.
        channels: 1 or 3.
        subject: what one image shows, singular: "face", "digit".
        public_description: what the attacker's images show, as it completes "an attacker who has ...".
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
    """A defense of the audit. `name` is its name in the scores, `title` its name in the text, `paper` its source."""

    name: str
    title: str
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model that was not trained in the audit.

    Attributes:
        name: its name in the scores.
        where: the file, folder, address or name by which it was given.
        kind: what that is, in words.
        accuracy: share of a sample of private images that it classifies correctly; it may have learned them.
        notes: what else its examination told.
    """

    name: str
    where: str
    kind: str
    accuracy: float
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack that was run.

    Attributes:
        name: its name in the scores.
        title: its name in the text.
        access: what the attacker needs of the model.
        adaptive: whether it knows the defense and works around it.
        searches: whether it searches for images, or picks some of the attacker's own.
        attempts: reconstructions per identity. With one, an attack accuracy is a share of identities.
        paper: its source.
        needs_trapdoor: whether it runs on models with a trapdoor only, because it uses what it knows about it.
    """

    name: str
    title: str
    access: Access = "white-box"
    adaptive: bool = False
    searches: bool = True
    attempts: int = 1
    paper: str = ""
    needs_trapdoor: bool = False


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that decides whether a reconstruction is recognised. `note` says what it was trained on."""

    name: str
    title: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """One picture of the gallery, and whether the first judge recognised it; None if it was not judged."""

    picture: Picture
    recognised: bool | None = None


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One identity: its private images (None if left out) and its reconstructions by column title."""

    identity: str
    private: Sequence[Picture] | None
    columns: Mapping[str, Sequence[Reconstruction]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The log of one run, for example the training of a model or of a generator.

    Attributes:
        cell: the title of the run.
        rows: one mapping per log line. Keys that contain "loss" are drawn as losses, keys that contain "accuracy" or
            "success" as shares from 0 to 1. Other keys are ignored. A row may lack keys.
        x: the key of the horizontal axis, for example "epoch" or "step".
    """

    cell: str
    rows: Sequence[Mapping[str, int | float]]
    x: str = "epoch"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The scores that the detector of one trapdoored model gave to each set of images.

    Attributes:
        defense: name of the defense.
        cell: title of the model.
        scores: the score of each image, a cosine from -1 to 1, by the name of its set; clean and public sets first.
        titles: the titles of the sets by name.
        threshold: an image with a higher score is flagged; None if no threshold was calibrated.
    """

    defense: str
    cell: str
    scores: Mapping[str, Sequence[float]]
    titles: Mapping[str, str]
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Defenses that differ in one number only.

    Attributes:
        kind: the title of the kind of defense.
        setting: the dotted path of the number in the config.
        defenses: the name of each defense by its value of the setting, ascending.
    """

    kind: str
    setting: str
    defenses: Mapping[float, str]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one training, attack or measurement.

    Attributes:
        cell: its title.
        work: "train", "attack" or "measure".
        defense: the name of the defense of its model; None if it has no model.
        seconds: wall-clock time.
        peak_mib: peak memory in MiB; None if it was not measured.
        relative: seconds, divided by those of the same work without a defense; None if unknown or without a defense.
        identities: number of identities attacked; None for other work.
        queries: number of images that the attack showed to the model.
        confidence: mean confidence of the model in the attacked identity on the reconstructions, 0 to 1.
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
    """Everything that a report shows: what was measured, and what was chosen. The templates hold the wording.

    Attributes:
        title: the title of the page.
        data: the images.
        architecture: the attacked model, in words.
        defenses: in the order of the tables. The unprotected model has the name "none".
        attacks: the attacks that were run.
        judges: the judges. The first one decides the verdict and the main table.
        seeds: the seeds of trainings and attacks.
        scores: all scores. A group with several seeds must also contain its mean (seed None).
        given: the models that were not trained in the audit.
        gallery: the identities to show.
        curves: the logs to draw.
        ablations: settings that were tried with several values.
        detections: the scores of detectors on clean, recovered and adversarial images.
        costs: time and memory.
        warnings: sentences about trainings and attacks that went wrong; the page adds those of its own checks.
        not_tried: titles of the attacks that trapmid offers and that were not run.
        config: the configuration of the whole audit.
        versions: the versions of trapmid and its main dependencies.
        made: date and time as text; if empty it is left out, so that equal contents give equal pages.
        trapdoor_took: the trapdoor success, 0 to 1, from which a trapdoor counts as installed.
        tolerated_loss: the largest loss of clean accuracy, 0 to 1, that is not held against a defense.

    Raises:
        ValueError: defenses or judges are missing, or the scores of a group lack their mean or repeat a seed.
    """

    title: str
    data: Data
    architecture: str
    defenses: Sequence[Defense]
    attacks: Sequence[Attack]
    judges: Sequence[Judge]
    seeds: Sequence[int]
    scores: Sequence[Score]
    given: Sequence[GivenModel] = ()
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
        """Check that the page can show these contents correctly."""
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
        """The mean over seeds, or the score of the only seed; None if it was not measured.

        Args:
            defense: the name of the defense.
            attack: the name of the attack.
            metric: the metric, or the name of the score if the metric has variants.
            judge: the judge or feature network; by default the first judge or, if that has no score, another.
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
        """The scores of single seeds by seed; empty if there is one seed only."""
        rows = {
            row.seed: row
            for row in self.scores
            if (row.defense, row.attack, row.metric, row.judge) == (defense, attack, metric.name, judge)
            and row.seed is not None
        }
        return rows if len(rows) > 1 else {}

    def floors(self) -> list[str]:
        """The names, in the column `attack` of the scores, of random samples of the attackers' generators."""
        return list(dict.fromkeys(row.attack for row in self.scores if row.attack.startswith(PRIOR_FLOOR)))

    def floor(self, metric: AnyMetric | str, judge: str | None = None) -> Score | None:
        """The highest score of random samples of a generator; None if it was not measured."""
        rows = [row for name in self.floors() if (row := self.score(NOT_APPLICABLE, name, metric, judge)) is not None]
        return max(rows, key=lambda row: row.value, default=None)

    def ceiling(self, metric: AnyMetric, judge: str | None = None) -> Score | None:
        """The score of held-out private images; None if it was not measured."""
        return self.score(NOT_APPLICABLE, HELD_OUT, metric, judge)

    def strongest(self, defense: str, metric: AnyMetric = AA1) -> tuple[Attack, Score] | None:
        """The attack with the highest score on this defense, and that score: a defense is as good as its worst case."""
        found = [
            (attack, score)
            for attack in self.attacks
            if (score := self.score(defense, attack.name, metric)) is not None
        ]
        return max(found, key=lambda pair: pair[1].value, default=None)
