"""Turns finished audits into a table: the scores and costs of every cell beside the paper's numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from trapmid.audit import Folders, Recipe
from trapmid.audit.run import settle
from trapmid.config import Config
from trapmid.manifests import MANIFEST, Manifest, open_artifact
from trapmid.metrics.evidence import AttackCost, TrainingCost
from trapmid.metrics.intervals import over_seeds
from trapmid.metrics.recognition import AA1, GENERATOR_PRIVATE_NEAREST, PRIVATE_NEAREST
from trapmid.metrics.scores import NOT_APPLICABLE, PRIOR_FLOOR, Number, Score, ScoreKey, find, read_scores
from trapmid.metrics.table import measure
from trapmid.priors.gan import GENERATOR
from trapmid.reproduction.experiment import Experiment, ExperimentRow, column
from trapmid.reproduction.published import Published, look_up
from trapmid.reproduction.studies import Layout, RowSource

RANKED_BY = AA1.name


class Entry(Config):
    """One number of a table.

    Attributes:
        row: key of the row.
        title: title of the row.
        attack: key of the attack.
        metric: key of the column, see `experiment.column`.
        judge: the judge; "-" if the metric needs none, empty if nothing was measured.
        seeds: seeds of the runs.
        value: the value in the unit of scores.json; null if nothing was measured.
        low: lower end of the 95 % interval, over seeds if there are several, otherwise over identities.
        high: upper end of the interval.
        published: the paper's number with its provenance; null if it is unknown.
        difference: measured minus published, in the paper's unit; null if either is missing or the paper gives a bound.
    """

    row: str
    title: str
    attack: str
    metric: str
    judge: str
    seeds: tuple[int, ...]
    value: Number
    low: Number
    high: Number
    published: Published | None
    difference: Number


class Reproduction(Config):
    """The reproduction of one table or figure of the paper.

    Attributes:
        experiment: its name.
        scale: the name of the scale.
        title: its title in the paper.
        shows: what it shows.
        columns: keys of the columns, in order.
        entries: every cell of the table.
        seconds: total time of its trainings and attacks.
        peak_memory_mib: the highest memory in MiB of one training or attack.
        differs: differences from the paper, one line each.
        folders: folders of the audits, relative to the output folder.
    """

    experiment: str
    scale: str
    title: str
    shows: str
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    seconds: float
    peak_memory_mib: float
    differs: tuple[str, ...]
    folders: tuple[str, ...]


def collect(experiment: Experiment, layout: Layout, out: Path, scale: str, differs: tuple[str, ...]) -> Reproduction:
    """All numbers of an experiment from the folders below `out`. What was not measured stays blank."""
    cells = {row: layout.sources[experiment.name, row] for row in experiment.rows}
    folders = tuple(dict.fromkeys(cell.folder for cell in cells.values()))
    audits = {folder: _Audit(folder) for folder in folders}
    made = {
        (folder, key): manifest
        for folder, audit in audits.items()
        for key, manifest in audit.manifests.items()
        if any(cell.folder == folder and _of(cell, key) for cell in cells.values())
    }
    return Reproduction(
        experiment=experiment.name,
        scale=scale,
        title=experiment.title,
        shows=experiment.shows,
        columns=experiment.all_columns,
        entries=tuple(
            entry for row, cell in cells.items() for entry in _entries(experiment, row, cell, audits[cell.folder])
        ),
        seconds=sum(manifest.seconds for manifest in made.values()),
        peak_memory_mib=max((manifest.peak_memory_mib for manifest in made.values()), default=0.0),
        differs=(*differs, *_blank_generators(experiment, made, out)),
        folders=tuple(folder.relative_to(out).as_posix() for folder in folders),
    )


class _Audit:
    """The scores of one run folder, with the costs from its manifests in the same form."""

    def __init__(self, folder: Path) -> None:
        self.manifests: dict[tuple[str, str, int], Manifest] = {}
        self.scores: list[Score] = []
        self.judges: tuple[str, ...] = ()
        self.fidelity: tuple[str, ...] = ()
        if not (folder / "measurement").exists():
            return
        recipe, folders = settle(None, folder), Folders(folder)
        self.judges = tuple(judge.name for judge in recipe.judges)
        self.fidelity = () if recipe.fidelity is None else (recipe.fidelity.kind,)
        for kind, artifact in (("train", "model"), ("attack", "attack")):
            for task in folders.finished(recipe, kind):  # type: ignore[arg-type]
                if (folders.of(task) / MANIFEST).exists():
                    manifest = open_artifact(folders.of(task), artifact)
                    self.manifests[task.defense, task.member or NOT_APPLICABLE, task.seed] = manifest
        self.scores = read_scores(folder / "measurement")
        self.scores += [score for key, manifest in self.manifests.items() for score in _costs(ScoreKey(*key), manifest)]
        self.scores += list(_of_priors(recipe, self.scores))

    def find(
        self, cell: RowSource, attack: str, metric: str, judge: str | None = None, *, sets_first: bool = False
    ) -> dict[int, Score]:
        """The scores of a cell by seed, from `judge` or, by default, from the first judge that has some.

        With `sets_first`, a feature network is preferred to the judges.
        """
        order = [*self.fidelity, *self.judges] if sets_first else [*self.judges, *self.fidelity]
        rows = [
            score
            for score in self.scores
            if (score.defense, score.attack, score.metric) == (cell.defense, attack, metric)
            and score.seed in cell.seeds
            and judge in (None, score.judge)
        ]
        ranked = sorted(rows, key=lambda score: order.index(score.judge) if score.judge in order else len(order))
        first = ranked[0].judge if ranked else ""
        return {score.seed: score for score in ranked if score.judge == first and score.seed is not None}


def _costs(key: ScoreKey, manifest: Manifest) -> Iterator[Score]:
    """The cost of a training or an attack, from its manifest."""
    yield from measure(AttackCost(key, manifest) if key.attack != NOT_APPLICABLE else TrainingCost(key, manifest))


def _of_priors(recipe: Recipe, scores: Sequence[Score]) -> Iterator[Score]:
    """Scores of the generators of attacks that train none.

    Such attacks search the prior, so the score is that of the floor.
    """
    for attack in recipe.attacks:
        prior = attack.public_prior()
        if attack.own_prior() is None and prior is not None:
            for floor in find(scores, attack=f"{PRIOR_FLOOR}{prior.name}", metric=PRIVATE_NEAREST.name):
                for defense, seed in product(recipe.defenses, recipe.seeds):
                    cell = {"defense": defense.name, "attack": attack.name, "seed": seed}
                    yield floor.model_copy(update={**cell, "metric": GENERATOR_PRIVATE_NEAREST.name})


def _blank_generators(
    experiment: Experiment, made: Mapping[tuple[Path, tuple[str, str, int]], Manifest], out: Path
) -> Iterator[str]:
    """A note on attacks whose missing generator leaves a column blank, and how to fill it."""
    if GENERATOR_PRIVATE_NEAREST.name not in experiment.columns:
        return
    without = [
        Folders(folder).attack(attack, defense, seed).relative_to(out).as_posix()
        for (folder, (defense, attack, seed)), manifest in made.items()
        if attack != NOT_APPLICABLE
        and settle(None, folder).attack(attack).own_prior() is not None
        and GENERATOR not in manifest.files
    ]
    if without:
        yield (
            f"{column(GENERATOR_PRIVATE_NEAREST.name).title}: blank for attacks that were run by a version that did "
            "not keep "
            f"generators. To fill it, remove {', '.join(without)} and run the same command again"
        )


def _of(cell: RowSource, key: tuple[str, str, int]) -> bool:
    defense, attack, seed = key
    return defense == cell.defense and attack in (NOT_APPLICABLE, cell.attack) and seed in cell.seeds


def _entries(experiment: Experiment, row: ExperimentRow, cell: RowSource, audit: _Audit) -> Iterator[Entry]:
    seeds = _runs(row, cell, audit)
    for metric in experiment.all_columns:
        shown = column(metric)
        attack = NOT_APPLICABLE if shown.of_model else cell.attack
        found = {
            seed: score
            for seed, score in audit.find(
                cell, attack, shown.metric.name, shown.judge, sets_first=shown.of_sets
            ).items()
            if seed in seeds
        }
        value, low, high = _summary(list(found.values()))
        known = look_up((experiment.name, *experiment.also), row.key, row.attack, metric)
        compared = known is not None and known.is_a_number and not math.isnan(value)
        yield Entry(
            row=row.key,
            title=row.title,
            attack=row.attack,
            metric=metric,
            judge=next((score.judge for score in found.values()), ""),
            seeds=tuple(found),
            value=value,
            low=low,
            high=high,
            published=known,
            difference=value * shown.metric.unit.factor - known.value if compared and known is not None else math.nan,
        )


def _runs(row: ExperimentRow, cell: RowSource, audit: _Audit) -> Sequence[int]:
    """The seeds of a row: all seeds, or only the one with the highest (worst) or lowest (best) AA-1."""
    if row.runs == "mean":
        return cell.seeds
    ranked = audit.find(cell, cell.attack, RANKED_BY)
    if not ranked:
        return ()
    pick = max if row.runs == "worst" else min
    return (pick(ranked, key=lambda seed: ranked[seed].value),)


def _summary(scores: list[Score]) -> tuple[float, float, float]:
    """Mean, low and high over runs. A single run has its own interval, over identities."""
    if not scores:
        return math.nan, math.nan, math.nan
    if len(scores) == 1:
        return scores[0].value, scores[0].low, scores[0].high
    return over_seeds([score.value for score in scores])
