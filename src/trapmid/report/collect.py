"""Reads a run folder and collects the contents of its report."""

from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from trapmid.attacks import ATTACKS
from trapmid.attacks.attack import GAN_LOG
from trapmid.audit.cells import EXAMINATION
from trapmid.audit.loading import load_private_again
from trapmid.audit.plan import Folders, Task
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import settle
from trapmid.data import ImageSet, Source
from trapmid.detection.evaluation import ADVERSARIAL, DETECTION
from trapmid.engine import LOG, read_log
from trapmid.manifests import Manifest, open_artifact, versions
from trapmid.metrics.detecting import DETECTION_THRESHOLD
from trapmid.metrics.embedders import ImageEmbedder
from trapmid.metrics.judges import AnyJudge, EvaluationClassifier
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PUBLIC, Score, find, read_scores
from trapmid.metrics.units import percent
from trapmid.models import ModelConfig
from trapmid.report.ablation import ablations
from trapmid.report.contents import (
    Access,
    Attack,
    Contents,
    Cost,
    Curves,
    Data,
    Defense,
    Detection,
    GalleryRow,
    GivenModel,
    Judge,
)
from trapmid.report.people import gallery_rows, reconstructions
from trapmid.subjects import SubjectConfig
from trapmid.targets import InformedTarget, LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import UserError

JUDGE_NOTES = {
    "classifier": "a different architecture, trained on the private training images",
    "embedder": (
        "MobileFaceNet pretrained on other faces; chooses the nearest class mean of the private training images"
    ),
    "image-embedder": "no private image trained it; chooses the nearest class mean of the private training images",
}
ACCESS: dict[type[LabelTarget], Access] = {
    LabelTarget: "label",
    ScoreTarget: "score",
    WhiteBoxTarget: "white-box",
    InformedTarget: "white-box",
}
COLLAPSED = 0.2
UNLIKE = 0.5


def collect(out: Path, *, redact: bool = False) -> Contents:
    """The contents of the report about the audit in the folder `out`.

    Args:
        out: the run folder.
        redact: leave out private images. They are not read then and need not exist any more.

    Raises:
        UserError: `out` holds no measured audit, or the private images have changed since the audit.
    """
    recipe = settle(None, out)
    folders = Folders(out)
    if not folders.measurement.exists():
        raise UserError(f"Nothing was measured in {out} yet. Run `trapmid measure {out}` first.")
    measured = open_artifact(folders.measurement, "measurement")
    split = open_artifact(folders.data, "data")
    private = None if redact else load_private_again(recipe, folders.root).part("train")
    trained = {t: open_artifact(folders.of(t), "model") for t in folders.finished(recipe, "train")}
    examined = {t: open_artifact(folders.of(t), EXAMINATION) for t in folders.finished(recipe, "examine")}
    attacked = {t: open_artifact(folders.of(t), "attack") for t in folders.finished(recipe, "attack")}
    run = {attack.kind for attack in recipe.attacks}
    return Contents(
        title=f"Model inversion audit: {' and '.join(one.name for one in recipe.subjects) or recipe.name}",
        data=_data(recipe, split),
        architecture="given"
        if recipe.model is None
        else f"{recipe.model.kind}, {recipe.image_size} px{_pretrained(recipe.model)}",
        defenses=[Defense(name=d.name, title=d.heading, paper=d.paper) for d in recipe.cells],
        given=[_given_model(one, examined) for one in recipe.subjects],
        attacks=[
            Attack(
                name=a.name,
                title=a.heading,
                access=ACCESS[a.needs],
                adaptive=a.adaptive,
                searches=a.searches,
                attempts=a.effort.images_per_identity,
                paper=a.paper,
                needs_trapdoor=a.needs.knows_secrets,
            )
            for a in recipe.attacks
        ],
        judges=[Judge(name=j.name, title=j.heading, note=_judge_note(j, measured)) for j in recipe.judges],
        seeds=recipe.seeds,
        scores=_scores(read_scores(folders.measurement), several=len(recipe.seeds) > 1),
        gallery=_gallery(recipe, folders, private, split.fact("identities", int)),
        curves=_curves(recipe, folders, trained, attacked),
        ablations=ablations(recipe.defenses),
        detections=_detections(recipe, folders, read_scores(folders.measurement)),
        costs=_costs(recipe, trained, attacked),
        warnings=_warnings(recipe, trained | examined, attacked),
        not_tried=[member.title for member in ATTACKS if member.model_fields["kind"].default not in run],
        config=recipe.model_dump(mode="json"),
        versions=versions(),
        made=measured.created,
    )


def _scores(scores: list[Score], *, several: bool) -> list[Score]:
    """The scores without means over a single seed, because these have no interval; the seed's own rows do."""
    return [score for score in scores if several or score.seed is not None or score.defense == NOT_APPLICABLE]


def _pretrained(model: ModelConfig) -> str:
    return "" if model.start is None else f", pretrained on {model.start.teaches}"


def _judge_note(judge: AnyJudge, measured: Manifest) -> str:
    note = JUDGE_NOTES.get(judge.kind, "")
    if isinstance(judge, ImageEmbedder):
        used = next(one for one in measured.recipe["judges"] if one.get("label") == judge.label and "network" in one)
        return f"{judge.network} of timm, weights {used['weights'][:23]}; {note}"
    return f"{note}{_pretrained(judge.model)}" if isinstance(judge, EvaluationClassifier) else note


