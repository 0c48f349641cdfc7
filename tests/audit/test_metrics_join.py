"""A metric from outside joins a finished run folder: it is measured without the rest, and shown everywhere."""

import shutil
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from helpers.old_runs import unpack_run
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import measure_finished, run, settle
from trapmid.catalogue import import_members
from trapmid.console import print_scores
from trapmid.engine import Compute
from trapmid.metrics import Interval, JudgedImages, Measured, Metric, Score, Unit, read_scores, register, table
from trapmid.metrics.judges import ClassifierJudge
from trapmid.recipes import choose_recipe
from trapmid.report.write import write_report
from trapmid.reproduction.command import EXPERIMENTS, SCALES, lay_out, markdown
from trapmid.reproduction.results import collect

CPU = Compute("cpu")
PLUGIN = Path(__file__).parents[2] / "examples" / "plugin" / "src"
SMALL = (
    "private.identities=4",
    "private.images_per_identity=8",
    "public.identities=8",
    "model.start.batch_size=8",
    "public.images_per_identity=2",
    "training.epochs=1",
    "training.batch_size=8",
    "judges.classifier.training.batch_size=8",
    "training.evaluate_every=1",
    "judges.classifier.training.epochs=1",
    "attacks.plgmi.warm_start.iterations=2",
    "attacks.plgmi.prior.iterations=2",
    "attacks.plgmi.search_steps=2",
    "attacks.plgmi.candidates=6",
    "robustness=null",
)


def brightness(version: int) -> Metric[JudgedImages]:
    """How bright images are, by the sum of their pixels, which takes no judge."""

    def compute(evidence: JudgedImages) -> Iterator[Measured]:
        mean = version * float(evidence.pixels.double().mean()) / 1000
        yield Measured(Interval(mean, mean, mean))

    return Metric(
        name="brightness",
        title="Brightness",
        unit=Unit.SHARE,
        better="neither",
        of=JudgedImages,
        compute=compute,
        about="How bright images are.",
        version=version,
    )


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_registered", {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    out = tmp_path_factory.mktemp("finished") / "run"
    recipe = settle(choose_recipe("demo", defenses=("none", "trapmid"), changes=SMALL), out)
    run(recipe, out, compute=CPU, jobs=1)
    return out, recipe


def of_others(out: Path) -> list[Score]:
    return [score for score in read_scores(out) if score.metric != "brightness"]


def made(out: Path) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in (out / "measured").rglob("manifest.json")}


@pytest.mark.slow
def test_it_is_measured_alone_and_shown_everywhere(
    finished: tuple[Path, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, recipe = tmp_path / "run", finished[1]
    shutil.copytree(finished[0], out)
    before, there = of_others(out), made(out)
    register(brightness(1))
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierJudge, "opinion", None)  # nothing that a judge decides is computed again
        run(recipe, out, compute=CPU, jobs=1)
    assert of_others(out) == before
    bright = {(score.defense, score.attack) for score in read_scores(out) if score.metric == "brightness"}
    assert bright == {
        *(("-", frame) for frame in ("real", "public", "prior:cgan")),
        *((defense, "plgmi") for defense in ("none", "trapmid")),
        ("trapmid", "triggers-alone"),
    }
    after = made(out)
    assert {name for name, when in there.items() if after[name] == when} == {"model-none-s0", "detection-trapmid-s0"}

    assert "Brightness" in write_report(out).read_text()
    shown = StringIO()
    monkeypatch.setattr("trapmid.console.console", Console(file=shown, width=200))
    print_scores(out)
    assert "Brightness %" in shown.getvalue()

    run(recipe, out, compute=CPU, jobs=1)
    assert made(out) == after


@pytest.mark.slow
def test_another_version_of_it_is_measured_anew(finished: tuple[Path, Recipe], tmp_path: Path) -> None:
    out, recipe = tmp_path / "run", finished[1]
    shutil.copytree(finished[0], out)
    values = []
    for version in (1, 2):
        table._registered.clear()
        register(brightness(version))
        measure_finished(recipe, out, compute=CPU, jobs=1)
        values.append([score.value for score in read_scores(out) if score.metric == "brightness"])
    assert values[1] == pytest.approx([2 * value for value in values[0]])
    table._registered.clear()
    measure_finished(recipe, out, compute=CPU, jobs=1)
    assert of_others(out) == read_scores(out) == read_scores(finished[0])


@pytest.mark.slow
def test_it_is_measured_side_by_side(
    finished: tuple[Path, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that lack nothing but a metric are measured in worker processes, as those that are not measured at all."""
    out, recipe = tmp_path / "run", finished[1]
    shutil.copytree(finished[0], out)
    before, there = read_scores(out), made(out)
    monkeypatch.setattr(sys, "path", [*sys.path, str(PLUGIN)])
    import_members(["trapmid_example.metric:MEAN_IMAGE_DISTANCE"])
    told: list[str] = []
    measure_finished(recipe, out, compute=CPU, jobs=2, progress=lambda task, *_: told.append(task))
    started = {task.removesuffix(": start a worker") for task in told if task.endswith("start a worker")}
    assert started == {"measure floors", "measure trapmid seed 0"}
    assert [score for score in read_scores(out) if score.metric != "mean_image_distance"] == before
    assert len(read_scores(out)) > len(before)
    after = made(out)
    assert {name for name, when in there.items() if after[name] == when} == {"model-none-s0", "detection-trapmid-s0"}
    measure_finished(recipe, out, compute=CPU, jobs=2)
    assert made(out) == after


def test_it_is_a_column_of_a_reproduction(tmp_path: Path) -> None:
    register(brightness(1))
    one = EXPERIMENTS["figure2"]
    made = collect(one, lay_out([one], SCALES["cpu"](), tmp_path), tmp_path, "cpu", ())
    assert made.columns == (*one.columns, "brightness")
    assert "Brightness %" in markdown(made.model_copy(update={"columns": ("brightness",)}))


@pytest.mark.slow
def test_a_folder_of_the_version_before_is_measured_to_the_same_numbers(tmp_path: Path) -> None:
    out = unpack_run(tmp_path)
    before = read_scores(out)
    measure_finished(settle(None, out), out, compute=CPU, jobs=1)
    after = {(s.defense, s.attack, s.seed, s.judge, s.metric): s for s in read_scores(out)}
    for old in before:
        new = after[old.defense, old.attack, old.seed, old.judge, old.metric]
        assert (new.value, new.low, new.high) == pytest.approx(
            (old.value, old.low, old.high), rel=1e-4, abs=1e-4, nan_ok=True
        )
