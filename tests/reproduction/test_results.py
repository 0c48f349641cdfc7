"""From scores to a table: the right judge, the right runs, the paper's unit; and once the whole way on drawn faces."""

import csv
import json
import math
from dataclasses import replace

import pytest

from trapmid.artifacts import make
from trapmid.audit.plan import Folders, Task, plan
from trapmid.audit.run import settle
from trapmid.engine import Compute
from trapmid.metrics.intervals import over_seeds
from trapmid.metrics.recognition import GENERATOR_PRIVATE_NEAREST
from trapmid.metrics.scores import Score, find, read_scores, write_scores
from trapmid.reproduction import EXPERIMENTS, command
from trapmid.reproduction.command import SCALES, lay_out, markdown, reproduce
from trapmid.reproduction.results import collect
from trapmid.reproduction.write import write

CPU = Compute("cpu")
SMALL = (
    "private.identities=4",
    "private.images_per_identity=8",
    "public.identities=10",
    "model.start=null",
    "training.epochs=1",
    "training.batch_size=8",
    "training.evaluate_every=1",
    "judges.classifier.training.epochs=1",
    "judges.classifier.training.batch_size=8",
    "attacks.plgmi.warm_start.iterations=2",
    "attacks.plgmi.prior.iterations=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
)


def of(defense, attack, seed, metric, value, judge="classifier"):
    return Score(
        defense=defense,
        attack=attack,
        seed=seed,
        judge=judge,
        metric=metric,
        value=value,
        low=value - 0.1,
        high=value + 0.1,
    )


def pretend(experiment, folder, scores, seeds=(0, 1)):
    """A layout whose single audit has these scores and no artifacts."""
    layout = lay_out([experiment], SCALES["cpu"](), folder, seeds=seeds)
    (study,) = layout.studies
    settle(study.recipe, study.folder)
    (study.folder / "measurement").mkdir()
    write_scores(study.folder / "measurement", scores)
    return layout


def test_means_over_the_runs_and_differences_in_the_papers_unit(tmp_path):
    one = EXPERIMENTS["table1"].keeping(["plgmi"])
    scores = [
        of("trapmid", "plgmi", 0, "attack_accuracy_1", 0.10),
        of("trapmid", "plgmi", 1, "attack_accuracy_1", 0.30),
        of("trapmid", "plgmi", 2, "attack_accuracy_1", 0.90),  # of a seed that is not asked for
        of("trapmid", "plgmi", 0, "attack_accuracy_1", 0.99, judge="somebody"),
        of("trapmid", "-", 0, "clean_accuracy", 0.6, judge="-"),
        of("trapmid", "plgmi", 0, "fid", 12.0),
        of("trapmid", "plgmi", 0, "fid", 99.0, judge="inception"),
    ]
    made = collect(one, pretend(one, tmp_path, scores), tmp_path, "cpu", ())
    entries = {(entry.row, entry.metric): entry for entry in made.entries}
    assert len(entries) == 5 * len(one.columns)
    attacked = entries["trapmid", "attack_accuracy_1"]
    assert (attacked.value, attacked.low, attacked.high) == pytest.approx(tuple(over_seeds([0.1, 0.3])))
    assert (attacked.judge, attacked.seeds) == ("classifier", (0, 1))
    assert attacked.difference == pytest.approx(20.0 - 6.3)
    alone = entries["trapmid", "clean_accuracy"]
    assert (alone.value, alone.low, alone.seeds) == (0.6, 0.5, (0,))
    assert alone.difference == pytest.approx(60 - 81.37)
    assert entries["trapmid", "fid"].value == 12.0  # no fidelity network is part of the recipe
    blank = entries["none", "attack_accuracy_1"]
    assert math.isnan(blank.value)
    assert math.isnan(blank.difference)
    assert blank.published.value == 95.81
    assert entries["mid", "fid"].published is None
    text = markdown(made)
    assert "| Trap-MID | PLG-MI | 60.0 (50.0 to 70.0) | 81.37 | -21.4 | 20.0 (" in text
    assert "| Unprotected | PLG-MI |  | 86.21 |  |  | 95.81 |  |" in text
    assert "standard deviation 5.6" in text


