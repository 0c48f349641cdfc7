"""What each task of an audit does: opens its inputs, calls its verb, leaves its artifact."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from trapmid.artifacts import Draft, Manifest, make, open_artifact
from trapmid.attacks import AnyAttack, Attack, attack, open_found, open_generator
from trapmid.audit.plan import Folders, Task
from trapmid.audit.recipe import Recipe, prior_name
from trapmid.data import ImageSet, Source, Split, check_disjoint, split
from trapmid.defenses import TrainedModel, open_model, train
from trapmid.detection import known_signatures
from trapmid.detection.evaluation import BALLS, DETECTION, Evaluation, evaluate
from trapmid.engine import Compute, Progress, peak_memory_mib
from trapmid.metrics.judges import Judge
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
from trapmid.metrics.scores import Cell, Score, write_scores
from trapmid.priors import open_prior, pretrain
from trapmid.priors.gan import GENERATOR
from trapmid.targets import InformedTarget
from trapmid.trapdoor import SECRETS, Secrets
from trapmid.types import UserError

SAMPLES, SPLITS = "samples.parquet", "splits.parquet"


@dataclass(frozen=True, eq=False)
class AuditData:
    """The images of an audit, loaded: who is attacked, and with what."""

    private: Split
    public: ImageSet


def load_data(recipe: Recipe, progress: Progress) -> AuditData:
    """Read, select and split the images of a recipe; once per process and recipe.

    Raises:
        UserError: a source is missing from the recipe, or private and public share people.
    """
    key = recipe.model_dump_json(include={"private", "public", "image_size", "channels", "identities", "split"})
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = _load(recipe, progress)
    return _loaded[key]


_loaded: dict[str, AuditData] = {}


def _load(recipe: Recipe, progress: Progress) -> AuditData:
    sides: dict[str, ImageSet] = {}
    for side in ("private", "public"):
        source: Source | None = getattr(recipe, side)
        if source is None:
            raise UserError(
                f"Recipe {recipe.name} needs {side} images. Give --{side} PATH: a folder with one folder per identity, "
                "a .parquet file, or CelebA as distributed; public ones may be a folder of images of anybody."
            )

        def report(done: int, total: int | None, side: str = side) -> None:
            progress(f"load {side} images", done, total, "")

        sides[side] = source.load(recipe.image_size, recipe.channels, report)
    private = sides["private"] if recipe.identities is None else sides["private"].with_most_images(recipe.identities)
    check_disjoint(private, sides["public"])
    return AuditData(split(private, recipe.split), sides["public"])


def do(task: Task, recipe: Recipe, root: Path, compute: Compute, progress: Progress) -> Manifest:
    """Carry out one task; what it needs must be finished. Returns at once what is there already."""
    data = load_data(recipe, progress)
    return {"prior": _prior, "judge": _judge, "train": _train, "attack": _attack, "measure": _measure}[task.kind](
        task, recipe, data, Folders(root), compute, progress
    )


def _prior(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return pretrain(
        folders.prior(task.member),
        recipe.priors()[task.member],
        data.public,
        len(data.private.images.identities),
        compute=compute,
        progress=progress,
    )


def _judge(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    judge = next(judge for judge in recipe.judges if judge.name == task.member)
    judge.appoint(folders.judge(judge.name), data.private, seed=0, compute=compute, progress=progress)
    return open_artifact(folders.judge(judge.name), "model")


def _train(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return train(
        folders.model(task.defense, task.seed),
        data.private,
        model=recipe.model,
        defense=recipe.defense(task.defense),
        training=recipe.training,
        seed=task.seed,
        compute=compute,
        secrets=folders.secrets(task.defense, task.seed),
        progress=progress,
    )


def _attack(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    model = open_model(folders.model(task.defense, task.seed), compute)
    parents = {"model": model.manifest.digest(), "public": data.public.digest()}
    method, prior = recipe.attack(task.member), None
    wanted = method.public_prior()
    if wanted is not None:
        prior, manifest = open_prior(folders.prior(prior_name(wanted)), wanted, compute)
        parents["prior"] = manifest.digest()
    return attack(
        folders.attack(task.member, task.defense, task.seed),
        _target(method, model, data.private, folders.secrets(task.defense, task.seed)),
        data.public,
        method=method,
        identities=model.identities,
        seed=task.seed,
        parents=parents,
        prior=prior,
        compute=compute,
        progress=progress,
    )


def _target(method: AnyAttack, model: TrainedModel, private: Split, secrets: Path) -> Any:
    """The model with no more access than the attack needs; signatures are computed here, so that no attack sees a private image."""
    if method.needs is not InformedTarget:
        return method.needs(model.classifier, len(model.identities), model.image_shape)
    known = known_signatures(model.classifier, Secrets.load(secrets), private.part("train").images())
    return InformedTarget(model.classifier, len(model.identities), model.image_shape, known)


def _measure(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    """All finished attacks of the recipe. Derived from the rest, so a measurement of other parents is replaced, not refused."""
    del task
    trained, attacks = folders.finished(recipe, "train"), folders.finished(recipe, "attack")
    parents = {
        t.name: open_artifact(folders.of(t), "model" if t.kind == "train" else "attack").digest()
        for t in trained + attacks
    }
    settings: dict[str, Any] = {"judges": [judge.model_dump(mode="json") for judge in recipe.judges]}
    optional = {"fidelity": recipe.fidelity, "robustness": recipe.robustness}
    settings |= {name: [one.model_dump(mode="json")] for name, one in optional.items() if one is not None}
    trapped = [t for t in trained if (folders.secrets(t.defense, t.seed) / SECRETS).exists()]
    if trapped:
        settings["detection"] = [ball._asdict() for ball in BALLS]
    try:
        if folders.measurement.exists() and open_artifact(folders.measurement, "measurement").parents == parents:
            return make(folders.measurement, "measurement", settings, parents, _never)
    except UserError:
        progress("measure", 0, None, "replacing an older measurement")
    for stale in (folders.measurement, folders.measurement.with_name("measurement.partial")):
        shutil.rmtree(stale, ignore_errors=True)

    def build(draft: Draft) -> Manifest:
        judges: list[Judge] = [
            j.appoint(folders.judge(j.name), data.private, seed=0, compute=compute, progress=progress)
            for j in recipe.judges
        ]
        report = partial(progress, "measure")
        total = 2 + len(trained) + len(attacks) + len(trapped)
        report(0, total, "calibrate judges")
        fidelity = None if recipe.fidelity is None else recipe.fidelity.build(compute, progress)
        identities = len(data.private.images.identities)
        panel = Panel(judges, data.private, fidelity, draw_public(data.public, identities))
        scores: list[Score] = [*panel.ceiling(), *panel.public_floor()]
        for name, config in recipe.priors().items():
            if folders.prior(name).exists():
                scores += measure_prior(config.name, open_prior(folders.prior(name), config, compute)[0], panel)
        for number, t in enumerate(trained):
            report(2 + number, total, t.name)
            secrets = Secrets.load(folders.secrets(t.defense, t.seed)) if t in trapped else None
            scores += measure_model(
                Cell(t.defense, "-", t.seed),
                open_model(folders.of(t), compute),
                data.private,
                secrets,
                judges,
                compute,
                recipe.robustness,
            )
            if secrets is not None:
                scores += panel.triggers_alone(t.defense, t.seed, secrets)
        rows: list[dict[str, Any]] = []
        for number, t in enumerate(attacks):
            report(2 + len(trained) + number, total, t.name)
            cell, (found, manifest) = Cell(t.defense, t.member, t.seed), open_found(folders.of(t))
            of_attack, of_images = measure_found(cell, found, panel)
            scores += [*of_attack, *effort(cell, manifest)]
            rows += of_images
            if GENERATOR in manifest.files:
                method: Attack[Any] = recipe.attack(t.member)
                scores += measure_generator(cell, open_generator(folders.of(t), method, compute), panel)
        seen: list[dict[str, Any]] = []
        for number, t in enumerate(trapped):
            report(total - len(trapped) + number, total, f"detection {t.name}")
            evaluation = _detection(t, attacks, data, folders, compute)
            scores += evaluation.scores(t.defense, t.seed)
            seen += evaluation.rows(t.defense, t.seed)
        scores += list(over_all_seeds(scores))
        write_scores(draft.folder, scores)
        write_samples(draft.folder / SAMPLES, rows)
        files = ["scores.json", "scores.parquet", SAMPLES]
        if seen:
            write_samples(draft.folder / DETECTION, seen)
            files.append(DETECTION)
        report(total, total, "")
        return draft.finish(files, {"attacks": len(attacks)}, 0.0, peak_memory_mib())

    return make(folders.measurement, "measurement", settings, parents, build)


def _detection(task: Task, attacks: list[Task], data: AuditData, folders: Folders, compute: Compute) -> Evaluation:
    """What the trapdoor of one model makes of what was found with it."""
    found = {
        t.member: open_found(folders.of(t))[0] for t in attacks if (t.defense, t.seed) == (task.defense, task.seed)
    }
    public = draw_public(data.public, len(data.private.images.identities))
    secrets = Secrets.load(folders.secrets(task.defense, task.seed))
    return evaluate(open_model(folders.of(task), compute), secrets, data.private, public, found)


def _never(draft: Draft) -> Manifest:
    raise AssertionError(draft)


def write_split(recipe: Recipe, root: Path, data: AuditData) -> Manifest:
    """Record which private image is in which split, and how much there is of everything."""
    images = data.private.images
    facts = {
        "identities": len(images.identities),
        "private_images": {name: len(getattr(data.private, name)) for name in ("train", "val", "test")},
        "public_identities": len(data.public.identities),
        "public_images": len(data.public),
    }
    settings = {
        "private": _dump(recipe.private),
        "public": _dump(recipe.public),
        "identities": recipe.identities,
        "split": recipe.split.model_dump(mode="json"),
        "image_size": recipe.image_size,
    }

    def build(draft: Draft) -> Manifest:
        pq.write_table(data.private.to_table(), draft.folder / SPLITS)
        return draft.finish([SPLITS], facts, 0.0, peak_memory_mib())

    return make(
        Folders(root).data, "data", settings, {"private": data.private.digest(), "public": data.public.digest()}, build
    )


def _dump(source: Source | None) -> Any:
    """What is not set is left out, so that an option more does not make another data set of an old one."""
    return None if source is None else source.model_dump(mode="json", exclude_none=True)
