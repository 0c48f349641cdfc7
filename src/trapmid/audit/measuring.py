"""Measuring an audit in parts: one for each model, attack and trapdoor, and one for floors and ceiling.

Each part is an artifact. It records its inputs and the version of every metric in it, and stays valid until one of
these changes. A new attack adds only its own part. A new metric is computed in every part, without computing the other
metrics again. A measurement that was interrupted is resumed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, final

import pyarrow.parquet as pq

from trapmid.artifacts import Draft, remake
from trapmid.attacks import Attack, open_found, open_generator
from trapmid.audit.cells import model_manifest, open_classifier
from trapmid.audit.joining import settle
from trapmid.audit.loading import AuditData
from trapmid.audit.part import Group, Kept, Part
from trapmid.audit.plan import DETECTION, FLOORS, Folders, Task
from trapmid.audit.recipe import Recipe
from trapmid.defenses import open_model
from trapmid.detection.evaluation import BALLS, evaluate
from trapmid.detection.evaluation import DETECTION as DETECTION_FILE
from trapmid.detection.evaluation import rows as detection_rows
from trapmid.engine import Compute, Progress, no_progress, peak_memory_mib
from trapmid.manifests import RECIPE, Manifest, open_artifact, recorded, sha256
from trapmid.metrics import evidence, samples
from trapmid.metrics.detecting import Detection
from trapmid.metrics.metric import Evidence
from trapmid.metrics.panel import Panel
from trapmid.metrics.samples import draw_public, over_all_seeds, sample_rows, write_samples
from trapmid.metrics.scores import NOT_APPLICABLE, ScoreKey, read_scores, write_scores
from trapmid.metrics.table import metrics, versions_of
from trapmid.priors import open_prior
from trapmid.priors.gan import GENERATOR
from trapmid.starts import started
from trapmid.trapdoor import SECRETS, Secrets
from trapmid.types import Pixels, UserError

SAMPLES, ROWS, SCORES = "samples.parquet", "rows.parquet", ("scores.json", "scores.parquet")
METRICS = "metrics"
"""The key of the metric versions in the settings of a part."""

MEASURED = "measured"
OF_IMAGES: tuple[type[Evidence], ...] = (evidence.JudgedImages, evidence.ComparedSet, evidence.NearestImages)


@dataclass(frozen=True, eq=False)
class Measuring:
    """An audit whose parts are measured."""

    recipe: Recipe
    data: AuditData
    folders: Folders
    compute: Compute
    progress: Progress
    panels: "Panels"

    def settings(self, versions: Mapping[str, int]) -> dict[str, Any]:
        """The settings that determine all numbers, apart from the evidence that is measured.

        Args:
            versions: the versions of the metrics that are measured, by name.
        """
        recipe = self.recipe
        optional = {"fidelity": recipe.fidelity, "robustness": recipe.robustness}
        return {
            "judges": [recorded(judge) for judge in recipe.judges],
            **{name: [one.canonical()] for name, one in optional.items() if one is not None},
            "balls": [ball._asdict() for ball in BALLS],
            "samples": samples.VERSION,
            METRICS: dict(versions),
        }

    def parents(self, task: Task) -> dict[str, str]:
        """Digests of the artifacts that a part is computed from."""
        folders, digests = self.folders, dict(self.data.digests)
        if task.member == FLOORS:
            priors = [name for name in self.recipe.priors() if folders.prior(name).exists()]
            return digests | {name: open_artifact(folders.prior(name), "prior").digest() for name in priors}
        if task.member in ("", DETECTION):
            digests["model"] = model_manifest(self.recipe, folders, task.defense, task.seed).digest()
            secrets = folders.secrets(task.defense, task.seed) / SECRETS
            digests |= {"secrets": sha256(secrets)} if secrets.exists() else {}
        attacks = self.attacks(task) if task.member == DETECTION else [task.member] if task.member else []
        return digests | {
            name: open_artifact(folders.attack(name, task.defense, task.seed), "attack").digest() for name in attacks
        }

    def attacks(self, task: Task) -> list[str]:
        """The finished attacks on the model of a task."""
        finished = self.folders.finished(self.recipe, "attack")
        return [t.member for t in finished if (t.defense, t.seed) == (task.defense, task.seed)]

    def panel(self) -> Panel:
        """The judges, calibrated on the private images."""
        return self.panels.of(self)

    def public(self) -> Pixels:
        """The public images that private images are compared with."""
        return draw_public(self.data.public, len(self.data.private.images.identities))

    def secrets(self, task: Task) -> Secrets | None:
        """The triggers of a model; None if it has none, or if they are stored elsewhere."""
        folder = self.folders.secrets(task.defense, task.seed)
        return Secrets.load(folder) if (folder / SECRETS).exists() else None

    def part(self, task: Task) -> Part:
        """The part that a task measures."""
        if task.member == FLOORS:
            return Part((Group((*OF_IMAGES, evidence.PublicImages, evidence.PriorSamples), self._floors),))
        if task.member == DETECTION:
            return self._detection(task)
        return self._attack(task) if task.member else self._model(task)

    def _floors(self) -> list[Evidence]:
        """Evidence: held-out private images, public images, and random samples of every prior."""
        panel, recipe = self.panel(), self.recipe
        opened = [*panel.ceiling(), *panel.public_floor()]
        for name, config in recipe.priors().items():
            if self.folders.prior(name).exists():
                prior, _ = open_prior(self.folders.prior(name), config, self.compute)
                opened += panel.prior(config.name, prior)
        return opened

    def _model(self, task: Task) -> Part:
        """Evidence about a classifier, and about the triggers of its trapdoor alone."""
        secrets = self.secrets(task)

        def model() -> list[Evidence]:
            opened, differentiable = open_classifier(
                self.recipe, self.folders, task.defense, task.seed, self.data, self.compute
            )
            return [
                evidence.Model(
                    ScoreKey(task.defense, NOT_APPLICABLE, task.seed),
                    opened,
                    self.data.private,
                    secrets,
                    self.panel().judges,
                    self.recipe.robustness,
                    self.compute,
                    differentiable,
                )
            ]

        groups = [Group((evidence.Model,), model)]
        if secrets is not None:
            alone = Group(
                (evidence.JudgedImages,), lambda: [self.panel().triggers_alone(task.defense, task.seed, secrets)]
            )
            groups.append(alone)
        return Part(tuple(groups))

    def _attack(self, task: Task) -> Part:
        """Evidence about an attack: its reconstructions, its queries and the generator that it trained."""
        key = ScoreKey(task.defense, task.member, task.seed)
        folder = self.folders.attack(task.member, task.defense, task.seed)
        manifest = open_artifact(folder, "attack")
        found = cache(lambda: open_found(folder)[0])
        images = cache(lambda: self.panel().images(key, found().pixels, found().labels))

        def generator() -> list[Evidence]:
            method: Attack[Any, Any] = started(self.recipe.attack(task.member), self.folders.starts, self.data.public)
            return [self.panel().generator(key, open_generator(folder, method, self.compute))]

        groups = [
            Group(OF_IMAGES, images),
            Group((evidence.FinishedAttack,), lambda: [evidence.FinishedAttack(key, manifest)]),
        ]
        if GENERATOR in manifest.files:
            groups.append(Group((evidence.GeneratorSamples,), generator))
        names = self.data.private.images.identities
        return Part(tuple(groups), lambda: sample_rows(images()[0], names, found().confidence))

    def _detection(self, task: Task) -> Part:
        """Evidence on trapdoor detection: clean images, and the reconstructions of all attacks on the model."""
        secrets = self.secrets(task)
        if secrets is None:
            return Part()

        @cache
        def detection() -> list[Detection]:
            found = {
                name: open_found(self.folders.attack(name, task.defense, task.seed))[0] for name in self.attacks(task)
            }
            model = open_model(self.folders.model(task.defense, task.seed), self.compute)
            key = ScoreKey(task.defense, NOT_APPLICABLE, task.seed)
            return [evaluate(key, model, secrets, self.data.private, self.public(), found)]

        return Part((Group((Detection,), detection),), lambda: detection_rows(detection()[0]))

    def kept(self, task: Task, wanted: Mapping[str, Any]) -> Kept:
        """The results of an earlier measurement of a part that are still valid.

        They can be kept if the settings differ in nothing but metrics.

        Args:
            task: the part.
            wanted: the current settings of the part.
        """
        folder = self.folders.of(task)
        try:
            there = open_artifact(folder, MEASURED)
            if there.parents != self.parents(task) or _but_metrics(there.recipe) != _but_metrics(wanted):
                return Kept()
            scores = read_scores(folder)
            rows = pq.read_table(folder / ROWS).to_pylist()
        except (UserError, OSError):
            return Kept()  # there is no earlier measurement, or it is damaged
        same = [
            metric for metric in metrics() if there.recipe[METRICS].get(metric.name) == wanted[METRICS].get(metric.name)
        ]
        return Kept({metric.name: [one for one in scores if metric.names(one.metric)] for metric in same}, rows)

    def up_to_date(self, task: Task) -> bool:
        """Whether a part was measured with the current metrics and the current artifacts."""
        wanted = self.settings(versions_of(self.part(task).kinds))
        try:
            there = open_artifact(self.folders.of(task), MEASURED)
        except UserError:
            return False
        return there.parents == self.parents(task) and there.recipe == json.loads(json.dumps(wanted))

    def measured(self, task: Task) -> Manifest:
        """Measure a part. Results that are still valid are kept."""
        part = self.part(task)
        settings = self.settings(versions_of(part.kinds))
        kept = self.kept(task, settings)

        def build(draft: Draft) -> Manifest:
            write_scores(draft.folder, part.scores(kept.scores))
            write_samples(draft.folder / ROWS, part.rows() if kept.rows is None else kept.rows)
            return draft.finish([*SCORES, ROWS], {}, 0.0, peak_memory_mib())

        return remake(self.folders.of(task), MEASURED, settings, self.parents(task), build, self.progress)

    def together(self) -> Manifest:
        """Measure every part, and combine the results."""
        tasks, digests = parts(self.recipe, self.folders), {}
        for number, task in enumerate(tasks):
            self.progress("measure", number, len(tasks), task.name)
            digests[task.name] = self.measured(task).digest()
        self.progress("measure", len(tasks), len(tasks), "")

        def rows(of_detection: bool) -> Iterator[dict[str, Any]]:
            for task in tasks:
                if (task.member == DETECTION) == of_detection:
                    yield from pq.read_table(self.folders.of(task) / ROWS).to_pylist()

        def build(draft: Draft) -> Manifest:
            scores = [score for task in tasks for score in read_scores(self.folders.of(task))]
            write_scores(draft.folder, [*scores, *over_all_seeds(scores)])
            write_samples(draft.folder / SAMPLES, rows(of_detection=False))
            files = [*SCORES, SAMPLES]
            if detected := [*rows(of_detection=True)]:
                write_samples(draft.folder / DETECTION_FILE, detected)
                files.append(DETECTION_FILE)
            attacks = len(self.folders.finished(self.recipe, "attack"))
            return draft.finish(files, {"attacks": attacks}, 0.0, peak_memory_mib())

        settings = self.settings({metric.name: metric.version for metric in metrics()})
        return remake(self.folders.measurement, "measurement", settings, digests, build, self.progress)


@final
class Panels:
    """A cache of the last panel, for parts that have the same judges and images."""

    def __init__(self) -> None:
        self._last: tuple[str, Panel] | None = None
        self._progress: Progress = no_progress

    def of(self, audit: Measuring) -> Panel:
        """The panel for a part: the cached one if it fits, or otherwise a new one."""
        recipe, data, compute = audit.recipe, audit.data, audit.compute
        key = str((audit.folders.root, data.digests, recipe.judges, recipe.fidelity))
        self._progress = audit.progress
        if self._last is None or self._last[0] != key:
            self._last = None  # frees the memory of its networks
            judges = [
                started(judge, audit.folders.starts, data.public).appoint(
                    audit.folders.judge(judge.name), data.private, seed=0, compute=compute, progress=self._tell
                )
                for judge in recipe.judges
            ]
            fidelity = None if recipe.fidelity is None else recipe.fidelity.build(compute, self._tell)
            self._last = key, Panel(judges, data.private, fidelity, audit.public())
        return self._last[1]

    def _tell(self, task: str, done: int, total: int | None, note: str) -> None:
        """Report progress to the part that is being measured. Judges are shared by parts."""
        self._progress(task, done, total, note)


def measure(task: Task, audit: Measuring) -> Manifest:
    """Measure one part, or combine the measurements of all finished parts if the task names no part.

    The combined measurement uses the recipe that is then in the folder, because other commands may have extended it.
    """
    if task != Task("measure"):
        return audit.measured(task)
    stored = audit.folders.root / RECIPE
    return (replace(audit, recipe=settle(None, audit.folders.root)) if stored.exists() else audit).together()


def parts(recipe: Recipe, folders: Folders) -> list[Task]:
    """All parts to measure: floors and ceiling, and all finished models, attacks and trapdoors."""
    models, attacks = folders.finished(recipe, "train", "examine"), folders.finished(recipe, "attack")
    return [
        Task("measure", FLOORS),
        *(Task("measure", "", t.defense, t.seed) for t in models),
        *(Task("measure", t.member, t.defense, t.seed) for t in attacks),
        *(Task("measure", DETECTION, t.defense, t.seed) for t in models if recipe.has_trapdoor(t.defense)),
    ]


def _but_metrics(settings: Mapping[str, Any]) -> Any:
    """Settings without the metrics, in the form that they have in JSON."""
    return json.loads(json.dumps({name: value for name, value in settings.items() if name != METRICS}))
