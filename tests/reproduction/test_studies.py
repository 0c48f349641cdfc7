"""Every experiment at every scale: recipes that hold, cells that are shared, plans that say what they take.

Mistakes are told.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trapmid.audit import Folders, Recipe, Task, plan
from trapmid.audit.run import settle
from trapmid.augment import NoAugmentation
from trapmid.data import FlatFolderSource
from trapmid.data.celeba import CelebASource
from trapmid.manifests import MANIFEST
from trapmid.models import VGG16, Tiny
from trapmid.reproduction import EXPERIMENTS
from trapmid.reproduction.command import SCALES, chosen, lay_out, listing, planned
from trapmid.reproduction.estimate import estimate, weights
from trapmid.reproduction.experiment import ExperimentRow, column
from trapmid.reproduction.scale import Images
from trapmid.reproduction.studies import adopt
from trapmid.reproduction.write import plan_text
from trapmid.types import UserError

OUT = Path("out")
UNMEASURED = {"apgd-linf", "apgd-l2"}
PAPERS = [f"table{n}" for n in range(1, 21)] + [f"figure{n}" for n in (2, 3, 5, 6)]


def test_every_table_and_figure_of_the_paper_is_there():
    assert set(PAPERS) <= set(EXPERIMENTS)
    for name, one in EXPERIMENTS.items():
        assert one.name == name
        assert name in listing()
        assert all(column(key).title for key in one.columns)
        assert set(one.also) <= set(EXPERIMENTS)
        assert len({(row.key, row.attack) for row in one.rows}) == len(one.rows)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_plans(name, scale):
    one, of = EXPERIMENTS[name], SCALES[scale]()
    layout = lay_out([one], of, OUT)
    assert len({study.folder for study in layout.studies}) == len(layout.studies)
    for study in layout.studies:
        assert Recipe.model_validate_json(study.recipe.model_dump_json()) == study.recipe
        assert set(study.tasks) <= set(plan(study.recipe))
        assert any(task.kind in ("train", "attack") for task in study.tasks)
    told = planned([one], of, layout, 2)
    assert one.title in told
    assert f"{of.unit} hours" in told
    assert "critical path" in told
    assert "GiB" in told
    assert all(line in told for line in of.differs(one))
    tasks = {study.folder: study.tasks for study in layout.studies}
    for row in one.rows:
        cell = layout.sources[name, row]
        for seed in cell.seeds:
            assert Task("train", defense=cell.defense, seed=seed) in tasks[cell.folder]
            if row.attack != "-" and row.attack not in UNMEASURED:
                assert Task("attack", cell.attack, cell.defense, seed) in tasks[cell.folder]


@pytest.mark.parametrize("scale", SCALES)
def test_experiments_together_share_their_cells(scale):
    of, everything = SCALES[scale](), tuple(EXPERIMENTS.values())
    together = lay_out(everything, of, OUT)
    for one in everything:
        alone = lay_out([one], of, OUT)
        assert all(together.sources[key] == cell for key, cell in alone.sources.items())
    main = next(cell for (name, row), cell in together.sources.items() if name == "table1" and row.defense == "trapmid")
    (study,) = (study for study in together.studies if study.folder == main.folder)
    own = study.recipe.defense("trapmid").blend.end
    same = [
        cell.folder == main.folder and cell.defense == "trapmid"
        for (name, row), cell in together.sources.items()
        if (name, row.key) in {("table7", f"alpha={own:g}"), ("figure5", "crop-flip-rot"), ("figure3", "trapmid")}
    ]
    assert all(same)
    assert len(same) > 3
    tasks = [(study.folder, task) for study in together.studies for task in study.tasks]
    assert len(set(tasks)) == len(tasks)


def test_the_papers_constants_reach_the_recipes():
    of = SCALES["paper"]()

    def recipe(name: str, key: str) -> Recipe:
        one = EXPERIMENTS[name]
        layout = lay_out([replace(one, rows=tuple(row for row in one.rows if row.key == key))], of, OUT)
        (study,) = layout.studies
        return study.recipe

    negls = recipe("table1", "negls").training
    assert (negls.epochs, negls.batch_size, negls.optimizer.rate, negls.schedule) == (100, 128, 1e-3, "steps")
    assert (negls.augmentation, negls.flip) == (NoAugmentation(), 0.5)
    stacked = recipe("table17", "trapmid+negls")
    assert (stacked.training.epochs, stacked.training.augmentation.rotation_degrees) == (100, 30)
    assert [part.kind for part in stacked.defenses[0].parts] == ["trapmid", "negls"]
    bido = recipe("table1", "bido").training
    assert (bido.epochs, bido.batch_size, bido.optimizer.rate, bido.optimizer.weight_decay) == (50, 64, 1e-4, 0)
    assert recipe("table13", "trapmid").training.epochs == 40
    assert recipe("table12", "mid").defenses[0].width == 512
    tuned = recipe("table19", "resnet152 tuned")
    assert (tuned.defenses[0].blend.end, tuned.defenses[0].weight, tuned.image_size) == (0.007, 0.5, 224)
    main = recipe("table1", "trapmid")
    assert main.seeds == (0, 1, 2, 3, 4)
    assert main.training.keep == "test"
    assert {attack.name: attack.search_steps for attack in main.attacks} == {"gmi": 1500, "kedmi": 1500, "plgmi": 600}


def test_hours_at_scale_paper_rest_on_the_throughput_of_the_published_training():
    """As docs/reproduction.md says it: 12 TFLOP/s, near the 10 at which attacks are counted."""
    with torch.device("meta"):
        network, images = VGG16().network(1000, 64, 3), torch.rand(2, 3, 64, 64)
    with FlopCounterMode(display=False) as counter:
        network(images).logits.sum().backward()
    of_image = counter.get_total_flops() / len(images)
    cost = SCALES["paper"]().cost(EXPERIMENTS["table1"].rows[0].target)
    seconds = cost.plain * cost.trainings["trapmid"]
    assert of_image / 1e9 == pytest.approx(7.5, abs=0.05)
    assert seconds == pytest.approx(75 * 60, rel=1e-3)
    assert of_image * cost.trainings["trapmid"] * 27_018 * 50 / seconds / 1e12 == pytest.approx(12, abs=0.5)


def test_a_plan_schedules_what_is_not_done(tmp_path):
    (one,), of = chosen(["table1"], ["plgmi"]), SCALES["paper"]()
    layout = lay_out([one], of, tmp_path)
    before = estimate(layout, [one], of)
    chain, longest = before.critical_path()
    assert before.wall_clock(1) == pytest.approx(before.seconds)
    assert before.seconds > before.wall_clock(8) > before.wall_clock(64) >= longest
    assert {task.kind for task in chain} == {"train", "attack", "measure"}
    folder = Folders(layout.studies[0].folder)
    for seed in range(5):
        folder.model("trapmid", seed).mkdir(parents=True)
        folder.model("none", seed).mkdir(parents=True)
    after = estimate(layout, [one], of)
    assert len(before.left) - len(after.left) == len([line for line in after.lines if line.done]) > 0
    assert after.wall_clock(1) == pytest.approx(after.seconds)
    assert after.seconds < before.seconds
    assert "Nothing is left to do." in plan_text([], {}, replace(after, lines=()), None, "GPU")
    assert "The executor sets no limit." in planned([one], of, layout, None)


def test_a_variant_equal_to_the_scales_own_defense_is_that_defense():
    row = ExperimentRow("beta=0.2", "", "trapmid-beta0.2", "plgmi")
    assert SCALES["paper"]().defense(row).name == "trapmid"
    small = SCALES["cpu"]().defense(row)  # whose own weight is another
    assert (small.name, small.weight) == ("trapmid-beta0.2", 0.2)


def test_given_images_are_read_as_the_paper_reads_them(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n")
    ffhq = tmp_path / "ffhq" / "00000"
    ffhq.mkdir(parents=True)
    (ffhq / "00000.png").touch()
    of = SCALES["paper"](Images(tmp_path, tmp_path, ffhq.parent))
    (row,) = {row.target for row in EXPERIMENTS["table14"].rows}
    recipe = of.recipe(row, "none")
    assert recipe.private == CelebASource(path=tmp_path, part="private")
    assert recipe.public == FlatFolderSource(path=ffhq.parent, crop=88)
    assert of.recipe(EXPERIMENTS["table1"].rows[0].target, "none").public == CelebASource(path=tmp_path, part="public")
    of.check(EXPERIMENTS["table14"])


@pytest.mark.parametrize(
    ("scale", "name", "told"),
    [
        ("paper", "table1", r"table1 at scale paper needs --private and --public\. CelebA as distributed"),
        ("paper", "table14", "needs --private and --ffhq"),
        ("cpu", "mnist", "needs --private and --public"),
    ],
)
def test_missing_images_are_told_before_anything_runs(scale, name, told):
    with pytest.raises(UserError, match=told):
        SCALES[scale]().check(EXPERIMENTS[name])


def test_drawn_faces_need_nothing():
    for name in PAPERS:
        SCALES["cpu"]().check(EXPERIMENTS[name])


def test_mistakes_are_told():
    with pytest.raises(UserError, match=r"'table21' is not an experiment\. Expected one of table1, table2"):
        chosen(["table21"])
    with pytest.raises(UserError, match="`trapmid reproduce list` shows all"):
        chosen([])
    with pytest.raises(UserError, match=r"figure2 has none of the attacks gmi\. It has plgmi"):
        chosen(["figure2"], ["gmi"])
    assert {row.attack for row in chosen(["table1"], ["gmi"])[0].rows} == {"gmi"}
    with pytest.raises(UserError, match="there is no 'epoch'"):
        lay_out(chosen(["table1"]), SCALES["cpu"](), OUT, changes=["training.epoch=3"])


def test_a_change_reaches_every_audit_it_fits_and_makes_it_another():
    one, of = EXPERIMENTS["figure5"], SCALES["cpu"]()
    before = lay_out([one], of, OUT)
    after = lay_out([one], of, OUT, seeds=(7,), changes=["training.epochs=3", "defenses.none.label=plain"])
    assert {study.recipe.training.epochs for study in after.studies} == {3}
    assert not {study.folder for study in before.studies} & {study.folder for study in after.studies}
    assert {study.recipe.seeds for study in after.studies} == {(7,)}


def test_judges_and_priors_are_taken_over_from_beside(tmp_path):
    one = EXPERIMENTS["figure5"]
    first, second, *_ = lay_out([one], SCALES["cpu"](), tmp_path).studies
    settle(first.recipe, first.folder)
    settle(second.recipe, second.folder)
    (prior,) = first.recipe.priors()
    there = Folders(first.folder)
    for folder in (there.judge("classifier"), there.prior(prior)):
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text(folder.name)
    adopt(second)
    here = Folders(second.folder)
    assert (here.judge("classifier") / MANIFEST).read_text() == "classifier"
    assert (here.prior(prior) / MANIFEST).read_text() == prior
    stranger, *_ = lay_out([one], SCALES["cpu"](), tmp_path, changes=["private.identities=6"]).studies
    adopt(stranger)
    assert not Folders(stranger.folder).judge("classifier").exists()


def test_weights_are_counted_without_making_them():
    network = Tiny().build(10, 32, 3)
    assert weights(Tiny(), 10, 32, 3) == sum(torch.as_tensor(value).numel() for value in network.state_dict().values())


def test_the_docs_name_every_experiment():
    page = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text()
    for name in EXPERIMENTS:
        assert re.search(rf"^\| .*\b{name}\b.* \|", page, re.MULTILINE), name
