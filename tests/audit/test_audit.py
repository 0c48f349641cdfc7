"""The whole way: train, attack, measure, report.

Skipping what is done, refusing what does not fit, resuming what was killed.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.real_faces import PRIVATE, PUBLIC, needs_real_faces
from trapmid import cli
from trapmid.attacks import Distilled, Evading
from trapmid.audit.loading import load_data
from trapmid.audit.measuring import Measuring, Panels
from trapmid.audit.plan import Folders, Task, plan, with_needs
from trapmid.audit.run import default_jobs, measure_finished, run, settle
from trapmid.engine import Compute, no_progress
from trapmid.manifests import open_artifact
from trapmid.metrics.embedders import FaceEmbedder
from trapmid.metrics.inception import Inception, InceptionFeatures
from trapmid.metrics.recognition import GENERATOR_PRIVATE_NEAREST
from trapmid.metrics.scores import read_scores
from trapmid.models import Tiny
from trapmid.recipes import choose_recipe
from trapmid.report.sheet import GAP
from trapmid.report.write import write_report
from trapmid.types import UserError

SMALL = (
    "private.identities=4",
    "private.images_per_identity=12",
    "public.identities=20",
    "model.start.batch_size=16",
    "training.epochs=2",
    "training.batch_size=32",
    "training.evaluate_every=1",
    "judges.classifier.training.epochs=1",
    "attacks.plgmi.warm_start.iterations=4",
    "attacks.plgmi.warm_start.log_every=2",
    "attacks.plgmi.prior.iterations=4",
    "attacks.plgmi.prior.log_every=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
    "robustness.images=8",
    "robustness.steps=2",
)
CPU = Compute("cpu")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("audit")
    recipe = settle(choose_recipe("demo", changes=SMALL), out)
    run(recipe, out, compute=CPU, jobs=1)
    return out, recipe


def test_the_plan_orders_every_task_after_what_it_needs():
    tasks = list(plan(choose_recipe("celeba64-cpu")))
    needs = plan(choose_recipe("celeba64-cpu"))
    assert len({task.name for task in tasks}) == len(tasks)
    for number, task in enumerate(tasks):
        assert set(needs[task]) <= set(tasks[:number])
    attack = Task("attack", "plgmi", "trapmid", 1)
    assert [task.name for task in with_needs([attack], needs)] == [
        *(f"prior {name}" for name in choose_recipe("celeba64-cpu").priors()),
        "train trapmid seed 1",
        attack.name,
    ]


def test_an_audit_leaves_scores_for_every_cell_with_floor_and_ceiling(audited):
    out, _ = audited
    scores = read_scores(out)
    rows = {(s.defense, s.attack, s.metric) for s in scores}
    for defense in ("none", "trapmid"):
        assert (defense, "-", "clean_accuracy") in rows
        for metric in ("attack_accuracy_1", "attack_accuracy_5", "attack_accuracy_1_accepted", "knn_distance", "fid"):
            assert (defense, "plgmi", metric) in rows
        facts = open_artifact(out / "attacks" / "plgmi" / f"{defense}-s0", "attack").facts
        queries = {s.value for s in scores if (s.defense, s.attack, s.metric) == (defense, "plgmi", "queries")}
        assert queries == {facts["queries"]}
    assert ("trapmid", "-", "trapdoor_success") in rows
    assert ("none", "-", "trapdoor_success") not in rows
    assert {("trapmid", "plgmi", f"detection_{metric}") for metric in ("auc", "recall", "score")} <= rows
    assert {("trapmid", name, "detection_dsr") for name in ("apgd-linf", "apgd-l2")} <= rows
    assert not {metric for defense, _, metric in rows if defense == "none" and metric.startswith("detection")}
    assert {("-", name, "attack_accuracy_1") for name in ("real", "prior:cgan", "public")} <= rows
    assert {("-", name, "private_nearest_share") for name in ("real", "prior:cgan")} <= rows
    assert {(defense, "plgmi", GENERATOR_PRIVATE_NEAREST.name) for defense in ("none", "trapmid")} <= rows
    assert ("-", "prior:cgan", "outside_range_share") in rows
    assert ("trapmid", "triggers-alone", "attack_accuracy_1") in rows
    assert ("none", "triggers-alone", "attack_accuracy_1") not in rows
    assert {("none", "-", m) for m in ("calibration_error", "robust_accuracy_8_255", "zero_gradient_share")} <= rows
    assert all(0 <= s.value <= 1 for s in scores if "accuracy" in s.metric and "corrected" not in s.metric)


def test_models_and_triggers_lie_apart(audited):
    out, _ = audited
    assert not list((out / "models").rglob("secrets*"))
    secret = out / "secrets" / "trapmid-s0" / "secrets.safetensors"
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["secrets.safetensors", "deeper/secrets.safetensors"])
def test_a_model_that_holds_its_own_secrets_is_refused_by_attack(audited, tmp_path, monkeypatch, capfd, name):
    out = tmp_path / "run"
    shutil.copytree(audited[0], out)
    shutil.rmtree(out / "attacks" / "plgmi" / "trapmid-s0")
    within = out / "models" / "trapmid-s0" / name
    within.parent.mkdir(exist_ok=True)
    shutil.copy(out / "secrets" / "trapmid-s0" / "secrets.safetensors", within)
    command = [
        "trapmid",
        "attack",
        "--out",
        str(out),
        "--attack",
        "plgmi",
        "--defense",
        "trapmid",
        "--device",
        "cpu",
        "--jobs",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    told = " ".join(capfd.readouterr().err.split())
    assert "lies within the model's folder: whoever gets the model gets its trapdoor" in told
    assert not list((out / "attacks" / "plgmi").glob("trapmid-s0*"))
    within.unlink()
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert (out / "attacks" / "plgmi" / "trapmid-s0" / "manifest.json").exists()


def test_a_second_run_makes_nothing_anew(audited):
    out, recipe = audited
    before = {file: file.stat().st_mtime_ns for file in out.rglob("manifest.json")}
    run(recipe, out, compute=CPU, jobs=1)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("manifest.json")} == before


def test_the_report_shows_both_defenses_and_redacts(audited):
    out, recipe = audited
    page = write_report(out).read_text()
    assert "Trap-MID" in page
    assert "Unprotected" in page
    assert 'id="detection"' in page
    assert "ROC, Trap-MID, seed 0" in page
    redacted = write_report(out, redact=True, to=out / "redacted.html").read_text()
    assert len(redacted) < len(page)
    figures = {file.name: file.read_bytes() for file in (out / "report-figures").iterdir()}
    assert {"accuracy.svg", "accuracy.csv", "tradeoff.svg", "roc-01-trap-mid-seed-0.csv"} <= figures.keys()
    hidden = {file.name: file.read_bytes() for file in (out / "redacted-figures").iterdir()}
    sheets = [np.array(Image.open(io.BytesIO(files.pop("pictures.png")))) for files in (figures, hidden)]
    assert figures == hidden
    assert np.array_equal(
        sheets[0][-len(sheets[1]) :], sheets[1]
    )  # the same but for the first row, the private images'
    assert len(sheets[0]) - len(sheets[1]) == recipe.image_size + GAP


def test_a_judge_tells_the_part_that_is_measured_and_not_the_first(audited):
    out, recipe = audited
    recipe = recipe.model_copy(update={"judges": (FaceEmbedder(),), "fidelity": None})
    data, told, panels = load_data(recipe, no_progress), ([], []), Panels()
    for heard in told:
        tell = lambda *message, to=heard: to.append(message)  # noqa: E731
        panel = Measuring(recipe, data, Folders(out), CPU, tell, panels).panel()
        before = len(heard)
        panel.judges[0].opinion(data.private.part("val").pixels)
        assert len(heard) > before


def test_seeds_join_a_folder_and_other_settings_do_not(audited):
    out, recipe = audited
    copy = out.with_name(out.name + "-joined")
    copy.mkdir()
    (copy / "recipe.json").write_text((out / "recipe.json").read_text())
    assert settle(choose_recipe("demo", changes=SMALL, seeds=(3,)), copy).seeds == (0, 3)
    with pytest.raises(UserError, match="image_size differ"):
        settle(choose_recipe("demo", changes=(*SMALL, "image_size=16")), copy)
    with pytest.raises(UserError, match=r"defenses\.trapmid differ"):
        settle(choose_recipe("demo", changes=(*SMALL, "defenses.trapmid.weight=0.9")), copy)
    with pytest.raises(UserError, match="no such task"):
        run(recipe, out, only=lambda task: task.seed == 99, compute=CPU, jobs=1)


@pytest.mark.slow
def test_fidelity_joins_a_finished_folder_and_only_measures_again(audited, tmp_path, monkeypatch):
    out, _ = audited
    shutil.copytree(out, tmp_path / "run")
    recipe = settle(choose_recipe("demo", changes=(*SMALL, 'fidelity={"kind": "inception"}')), tmp_path / "run")
    assert settle(choose_recipe("demo", changes=SMALL), tmp_path / "run").fidelity == recipe.fidelity == Inception()
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    monkeypatch.setattr(
        Inception, "build", lambda self, compute, progress: InceptionFeatures(network, compute.torch_device)
    )
    measure_finished(recipe, tmp_path / "run", compute=CPU, jobs=1)
    scores = read_scores(tmp_path / "run")
    rows = {(s.defense, s.attack, s.metric) for s in scores if s.judge == "inception"}
    assert {(d, "plgmi", m) for d in ("none", "trapmid") for m in ("fid", "kid")} <= rows
    assert {("-", name, "kid") for name in ("real", "prior:cgan", "public")} <= rows
    assert {s.judge for s in scores if s.metric == "attack_accuracy_1"} == {"classifier"}
    assert "inception" in write_report(tmp_path / "run").read_text()


def test_robustness_can_be_left_out_of_a_finished_folder(audited, tmp_path):
    out, _ = audited
    shutil.copytree(out, tmp_path / "run")
    recipe = settle(choose_recipe("demo", changes=(*SMALL[:-2], "robustness=null")), tmp_path / "run")
    measure_finished(recipe, tmp_path / "run", compute=CPU, jobs=1)
    metrics = {s.metric for s in read_scores(tmp_path / "run")}
    assert "calibration_error" in metrics
    assert not any(metric.startswith("robust_accuracy") for metric in metrics)


@pytest.mark.slow
def test_an_attacker_who_knows_joins_where_there_is_a_trapdoor(audited):
    out, recipe = audited
    copy = out.with_name(out.name + "-adaptive")
    shutil.copytree(out, copy)
    assert "No attack in this audit knew of the defense" in write_report(copy).read_text()
    (base,) = recipe.attacks
    before = {file.parent.name: file.stat().st_mtime_ns for file in (copy / "measured").rglob("manifest.json")}
    knowing = (Evading(base=base), Distilled(base=base, student=Tiny(), steps=2, batch_size=8))
    joined = settle(recipe.model_copy(update={"attacks": knowing}), copy)
    attacks = {(task.member, task.defense) for task in plan(joined) if task.kind == "attack"}
    assert ("evading-plgmi", "trapmid") in attacks
    assert ("evading-plgmi", "none") not in attacks
    run(joined, copy, compute=CPU, jobs=1)
    after = {file.parent.name: file.stat().st_mtime_ns for file in (copy / "measured").rglob("manifest.json")}
    assert {name for name, when in before.items() if after[name] != when} == {
        "detection-trapmid-s0",
        "detection-onepass+negls-s0",
    }
    assert {"evading-plgmi-trapmid-s0", "distilled-plgmi-none-s0"} <= after.keys() - before.keys()
    scores = {(s.defense, s.attack, s.metric): s for s in read_scores(copy) if s.seed == 0}
    assert ("trapmid", "evading-plgmi", "attack_accuracy_1") in scores
    assert ("none", "distilled-plgmi", "attack_accuracy_1") in scores
    delta, epsilon = scores["trapmid", "-", "trapdoor_delta"], scores["trapmid", "-", "trapdoor_epsilon"]
    assert delta.low <= delta.value <= delta.high
    assert epsilon.low <= epsilon.value <= epsilon.high
    manifest = copy / "attacks" / "distilled-plgmi" / "trapmid-s0" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["facts"]["notes"]["surrogate_agreement"] = 0.31
    manifest.write_text(json.dumps(facts))
    page = re.sub(r"[ \n]+", " ", write_report(copy).read_text())
    assert "PLG-MI (detector evasion)" in page
    assert "score access, 5 reconstructions per identity, knows the defense" in page
    assert "agrees with it on only 31\u00a0% of the held-out public images" in page
    assert "No attack in this audit knew of the defense" not in page


def test_interrupted_in_an_attack_and_run_again_it_ends_with_the_same_scores(audited, tmp_path):
    out, recipe = audited
    again = tmp_path / "run"
    shutil.copytree(out, again)
    for made in ("attacks/plgmi/trapmid-s0", "measured/plgmi-trapmid-s0", "measurement"):
        shutil.rmtree(again / made)
    (again / "scores.json").unlink()

    def interrupt(task: str, done: int, total: int | None, note: str) -> None:
        if "search" in task:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, again, compute=CPU, jobs=1, progress=interrupt)
    assert (again / "attacks" / "plgmi" / "trapmid-s0.partial").exists()
    assert not (again / "scores.json").exists()
    run(recipe, again, compute=CPU, jobs=1)
    assert json.loads((again / "scores.json").read_text()) == json.loads((out / "scores.json").read_text())


@pytest.mark.slow
def test_killed_with_its_workers_and_run_again_it_ends_with_the_same_scores(audited, tmp_path):
    out, _ = audited
    command = [
        sys.executable,
        "-m",
        "trapmid",
        "audit",
        "--recipe",
        "demo",
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
    ]
    command += ["--jobs", "2", "--set", *SMALL]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run" / "priors").glob("cgan-??????")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "run" / "scores.json").exists()
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == json.loads((out / "scores.json").read_text())


@pytest.mark.slow
@needs_real_faces
def test_real_faces_go_the_whole_way(tmp_path):
    public = tmp_path / "public.parquet"
    with pq.ParquetFile(PUBLIC) as everybody:
        pq.write_table(everybody.read_row_groups([0, 1, 2]), public)
    recipe = choose_recipe(
        "celeba64-cpu",
        private=PRIVATE,
        public=public,
        identities=10,
        seeds=(0,),
        attacks=("plgmi",),
        changes=(
            "training.epochs=6",
            "judges.classifier.training.epochs=1",
            "attacks.plgmi.warm_start.iterations=6",
            "attacks.plgmi.warm_start.log_every=3",
            "attacks.plgmi.prior.iterations=6",
            "attacks.plgmi.prior.log_every=3",
            "attacks.plgmi.search_steps=3",
            "robustness.images=8",
            "robustness.steps=2",
        ),
    )
    out = tmp_path / "run"
    run(settle(recipe, out), out, compute=CPU, jobs=1)
    scores = {(s.defense, s.attack, s.judge, s.metric): s.value for s in read_scores(out)}
    assert scores["none", "-", "-", "clean_accuracy"] > 0.2  # chance is 0.1
    assert scores["-", "real", "embedder", "attack_accuracy_1"] > 0.95
    assert scores["-", "prior:cgan", "embedder", "attack_accuracy_1"] < 0.3


def test_a_process_that_may_use_one_core_runs_one_task_at_a_time(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert default_jobs(CPU) == 1