def _data(recipe: Recipe, split: Manifest) -> Data:
    images = split.fact("private_images", dict[Literal["train", "val", "test"], int])
    return Data(
        private=_given(recipe.private).title,
        public=_given(recipe.public).title,
        identities=split.fact("identities", int),
        train_images=images["train"],
        val_images=images["val"],
        test_images=images["test"],
        public_identities=split.fact("public_identities", int) if _given(recipe.public).names_identities else None,
        public_images=split.fact("public_images", int),
        image_size=recipe.image_size,
        channels=recipe.channels,
        public_description=f"public {_given(recipe.public).depicts} of other people",
    )


def _given_model(config: SubjectConfig, examined: dict[Task, Manifest]) -> GivenModel:
    """A model that is given, with what the doctor of models found."""
    manifest = next(one for task, one in examined.items() if task.defense == config.name)
    return GivenModel(
        name=config.name,
        where=config.path,
        kind=config.title,
        accuracy=manifest.facts["accuracy"],
        notes=manifest.facts["notes"],
    )


def _given(source: Source | None) -> Source:
    assert source is not None, "a measured audit has its images"
    return source


def _gallery(recipe: Recipe, folders: Folders, train: ImageSet | None, identities: int) -> list[GalleryRow]:
    """One row per identity: training images if given, and the first attack's reconstructions for each defense."""
    judge, attack, seed = recipe.judges[0].name, recipe.attacks[0].name, recipe.seeds[0]
    columns = {
        defense.heading: reconstructions(folders, attack, defense.name, seed, judge)
        for defense in recipe.cells
        if folders.attack(attack, defense.name, seed).exists()
    }
    return gallery_rows(train, identities, columns)


def _curves(
    recipe: Recipe, folders: Folders, trained: dict[Task, Manifest], attacked: dict[Task, Manifest]
) -> list[Curves]:
    curves = [
        Curves(cell=f"Training, {_cell(recipe, t)}", rows=read_log(folders.of(t) / LOG), x="epoch") for t in trained
    ]
    for t in attacked:
        rows = [
            {
                "step": row["step"],
                "loss of the generator": row["generator"],
                "loss of the discriminator": row["discriminator"],
                **({"loss on the target": row["guidance"]} if "guidance" in row else {}),
            }
            for row in read_log(folders.of(t) / GAN_LOG)
            if "generator" in row
        ]
        if not rows:  # the attack trained nothing
            continue
        curves.append(Curves(cell=f"{recipe.attack(t.member).heading} prior, {_cell(recipe, t)}", rows=rows, x="step"))
    return curves


def _detections(recipe: Recipe, folders: Folders, scores: list[Score]) -> list[Detection]:
    """The detector scores of every trapdoored defense, with the first seed."""
    file = folders.measurement / DETECTION
    rows = pq.read_table(file).to_pylist() if file.exists() else []
    shown: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["seed"] == recipe.seeds[0]:
            shown.setdefault(row["defense"], {}).setdefault(row["shown"], []).append(row["score"])
    frames = {HELD_OUT: "Held-out private images", PUBLIC: "Public images", **ADVERSARIAL}
    detections = []
    for defense, sets in shown.items():
        (threshold,) = find(scores, defense=defense, seed=recipe.seeds[0], metric=DETECTION_THRESHOLD.name) or (None,)
        detections.append(
            Detection(
                defense=defense,
                cell=_cell(recipe, Task("train", defense=defense, seed=recipe.seeds[0])),
                scores=sets,
                titles={name: frames.get(name) or recipe.attack(name).heading for name in sets},
                threshold=None if threshold is None else threshold.value,
            )
        )
    return detections


def _costs(recipe: Recipe, trained: dict[Task, Manifest], attacked: dict[Task, Manifest]) -> list[Cost]:
    costs = []
    for t, manifest in (trained | attacked).items():
        plain = (trained | attacked).get(Task(t.kind, t.member, "none", t.seed))
        costs.append(
            Cost(
                cell=f"{recipe.attack(t.member).heading if t.member else 'Training'}, {_cell(recipe, t)}",
                work="train" if t in trained else "attack",
                defense=t.defense,
                seconds=manifest.seconds,
                peak_mib=manifest.peak_memory_mib,
                relative=None if t.defense == "none" or plain is None else manifest.seconds / plain.seconds,
                identities=len(manifest.recipe["identities"]) if t in attacked else None,
                queries=manifest.facts.get("queries"),
                confidence=manifest.facts.get("confidence"),
            )
        )
    return costs


def _warnings(recipe: Recipe, trained: dict[Task, Manifest], attacked: dict[Task, Manifest]) -> list[str]:
    said = [
        f"{_cell(recipe, t)}: {warning}"
        for t, manifest in trained.items()
        for warning in manifest.fact("warnings", list[str])
    ]
    for t, manifest in attacked.items():
        diversity = manifest.fact("diversity", dict[Literal["within", "between"], float])
        several = manifest.fact("images", int) > len(manifest.recipe["identities"])
        if several and diversity["within"] < COLLAPSED * diversity["between"]:
            said.append(
                f"{_cell(recipe, t)}: the reconstructions of one identity are nearly the same picture (mean pixel "
                f"distance {diversity['within']:.3f} within an identity, {diversity['between']:.3f} between "
                "identities). The generator has collapsed, so the pictures of one identity count as one."
            )
        notes = manifest.fact("notes", dict[str, float]) if "notes" in manifest.facts else {}
        agreement = notes.get("surrogate_agreement", 1.0)
        if agreement < UNLIKE:
            said.append(
                f"{recipe.attack(t.member).heading}, {_cell(recipe, t)}: the attack used a copy of the model that "
                f"agrees with it on only {percent(agreement)} of the held-out public images. A better copy may help "
                "the attack."
            )
    return said


def _cell(recipe: Recipe, task: Task) -> str:
    return f"{recipe.cell(task.defense).heading}, seed {task.seed}"