def test_a_fidelity_network_gives_the_measures_of_sets(tmp_path):
    one = EXPERIMENTS["figure2"]
    one = replace(one, columns=("fid", "attack_accuracy_1"))
    layout = lay_out([one], SCALES["cpu"](), tmp_path, seeds=(0,), changes=['fidelity={"kind": "inception"}'])
    (study,) = layout.studies
    settle(study.recipe, study.folder)
    (study.folder / "measurement").mkdir()
    scores = [
        of("none", "plgmi", 0, "fid", 12.0),
        of("none", "plgmi", 0, "fid", 99.0, judge="inception"),
        of("none", "plgmi", 0, "attack_accuracy_1", 0.4),
    ]
    write_scores(study.folder / "measurement", scores)
    made = collect(one, layout, tmp_path, "cpu", ())
    judged = {entry.metric: (entry.value, entry.judge) for entry in made.entries if entry.row == "none"}
    assert judged == {"fid": (99.0, "inception"), "attack_accuracy_1": (0.4, "classifier")}


def test_a_distance_that_papers_name_by_its_judge(tmp_path):
    one = EXPERIMENTS["table11"]
    scores = [
        of("none", "plgmi", 0, "knn_distance", 3.0),
        of("none", "plgmi", 0, "knn_distance", 0.9, judge="embedder"),
    ]
    made = collect(one, pretend(one, tmp_path, scores), tmp_path, "cpu", ())
    values = {entry.metric: entry.value for entry in made.entries if entry.row == "none"}
    assert (values["delta_face"], values["delta_eval"]) == (0.9, 3.0)


def test_generators_of_their_own_and_the_priors(tmp_path):
    """GMI trains none, so its row is the floor's; what PLG-MI's would be is never made up from that."""
    one = EXPERIMENTS["table3"]
    scores = [
        of("trapmid", "plgmi", 0, GENERATOR_PRIVATE_NEAREST.name, 0.6),
        of("trapmid", "plgmi", 0, "private_nearest_share", 0.7),
        of("-", "prior:dcgan", None, "private_nearest_share", 0.4),
        of("-", "prior:cgan", None, "private_nearest_share", 0.3),
    ]
    made = collect(one, pretend(one, tmp_path, scores, seeds=(0,)), tmp_path, "cpu", ())
    values = {(entry.row, entry.metric): (entry.value, entry.low) for entry in made.entries}
    assert values["trapmid", GENERATOR_PRIVATE_NEAREST.name] == (0.6, 0.5)
    assert values["trapmid", "private_nearest_share"][0] == 0.7
    assert values["gmi", GENERATOR_PRIVATE_NEAREST.name][0] == 0.4
    assert math.isnan(values["none", GENERATOR_PRIVATE_NEAREST.name][0])
    assert "| GMI's generator | GMI | 40.0" in markdown(made)


def test_attacks_that_kept_no_generator_are_named(tmp_path):
    one = EXPERIMENTS["table3"]
    layout = pretend(one, tmp_path, [], seeds=(0,))
    (study,) = layout.studies
    for task in study.tasks:
        if task.kind == "attack" and task.defense in ("none", "trapmid"):
            make(Folders(study.folder).of(task), "attack", {}, {}, lambda draft: draft.finish([], {}, 1.0, 1.0))
    made = collect(one, layout, tmp_path, "cpu", ("something else",))
    folder = study.folder.name
    assert made.differs[1].endswith(
        f"remove {folder}/attacks/plgmi/trapmid-s0, {folder}/attacks/plgmi/none-s0 and run the same command again"
    )
    assert collect(EXPERIMENTS["table1"], layout_of("table1", tmp_path), tmp_path, "cpu", ()).differs == ()


def layout_of(name, folder):
    return lay_out([EXPERIMENTS[name]], SCALES["cpu"](), folder, seeds=(0,))


def test_worst_and_best_runs(tmp_path):
    one = EXPERIMENTS["table10"].keeping(["plgmi"])
    scores = [
        of(defense, "plgmi", seed, metric, value + extra)
        for metric, extra in (("attack_accuracy_1", 0.0), ("attack_accuracy_5", 0.2))
        for defense, values in (("trapmid", (0.1, 0.3)), ("mid", (0.7, 0.5)))
        for seed, value in enumerate(values)
    ] + [of("trapmid", "-", seed, "clean_accuracy", value, "-") for seed, value in enumerate((0.8, 0.6))]
    made = collect(one, pretend(one, tmp_path, scores), tmp_path, "cpu", ())
    entries = {(entry.row, entry.metric): entry for entry in made.entries}
    worst = [entries["trapmid worst", metric].value for metric in one.columns[:3]]
    assert worst == [0.6, 0.3, 0.5]
    assert entries["trapmid worst", "attack_accuracy_1"].seeds == (1,)
    assert [entries["mid best", metric].value for metric in one.columns[1:3]] == [0.5, 0.7]
    assert entries["trapmid worst", "attack_accuracy_1"].published.value == 15.8


