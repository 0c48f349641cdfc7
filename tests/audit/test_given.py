"""Audits of models that trapmid did not train: the whole way, resumed, and what the doctor of models finds."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from helpers.commands import run as command
from helpers.foreign import Logits, exported
from helpers_attacks import CPU, SIZE, TINY_ATTACKS, trained_classifier
from trapmid.audit import Recipe, run_audit
from trapmid.audit.examination import Examination, examine
from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.run import run, settle
from trapmid.augment import WarpAugmentation
from trapmid.comparison import compare
from trapmid.data import ImageSet, SyntheticSource
from trapmid.data.images import to_png
from trapmid.engine import no_progress
from trapmid.leaderboard import cards_of, check_card
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.metrics.scores import find, read_scores
from trapmid.models import SmallResNet
from trapmid.recipes import choose_recipe
from trapmid.recipes.durations import GeneratorSpeed
from trapmid.recipes.two_cores import training
from trapmid.report import audit_model, write_report
from trapmid.subjects import SubjectConfig, hold, parse_subject
from trapmid.subjects.inputs import Normalise
from trapmid.subjects.live import Live
from trapmid.types import UserError

PEOPLE = SyntheticSource(identities=5, images_per_identity=10)
OTHERS = SyntheticSource(identities=8, images_per_identity=4, first_identity=100)
JUDGE = EvaluationClassifier(model=SmallResNet(width=8), training=training(2, WarpAugmentation(), evaluate_every=2))


@pytest.fixture(scope="module")
def people() -> ImageSet:
    return PEOPLE.load(SIZE, 3)


@pytest.fixture(scope="module")
def net(people: ImageSet) -> nn.Module:
    return trained_classifier(people)


def recipe(subject: SubjectConfig, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "audit",
        "about": "a test",
        "private": PEOPLE,
        "public": OTHERS,
        "image_size": SIZE,
        "subjects": (subject,),
        "attacks": (TINY_ATTACKS["plgmi"], TINY_ATTACKS["public-nearest"]),
        "judges": (JUDGE,),
        "robustness": None,
    }
    return Recipe(**values | changes)


def doctor(module: nn.Module, people: ImageSet, **settings: Any) -> Examination:
    subject = Live(path=hold(module), image_size=SIZE, **settings).open()
    return examine(subject, people, people.identities, "net", no_progress)[0]


def test_a_plan_has_examinations_in_place_of_trainings() -> None:
    attacks = (TINY_ATTACKS["plgmi"], TINY_ATTACKS["gmi"])
    tasks = plan(recipe(Live(path="0", label="net"), seeds=(0, 1), attacks=attacks))
    assert not [task for task in tasks if task.kind == "train"]
    first = Task("examine", defense="net", seed=0)
    assert next(iter(tasks)) == first
    assert first in tasks[Task("attack", "plgmi", "net", 0)]
    trained = [task for task in tasks if task.kind in ("prior", "judge")]
    assert {task.kind for task in trained} == {"prior", "judge"}
    assert all(first in tasks[task] for task in trained)  # none is in vain if the model cannot be audited
    with pytest.raises(ValueError, match="expected model, training and at least one of the defenses, or subjects"):
        recipe(Live(path="0"), subjects=())
    assert "subjects" not in choose_recipe("demo").model_dump()


def test_an_audit_of_a_module_from_the_examination_to_the_report(net: nn.Module, tmp_path: Path) -> None:
    subject = Live(path=hold(Logits(net)), image_size=SIZE, label="mine")
    chosen = recipe(subject)
    run_audit(chosen, tmp_path, compute=CPU, jobs=1)
    scores = read_scores(tmp_path)
    assert {row.defense for row in scores} == {"mine", "-"}
    (accuracy,) = find(scores, defense="mine", metric="clean_accuracy", seed=0)
    assert accuracy.value > 0.5
    for attack in ("plgmi", "public-nearest", "real", "public"):
        assert [row for row in scores if row.attack == attack and row.metric == "attack_accuracy_1"], attack
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "It may have learned them" in page
    assert "Reveals private images" in page or "No more than chance shown" in page
    assert "The audit trained no model" in page
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    run_audit(chosen, tmp_path, compute=CPU, jobs=1)
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    with pytest.raises(UserError, match=r"trapmid audit model\.pt2"):
        cards_of(tmp_path)
    cards = cards_of(tmp_path, "trapmid audit mine.pt2")
    assert {(card.defense.name, card.attack.name) for card in cards} == {("mine", "plgmi"), ("mine", "public-nearest")}
    for card in cards:
        check_card(card, tmp_path)


@pytest.mark.slow
def test_a_model_that_changed_is_not_attacked_as_the_one_that_was_examined(net: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = exported(Logits(net).eval(), tmp_path / "net.pt2")
    chosen = recipe(parse_subject(str(file), label="net"), attacks=(TINY_ATTACKS["public-nearest"],))
    run_audit(chosen, tmp_path / "run", compute=CPU, jobs=1)
    exported(Logits(net, scale=0.99).eval(), file)
    with pytest.raises(UserError, match="hoose another --out"):
        run_audit(
            chosen.model_copy(update={"attacks": (TINY_ATTACKS["miface"],)}), tmp_path / "run", compute=CPU, jobs=1
        )


@pytest.mark.slow
def test_scores_and_labels_are_attacked_within_a_budget(net: nn.Module, tmp_path: Path) -> None:
    subject = Live(path=hold(Logits(net)), image_size=SIZE, label="mine")
    for access, attack in (("scores", "public-nearest"), ("labels", "brep")):
        chosen = recipe(subject, access=access, attacks=(TINY_ATTACKS[attack],), budget=10)
        with pytest.raises(UserError, match="query budget of 10 images is spent"):
            run_audit(chosen, tmp_path / access, compute=CPU, jobs=1)
        chosen = chosen.model_copy(update={"budget": 10_000_000})
        run_audit(chosen, tmp_path / access, compute=CPU, jobs=1)
        assert Folders(tmp_path / access).attack(attack, "mine", 0).exists()
        assert not find(read_scores(tmp_path / access), defense="mine", metric="zero_gradient_share")
    with pytest.raises(UserError, match="needs white-box access and this model gives score-only"):
        run_audit(recipe(subject, access="scores"), tmp_path / "more", compute=CPU, jobs=1)


def test_a_healthy_model_has_no_findings(net: nn.Module, people: ImageSet) -> None:
    found = doctor(Logits(net), people)
    assert found.healthy
    assert not found.order
    assert found.accuracy > 0.8
    assert set(found.by_identity) == set(people.identities)
    assert found.answers == "logits"
    assert found.differs == 0.0
    assert found.zero_gradients == 0.0


def test_a_program_for_small_batches_is_slow_and_the_doctor_says_so(
    net: nn.Module, people: ImageSet, tmp_path: Path
) -> None:
    for batch, told in ((1, "exported for batches of 1 "), (8, "")):
        program = torch.export.export(Logits(net).eval(), (people.images()[:batch],))
        torch.export.save(program, tmp_path / f"{batch}.pt2")
        subject = parse_subject(str(tmp_path / f"{batch}.pt2")).open()
        found, _ = examine(subject, people, people.identities, "net", no_progress)
        assert found.healthy
        assert [told in one.problem for one in found.findings] == ([True] if told else [])


def test_another_order_of_the_classes_is_found_and_written(net: nn.Module, people: ImageSet) -> None:
    order = [3, 0, 4, 1, 2]
    found = doctor(Logits(net, order=order), people)
    assert not found.healthy
    assert "The classes are in another order than the names" in found.findings[0].problem
    assert found.order == tuple(people.identities[one] for one in order)
    mended = doctor(Logits(net, order=order), people, classes=found.order)
    assert mended.healthy
    assert mended.accuracy == doctor(Logits(net), people).accuracy


def test_a_model_of_another_range_is_found(net: nn.Module, people: ImageSet) -> None:
    signed = Logits(net, scale=0.5, shift=0.5)  # takes images in [-1, 1]
    found = doctor(signed, people)
    assert found.by_normalisation["signed"] > found.by_normalisation["unit"]
    mended = doctor(signed, people, normalise="signed")
    assert mended.accuracy == doctor(Logits(net), people).accuracy
    twice = doctor(Logits(net), people, normalise="bytes")
    assert not twice.healthy
    assert "--normalize unit" in twice.findings[0].remedy
    assert "normalise images by itself" in twice.findings[0].remedy


def test_two_ranges_that_fit_are_both_named(net: nn.Module, people: ImageSet) -> None:
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in Normalise.of("imagenet"))
    found = doctor(Logits(net, scale=std, shift=mean), people)
    assert abs(found.by_normalisation["imagenet"] - found.by_normalisation["clip"]) < 0.1
    given, rivals = found.findings[0].remedy.split(". With ")
    assert given.startswith("Give --normalize ")
    assert "imagenet" in given + rivals
    assert "clip" in given + rivals
    assert "choose what it was trained with" in rivals


class Noisy(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        scores = self.network(images).logits
        return scores + 2 * (self.calls % 3) * torch.arange(scores.shape[1])


def test_answers_that_change_and_gradients_that_vanish_are_told(net: nn.Module, people: ImageSet) -> None:
    told = " ".join(one.problem for one in doctor(Noisy(net), people).findings)
    assert "The same image gets another answer when it is shown again" in told

    class Rounded(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return net((images * 255).round() / 255).logits

    assert "100\u00a0% of the images have no usable gradient" in doctor(Rounded(), people).findings[-1].problem


def test_a_model_that_knows_nobody_is_not_audited(people: ImageSet, tmp_path: Path) -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((1, 2, 3))[:, None] * torch.arange(5.0)

    subject = Live(path=hold(Constant()), image_size=SIZE, label="mine")
    with pytest.raises(UserError, match=r"recognises 20\.0.%.*Are these the people that it was trained on"):
        run_audit(recipe(subject), tmp_path, compute=CPU, jobs=1)
    assert not (tmp_path / "priors").exists()


def test_what_a_refusal_asks_for_can_be_done_in_the_same_folder(net: nn.Module, tmp_path: Path) -> None:
    path = hold(Logits(net, scale=0.5, shift=0.5))  # takes images in [-1, 1]

    def examined(normalise: str | None) -> None:
        chosen = recipe(Live(path=path, image_size=SIZE, label="mine", normalise=normalise))
        run(settle(chosen, tmp_path), tmp_path, only=lambda task: task.kind == "examine", compute=CPU, jobs=1)

    with pytest.raises(UserError, match="Give --normalize signed"):
        examined(None)
    examined("signed")
    assert Folders(tmp_path).model("mine", 0).exists()
    with pytest.raises(UserError, match=r"begun with another recipe: subjects\.mine differ"):
        examined("bytes")


def parquet(images: ImageSet, file: Path) -> Path:
    rows = [{"bytes": to_png(p), "path": o} for p, o in zip(images.pixels, images.origins, strict=True)]
    names = [images.identities[label] for label in images.labels.tolist()]
    pq.write_table(pa.table({"image": rows, "identity": names}), file)
    return file


@pytest.mark.slow
def test_the_doctor_measures_what_one_core_takes(
    net: nn.Module, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def speeds(*_: object) -> dict[str, GeneratorSpeed]:
        seen.append(torch.get_num_threads())
        return {kind: GeneratorSpeed(0.1, 0.001) for kind in ("cgan", "dcgan", "stylegan2", "diffusion")}

    monkeypatch.setattr(import_module("trapmid.recipes.durations"), "generator_speeds", speeds)
    private, model = parquet(people, tmp_path / "private.parquet"), exported(Logits(net).eval(), tmp_path / "net.pt2")
    torch.set_num_threads(2)
    try:
        assert command("doctor", str(model), "--private", str(private), "--device", "cpu") == 0
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)
    assert "one task at a time on one core" in capfd.readouterr().out


@pytest.mark.slow
def test_from_the_command_line(
    net: nn.Module, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    private, public = (
        str(parquet(one, tmp_path / name))
        for one, name in ((people, "private.parquet"), (OTHERS.load(SIZE, 3), "public.parquet"))
    )
    model = str(exported(Logits(net).eval(), tmp_path / "net.pt2"))

    assert command("doctor", model, "--private", private, "--device", "cpu") == 0
    told = capfd.readouterr().out
    assert "white-box access, 5 classes, answers with logits" in told
    assert "quick about" in told
    assert command("audit", model) == 2
    assert "needs --private" in capfd.readouterr().err
    assert command("audit", "--budget", "5") == 2
    assert "describe a MODEL: name it first" in capfd.readouterr().err
    monkeypatch.setattr("trapmid.recipes.given.suitable_judges", lambda *_: (JUDGE,))
    out = str(tmp_path / "run")
    options = ["--private", private, "--public", public, "--out", out, "--attacks", "public-nearest", "--jobs", "1"]
    assert command("audit", model, *options, "--plan") == 0
    told = capfd.readouterr().out
    assert "| attack public-nearest net seed 0 | to do | 0.00 |" in told
    assert not (tmp_path / "run").exists()
    assert command("audit", model, *options, "--fail-above", "attack_accuracy_1=1") == 0
    told = capfd.readouterr().out
    assert "pass: attack_accuracy_1 of net under public-nearest" in told
    assert (tmp_path / "run" / "report.html").exists()
    card = (tmp_path / "run" / "model-card.md").read_text(encoding="utf-8")
    assert card.startswith('---\nmodel-index:\n- name: "net"\n')
    assert '      name: "5 private identities"\n' in card
    assert "| net | Public look-alikes | score |" in card
    assert not [name for name in people.identities if name in card]
    junit = tmp_path / "gates" / "junit.xml"
    assert command("audit", model, *options, "--fail-above", "attack_accuracy_1=-1", "--junit", str(junit)) == 3
    log = tmp_path / "gates.sarif"
    assert command("audit", model, *options, "--sarif", str(log)) == 2
    assert "give --fail-above or --fail-below as well" in capfd.readouterr().err
    assert command("audit", model, *options, "--fail-above", "attack_accuracy_1=-1", "--sarif", str(log)) == 3
    assert '"ruleId": "fail-above/attack_accuracy_1=-1"' in log.read_text(encoding="utf-8")
    assert 'tests="1" failures="1"' in junit.read_text(encoding="utf-8")
    assert "FAIL: attack_accuracy_1 of net under public-nearest" in capfd.readouterr().out


@pytest.mark.slow
def test_two_models_are_compared_by_the_audit_of_one(
    net: nn.Module, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trapmid.console.console.width", 160)
    monkeypatch.setattr("trapmid.recipes.given.suitable_judges", lambda *_: (JUDGE,))
    private = str(parquet(people, tmp_path / "private.parquet"))
    public = str(parquet(OTHERS.load(SIZE, 3), tmp_path / "public.parquet"))
    (tmp_path / "other").mkdir()
    model = str(exported(Logits(net).eval(), tmp_path / "net.pt2"))
    other = str(exported(Logits(net, scale=0.9).eval(), tmp_path / "other" / "net.pt2"))
    options = ["--private", private, "--public", public, "--attacks", "public-nearest", "--jobs", "1"]
    first, second = tmp_path / "first", tmp_path / "second"

    assert command("audit", model, *options, "--out", str(first)) == 0
    assert command("audit", other, *options, "--out", str(second), "--compare", str(first)) == 0
    apart = json.loads((second / "compare.json").read_text(encoding="utf-8"))
    assert apart["notes"] == []  # the judges of both folders have the same weights
    assert not (first / "compare.json").exists()

    made = {path: path.stat().st_mtime_ns for path in first.rglob("*-net-s0/manifest.json")}
    gate = ["--fail-below", "clean_accuracy=0.5", "--redact"]
    assert command("audit", model, *options, "--out", str(first), "--compare", other, *gate) == 0
    told = capfd.readouterr().out
    assert "B: other-net" in told
    assert "pass: clean_accuracy of net is" in told
    assert "clean_accuracy of other-net" not in told  # the gate is for MODEL
    assert made
    assert made == {path: path.stat().st_mtime_ns for path in made}
    together = json.loads((first / "compare.json").read_text(encoding="utf-8"))
    assert {(one["model_a"], one["model_b"]) for one in together["differences"]} == {("net", "other-net")}
    for one in together["differences"]:  # the other way round, and with other names, than `apart`
        (same,) = (
            two for two in apart["differences"] if all(two[name] == one[name] for name in ("attack", "judge", "metric"))
        )
        assert (same["a"], same["b"]) == (one["b"], one["a"])

    assert command("audit", model, *options, "--compare", str(first)) == 2
    assert "has several models: net, other-net. Leave --compare out" in capfd.readouterr().err
    assert command("audit", model, *options, "--compare-weights", model) == 2
    assert "--compare-weights belongs to the model of --compare" in capfd.readouterr().err
    assert command("audit", "--recipe", "demo", "--compare", other) == 2
    assert "describe a MODEL: name it first" in capfd.readouterr().err


@pytest.mark.slow
def test_a_module_in_memory_is_audited_by_one_call(
    net: nn.Module, people: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trapmid.recipes.given.suitable_judges", lambda *_: (JUDGE,))
    module = Logits(net).train()
    private = parquet(people, tmp_path / "private.parquet")
    public = parquet(OTHERS.load(SIZE, 3), tmp_path / "public.parquet")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(people.identities), encoding="utf-8")
    options: dict[str, Any] = {
        "image_size": SIZE,
        "attacks": ("public-nearest",),
        "compute": CPU,
        "classes": str(names),
    }
    report = audit_model(module, private, public, out=tmp_path / "run", **options)
    assert module.training  # a copy was audited
    with pytest.raises(UserError, match="are the same results"):
        compare(report, report)
    assert find(list(report.scores), attack="public-nearest", defense="model", metric="attack_accuracy_1")
    assert report._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    report.show()
    assert shown == [(tmp_path / "run" / "report.html").as_uri()]
