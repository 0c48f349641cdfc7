"""One side of a comparison: the measured models of a run folder, or one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import pyarrow.parquet as pq
import torch

from trapmid.audit import Recipe
from trapmid.audit.loading import SPLITS
from trapmid.audit.measuring import METRICS, SAMPLES
from trapmid.audit.plan import Folders
from trapmid.audit.run import settle
from trapmid.errors import did_you_mean
from trapmid.manifests import RECIPE, Manifest, open_artifact
from trapmid.metrics.metric import AnyMetric
from trapmid.metrics.recognition import StoredJudgement
from trapmid.metrics.scores import Score, read_scores
from trapmid.types import UserError


@final
@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison.

    Attributes:
        place: the folder that was named.
        recipe: the recipe of the run.
        folders: the folders of the run.
        models: names of the models that it stands for, in the order of the recipe.
        seeds: those that it stands for, in the order of the recipe.
        data: the manifest of the images.
        measured: the manifest of the measurement.
    """

    place: Path
    recipe: Recipe
    folders: Folders
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    data: Manifest
    measured: Manifest

    @cached_property
    def scores(self) -> Sequence[Score]:
        """Every score of the run."""
        return read_scores(self.folders.measurement)

    @cached_property
    def identities(self) -> tuple[str, ...]:
        """The names of the private identities, sorted."""
        names = pq.read_table(self.folders.data / SPLITS, columns=["identity"])["identity"].unique().to_pylist()
        return tuple(sorted(names))

    def version(self, metric: AnyMetric) -> int:
        """The version of a metric that was measured; 1 in folders of before versions were stored."""
        return self.measured.recipe.get(METRICS, {}).get(metric.name, 1)

    def judgement(self, model: str, attack: str, seed: int, judge: str) -> StoredJudgement | None:
        """What a judge said about the reconstructions of an attack; None if the run folder does not have it."""
        found = self._samples.get((model, attack, seed, judge))
        if found is None:
            return None
        number = {name: place for place, name in enumerate(self.identities)}
        return StoredJudgement(
            torch.tensor([number[row["identity"]] for row in found]),
            torch.tensor([row["rank"] for row in found]),
            torch.tensor([row["distance"] for row in found]),
            torch.tensor([row["accepted"] for row in found]),
        )

    @cached_property
    def _samples(self) -> dict[tuple[str, str, int, str], list[dict[str, Any]]]:
        groups: dict[tuple[str, str, int, str], list[dict[str, Any]]] = {}
        for row in pq.read_table(self.folders.measurement / SAMPLES).to_pylist():
            groups.setdefault((row["defense"], row["attack"], row["seed"], row["judge"]), []).append(row)
        return groups


def open_side(place: Path) -> Side:
    """Open a run folder, or one model of it.

    Args:
        place: the run folder; RUN/models/NAME for one model with all seeds; or RUN/models/NAME-sSEED, the folder of one
            model.

    Raises:
        UserError: it is none of these, or nothing was measured there.
    """
    root = place
    if not (root / RECIPE).exists() and place.parent.name == "models":
        root = place.parent.parent
    if not (root / RECIPE).exists():
        raise UserError(
            f"{place} is neither a run folder nor a model of one. Expected the --out of an audit, RUN/models/NAME for "
            "a model with all its seeds, or RUN/models/NAME-sSEED."
        )
    recipe, folders = settle(None, root), Folders(root)
    if not folders.measurement.exists():
        raise UserError(f"Nothing was measured in {root} yet. Run `trapmid measure {root}` first.")
    models, seeds = tuple(cell.name for cell in recipe.cells), recipe.seeds
    if root != place:
        models, seeds = _one(place, recipe, folders)
    side = Side(
        place,
        recipe,
        folders,
        models,
        seeds,
        open_artifact(folders.data, "data"),
        open_artifact(folders.measurement, "measurement"),
    )
    if not any(row.defense in models and row.seed in seeds for row in side.scores):
        raise UserError(f"{place} has no scores yet. Run `trapmid measure {root}` first.")
    return side


def _one(place: Path, recipe: Recipe, folders: Folders) -> tuple[tuple[str], tuple[int, ...]]:
    models = folders.finished(recipe, "train", "examine")
    for task in models:
        if folders.of(task).name == place.name:
            return (task.defense,), (task.seed,)
    names = list(dict.fromkeys(task.defense for task in models))
    if place.name in names:
        return (place.name,), tuple(task.seed for task in models if task.defense == place.name)
    raise UserError(
        f"{folders.root} has no model {place.name!r}.{did_you_mean(place.name, names)} It has {', '.join(names)}."
    )
