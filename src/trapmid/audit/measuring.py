"""Measuring an audit: every model, attack and trapdoor by itself and once; the measurement is what these parts say together.

A part stays until what it follows from has changed: one attack more costs its own part, and what was interrupted goes on where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, final

import pyarrow.parquet as pq

from trapmid.artifacts import RECIPE, Draft, Manifest, open_artifact, remake, sha256, versions
from trapmid.attacks import Attack, open_found, open_generator
from trapmid.audit.joining import settle
from trapmid.audit.loading import AuditData
from trapmid.audit.plan import DETECTION, FLOORS, Folders, Task
from trapmid.audit.recipe import Recipe
from trapmid.defenses import open_model
from trapmid.detection.evaluation import BALLS, evaluate
from trapmid.detection.evaluation import DETECTION as SEEN
from trapmid.engine import Compute, Progress, no_progress, peak_memory_mib
from trapmid.metrics.measure import (
    draw_public,
    effort,
    measure_found,
    measure_generator,
    measure_model,
    measure_prior,
    over_all_seeds,
    write_samples,
)
from trapmid.metrics.panel import Panel
from trapmid.metrics.scores import Cell, Score, read_scores, write_scores
from trapmid.priors import open_prior
from trapmid.priors.gan import GENERATOR
from trapmid.trapdoor import SECRETS, Secrets

SAMPLES, ROWS, SCORES = "samples.parquet", "rows.parquet", ("scores.json", "scores.parquet")


@dataclass(frozen=True, eq=False)
class Part:
    """What was measured of one thing.

    Attributes:
        scores: rows of the tidy table.
        rows: verdicts image by image, or a detector's scores.
    """

    scores: list[Score]
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Measuring:
    """Where the parts of an audit are measured."""

    recipe: Recipe
    data: AuditData
    folders: Folders
    compute: Compute
    progress: Progress
    panels: "Panels"

    def settings(self) -> dict[str, Any]:
        """What decides all numbers, beside what is measured."""
        recipe = self.recipe
        optional = {"fidelity": recipe.fidelity, "robustness": recipe.robustness}
        return {
            "judges": [judge.model_dump(mode="json") for judge in recipe.judges],
            **{name: [one.model_dump(mode="json")] for name, one in optional.items() if one is not None},
            "balls": [ball._asdict() for ball in BALLS],
            "trapmid": versions()["trapmid"],
        }

    def parents(self, task: Task) -> dict[str, str]:
        """Digests of what a part follows from."""
        folders, digests = self.folders, dict(self.data.digests)
        if task.member == FLOORS:
            priors = [name for name in self.recipe.priors() if folders.prior(name).exists()]
            return digests | {name: open_artifact(folders.prior(name), "prior").digest() for name in priors}
        if task.member in ("", DETECTION):
            digests["model"] = open_artifact(folders.model(task.defense, task.seed), "model").digest()
            secrets = folders.secrets(task.defense, task.seed) / SECRETS
            digests |= {"secrets": sha256(secrets)} if secrets.exists() else {}
        attacks = self.attacks(task) if task.member == DETECTION else [task.member] if task.member else []
        return digests | {
            name: open_artifact(folders.attack(name, task.defense, task.seed), "attack").digest() for name in attacks
        }

    def attacks(self, task: Task) -> list[str]:
        """Those on the model of a task that are finished."""
        finished = self.folders.finished(self.recipe, "attack")
        return [t.member for t in finished if (t.defense, t.seed) == (task.defense, task.seed)]

    def panel(self) -> Panel:
        """The judges, calibrated on the private images."""
        return self.panels.of(self)

    def secrets(self, task: Task) -> Secrets | None:
        """The triggers of a model; None if it has none, or if they are kept elsewhere."""
        folder = self.folders.secrets(task.defense, task.seed)
        return Secrets.load(folder) if (folder / SECRETS).exists() else None

    def part(self, task: Task) -> Part:
        """Measure it."""
        if task.member == FLOORS:
            return self.floors()
        if task.member == DETECTION:
            return self.detection(task)
        return self.attack(task) if task.member else self.model(task)

    def floors(self) -> Part:
        """Held-out private images, public images, and random samples of every prior."""
        panel, recipe = self.panel(), self.recipe
        scores = [*panel.ceiling(), *panel.public_floor()]
        for name, config in recipe.priors().items():
            if self.folders.prior(name).exists():
                prior, _ = open_prior(self.folders.prior(name), config, self.compute)
                scores += measure_prior(config.name, prior, panel)
        return Part(scores)

    def model(self, task: Task) -> Part:
        """A trained classifier, and its triggers by themselves."""
        panel, secrets = self.panel(), self.secrets(task)
        model = open_model(self.folders.model(task.defense, task.seed), self.compute)
        cell, private = Cell(task.defense, "-", task.seed), self.data.private
        scores = [*measure_model(cell, model, private, secrets, panel.judges, self.compute, self.recipe.robustness)]
        if secrets is not None:
            scores += panel.triggers_alone(task.defense, task.seed, secrets)
        return Part(scores)

    def attack(self, task: Task) -> Part:
        """What an attack found, and the generator it trained."""
        panel, cell = self.panel(), Cell(task.defense, task.member, task.seed)
        folder = self.folders.attack(task.member, task.defense, task.seed)
        found, manifest = open_found(folder)
        scores, rows = measure_found(cell, found, panel)
        scores += effort(cell, manifest)
        if GENERATOR in manifest.files:
            method: Attack[Any] = self.recipe.attack(task.member)
            scores += measure_generator(cell, open_generator(folder, method, self.compute), panel)
        return Part(scores, rows)

    def detection(self, task: Task) -> Part:
        """What the trapdoor of a model makes of clean images, and of all that was found with it."""
        secrets = self.secrets(task)
        if secrets is None:
            return Part([])
        found = {name: open_found(self.folders.attack(name, task.defense, task.seed))[0] for name in self.attacks(task)}
        public = draw_public(self.data.public, len(self.data.private.images.identities))
        model = open_model(self.folders.model(task.defense, task.seed), self.compute)
        seen = evaluate(model, secrets, self.data.private, public, found)
        return Part([*seen.scores(task.defense, task.seed)], [*seen.rows(task.defense, task.seed)])


@final
class Panels:
    """The panel that was calibrated last, for the parts that have the same judges and images."""

    def __init__(self) -> None:
        self._last: tuple[str, Panel] | None = None
        self._progress: Progress = no_progress

    def of(self, audit: Measuring) -> Panel:
        """The panel for a part: the last one, or a new one."""
        recipe, data, compute = audit.recipe, audit.data, audit.compute
        key = str((audit.folders.root, data.digests, recipe.judges, recipe.fidelity))
        self._progress = audit.progress
        if self._last is None or self._last[0] != key:
            self._last = None  # its networks make room
            judges = [
                judge.appoint(
                    audit.folders.judge(judge.name), data.private, seed=0, compute=compute, progress=self._tell
                )
                for judge in recipe.judges
            ]
            fidelity = None if recipe.fidelity is None else recipe.fidelity.build(compute, self._tell)
            public = draw_public(data.public, len(data.private.images.identities))
            self._last = key, Panel(judges, data.private, fidelity, public)
        return self._last[1]

    def _tell(self, task: str, done: int, total: int | None, note: str) -> None:
        """Tell whoever measures now: judges outlive the part that they were first appointed for."""
        self._progress(task, done, total, note)


def measure(task: Task, audit: Measuring) -> Manifest:
    """Measure one part, or put the measurement together of all that is finished if the task names no part.

    Put together, it goes by the recipe that the folder holds by then, which other commands may have added to.
    """
    if task != Task("measure"):
        return _measured(task, audit)
    stored = audit.folders.root / RECIPE
    return _together(replace(audit, recipe=settle(None, audit.folders.root)) if stored.exists() else audit)


def parts(recipe: Recipe, folders: Folders) -> list[Task]:
    """What there is to measure: floors and ceiling, and all models, attacks and trapdoors that are finished."""
    trained, attacks = folders.finished(recipe, "train"), folders.finished(recipe, "attack")
    return [
        Task("measure", FLOORS),
        *(Task("measure", "", t.defense, t.seed) for t in trained),
        *(Task("measure", t.member, t.defense, t.seed) for t in attacks),
        *(Task("measure", DETECTION, t.defense, t.seed) for t in trained if recipe.defense(t.defense).has_trapdoor),
    ]


def _measured(task: Task, audit: Measuring) -> Manifest:
    def build(draft: Draft) -> Manifest:
        part = audit.part(task)
        write_scores(draft.folder, part.scores)
        write_samples(draft.folder / ROWS, part.rows)
        return draft.finish([*SCORES, ROWS], {}, 0.0, peak_memory_mib())

    return remake(audit.folders.of(task), "measured", audit.settings(), audit.parents(task), build, audit.progress)


def _together(audit: Measuring) -> Manifest:
    tasks, digests = parts(audit.recipe, audit.folders), {}
    for number, task in enumerate(tasks):
        audit.progress("measure", number, len(tasks), task.name)
        digests[task.name] = _measured(task, audit).digest()
    audit.progress("measure", len(tasks), len(tasks), "")

    def rows(detected: bool) -> Iterator[dict[str, Any]]:
        for task in tasks:
            if (task.member == DETECTION) == detected:
                yield from pq.read_table(audit.folders.of(task) / ROWS).to_pylist()

    def build(draft: Draft) -> Manifest:
        scores = [score for task in tasks for score in read_scores(audit.folders.of(task))]
        write_scores(draft.folder, [*scores, *over_all_seeds(scores)])
        write_samples(draft.folder / SAMPLES, rows(detected=False))
        files = [*SCORES, SAMPLES]
        if seen := [*rows(detected=True)]:
            write_samples(draft.folder / SEEN, seen)
            files.append(SEEN)
        attacks = len(audit.folders.finished(audit.recipe, "attack"))
        return draft.finish(files, {"attacks": attacks}, 0.0, peak_memory_mib())

    return remake(audit.folders.measurement, "measurement", audit.settings(), digests, build, audit.progress)