def test_nothing_measured_leaves_a_blank_table(tmp_path):
    one = EXPERIMENTS["table11"]
    made = collect(one, lay_out([one], SCALES["cpu"](), tmp_path), tmp_path, "cpu", ("something",))
    assert all(math.isnan(entry.value) for entry in made.entries)
    write(made, tmp_path / "table11")
    values = json.loads((tmp_path / "table11" / "reproduction.json").read_text())["entries"]
    assert {entry["value"] for entry in values} == {None}
    assert "- something" in (tmp_path / "table11" / "reproduction.md").read_text()


@pytest.mark.slow
def test_the_whole_way_on_drawn_faces(tmp_path, monkeypatch):
    figure = EXPERIMENTS["figure5"]
    one = replace(figure, name="small", also=("figure5",), rows=figure.rows[:2], pictures=2)
    times = replace(EXPERIMENTS["table9"], rows=EXPERIMENTS["table9"].rows[:1])
    scale = SCALES["cpu"]()
    layout = lay_out([one, times], scale, tmp_path, changes=SMALL)
    made, timed = reproduce([one, times], scale, layout, tmp_path, compute=CPU, jobs=1)

    for entry in made.entries:
        row = next(row for row in one.rows if row.key == entry.row)
        cell = layout.sources["small", row]
        attack = "-" if entry.metric == "clean_accuracy" else "plgmi"
        scores = read_scores(cell.folder)
        (score,) = find(scores, defense=cell.defense, attack=attack, seed=0, metric=entry.metric)
        assert (entry.value, entry.judge) == (score.value, score.judge)
        factor = 1 if entry.metric in ("knn_distance", "fid") else 100
        assert entry.difference == pytest.approx(factor * score.value - entry.published.value)
    assert len(made.entries) == 10
    assert timed.entries[0].value > 0
    assert made.seconds > 0
    first, second = layout.studies
    judges = [(study.folder / "judges" / "classifier" / "manifest.json").read_text() for study in (first, second)]
    assert judges[0] == judges[1]  # trained once
    assert (first.folder / "report.html").exists()

    folder = tmp_path / "small"
    page = (folder / "reproduction.md").read_text()
    for picture in ("reconstructions.png", "chart.svg"):
        assert (folder / picture).exists()
        assert f"]({picture})\n" in page
    assert "from top to bottom private, Unprotected, No augmentation" in (folder / "reproduction.md").read_text()
    rows = list(csv.DictReader((folder / "reproduction.csv").read_text().splitlines()))
    assert len(rows) == len(made.entries)
    by_hand = {(entry.row, entry.metric): entry for entry in made.entries}["none", "attack_accuracy_1"]
    (line,) = (row for row in rows if (row["row"], row["metric"]) == ("none", "attack_accuracy_1"))
    assert float(line["value"]) == pytest.approx(100 * by_hand.value)
    assert (line["published"], line["provenance"]) == ("95.2", "figure")

    monkeypatch.setattr(command, "run", None)  # a second time there is nothing left to run
    assert (
        reproduce([times], scale, lay_out([times], scale, tmp_path, changes=SMALL), tmp_path, compute=CPU, jobs=1)[0]
        == timed
    )


def test_models_alone_can_be_measured(tmp_path):
    times = replace(EXPERIMENTS["table9"], rows=EXPERIMENTS["table9"].rows[:1])
    scale = SCALES["cpu"]()
    layout = lay_out([times], scale, tmp_path, changes=SMALL)
    (study,) = layout.studies
    assert {task.kind for task in study.tasks} == {"train", "judge"}
    (made,) = reproduce([times], scale, layout, tmp_path, compute=CPU, jobs=1, redact=True)
    assert not study.folder.joinpath("attacks").exists()
    assert [not math.isnan(entry.value) for entry in made.entries] == [True, True, False]
    assert Task("measure") in plan(study.recipe)
