"""Two audits compared: from the run folder of an earlier version, and from copies of it that were changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import trapmid
from helpers.commands import run
from helpers.old_runs import unpack_run
from trapmid.comparison import Comparison, Difference
from trapmid.comparison.differences import differences
from trapmid.comparison.matching import match
from trapmid.comparison.sides import open_side
from trapmid.comparison.verdict import ONE_RUN, findings
from trapmid.manifests import sha256
from trapmid.metrics.scores import find, read_scores, write_scores
from trapmid.types import UserError


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def found(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return trapmid.compare(old / "models" / "none", old / "models" / "trapmid", out=tmp_path_factory.mktemp("out"))


@pytest.fixture
def other(old: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(old, tmp_path / "other")


def change(file: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def remeasured(run: Path, edit: Callable[[list[Any]], list[Any]]) -> None:
    """Change the scores of a run, and have its manifest vouch for them."""
    folder = run / "measurement"
    write_scores(folder, edit(read_scores(folder)))

    def vouch(manifest: dict[str, Any]) -> None:
        manifest["files"] |= {name: sha256(folder / name) for name in ("scores.json", "scores.parquet")}

    change(folder / "manifest.json", vouch)


def row(found: Comparison, attack: str, metric: str) -> Difference:
    (one,) = [one for one in found.table if (one.attack, one.metric) == (attack, metric)]
    return one


def test_values_are_those_of_the_audits(old: Path, found: Comparison) -> None:
    scores = read_scores(old)
    for one in found.table:
        for model, value, low in ((one.model_a, one.a, one.a_low), (one.model_b, one.b, one.b_low)):
            (stored,) = find(
                scores, defense=model, attack=one.attack, judge=one.judge, metric=one.metric, seed=0, value=value
            )
            assert stored.low == low or stored.low != stored.low
        assert one.difference == pytest.approx(one.b - one.a)
    assert {(one.model_a, one.model_b) for one in found.table} == {("none", "trapmid")}
    assert {one.attack for one in found.table} >= {"-", "plgmi", "gmi", "brep", "lokt", "public-nearest"}
    assert "plgmi++" not in {one.attack for one in found.table}  # it ran on the model with a trapdoor alone


def test_intervals_are_paired_where_values_of_identities_are_stored(found: Comparison) -> None:
    methods = {one.metric: one.interval for one in found.table if one.attack in ("plgmi", "-")}
    assert methods["attack_accuracy_1"] == methods["knn_distance"] == "paired over identities"
    assert methods["clean_accuracy"] == methods["attack_accuracy_1_corrected"] == "unpaired"
    assert methods["fid"] == "unknown"
    for one in found.table:
        if one.interval == "paired over identities":
            assert one.low <= one.difference <= one.high


def test_other_identities_on_one_side_are_not_paired(old: Path) -> None:
    none, trapmid_ = (open_side(old / "models" / name) for name in ("none", "trapmid"))
    for rows in trapmid_._samples.values():
        gone = rows[0]["identity"]
        rows[:] = [row for row in rows if row["identity"] != gone]
    methods = {one.metric: one.interval for one in differences(match(none, trapmid_)) if one.attack == "plgmi"}
    assert methods["attack_accuracy_1"] == "unpaired"


def test_the_files(found: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((found.page.parent / "compare.json").read_text(encoding="utf-8"))
    assert [Difference.model_validate(one).metric for one in content["differences"]] == [
        one.metric for one in found.table
    ]
    assert content["judges"] == ["classifier"]
    page = found.page.read_text(encoding="utf-8")
    assert page.count('<li class="person">') == 4
    assert page.count("<figure") == 3 * 4  # private images, and those recovered from both models
    assert "No difference between Unprotected and Trap-MID is shown." in page
    assert ONE_RUN in page
    less = [
        one.model_copy(update={"low": -0.3, "high": -0.1}) if one.metric == "attack_accuracy_1" else one
        for one in found.table
    ]
    finding = findings(found.match, less)[0]
    assert (finding.level, finding.headline) == (
        "less",
        "Trap-MID revealed less than Unprotected in one run of the attack.",
    )
    assert "<script" not in page
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    found.show()
    assert shown == [found.page.as_uri()]
    assert found._repr_html_().startswith("<iframe")


def test_a_redacted_page_needs_no_private_images_and_names_nobody(other: Path, tmp_path: Path) -> None:
    names = pq.read_table(other / "data" / "splits.parquet")["identity"].unique().to_pylist()
    change(other / "recipe.json", lambda recipe: recipe.update(private={"kind": "folder", "path": "/nowhere"}))
    sides = (other / "models" / "none", other / "models" / "bido")
    with pytest.raises(UserError, match="nowhere"):
        trapmid.compare(*sides, out=tmp_path)
    assert not (tmp_path / "compare.json").exists()
    page = trapmid.compare(*sides, out=tmp_path, redact=True).page.read_text(encoding="utf-8")
    assert "Identity 1" in page
    assert not [name for name in names if name in page]
    assert page.count("<figure") == 2 * 4


@pytest.mark.slow
def test_two_runs_with_several_models_are_compared_model_by_model(old: Path, other: Path) -> None:
    found = trapmid.compare(old, other, out=other, redact=True)
    assert sorted(found.match.models) == [(name, name) for name in ("bido", "mid", "none", "trapmid")]
    assert {one.difference for one in found.table} == {0.0}
    assert f"Unprotected ({other})" in found.page.read_text(encoding="utf-8")


def test_several_seeds_are_compared_seed_by_seed(old: Path, other: Path) -> None:
    def with_more(scores: list[Any]) -> list[Any]:
        more = [
            one.model_copy(update={"seed": 1, "value": one.value + (0.5 if one.defense == "trapmid" else 0.25)})
            for one in scores
            if one.seed == 0
        ]
        return [*scores, *more]

    remeasured(other, with_more)
    change(other / "recipe.json", lambda recipe: recipe.update(seeds=[0, 1, 7]))
    for name in ("none", "trapmid"):
        shutil.copytree(other / "models" / f"{name}-s0", other / "models" / f"{name}-s1")
    both = trapmid.compare(other / "models" / "none", other / "models" / "trapmid", redact=True)
    assert ONE_RUN not in both.page.read_text(encoding="utf-8")
    one = row(both, "plgmi", "attack_accuracy_1")
    assert one.interval == "paired over seeds"
    assert (one.a, one.b) == (0.375, 0.5)
    assert one.difference == 0.125
    assert one.high - one.difference == pytest.approx(12.706 * 0.125, rel=1e-3)  # Student's t, differences 0 and 0.25
    single = match(open_side(old / "models" / "none"), open_side(other / "models" / "none"))
    assert f"Seed 1 is in {other / 'models' / 'none'} alone and is left out." in single.notes
    assert {one.interval for one in differences(single)} == {"paired over identities", "unpaired", "unknown"}
    across = match(open_side(old / "models" / "none"), open_side(other / "models" / "none-s1"))
    assert across.seeds == [(0, 1)]


def test_what_cannot_be_compared_is_refused_in_one_sentence(old: Path, other: Path) -> None:
    def refused(edit: Callable[[Any], object], file: str = "recipe.json") -> str:
        before = (other / file).read_text(encoding="utf-8")
        change(other / file, edit)
        with pytest.raises(UserError) as said:
            trapmid.compare(old, other, out=other)
        (other / file).write_text(before, encoding="utf-8")
        assert not (other / "compare.html").exists()
        return str(said.value)

    assert "has images of 32 px" in refused(lambda recipe: recipe.update(image_size=64))
    for side in ("private", "public"):
        told = refused(lambda data, side=side: data["parents"].update({side: "0" * 16}), "data/manifest.json")
        assert f"were made from different {side} images" in told
    assert "no judge in common: classifier against classifier" in refused(
        lambda recipe: recipe["judges"][0]["training"].update(epochs=9)
    )
    assert "no attack in common" in refused(
        lambda recipe: recipe.update(attacks=[recipe["attacks"][0] | {"search_steps": 9}])
    )
    remeasured(other, lambda scores: [one.model_copy(update={"seed": 3}) for one in scores])
    assert "has the seeds 0 and" in refused(lambda recipe: recipe.update(seeds=[3, 4]))
    assert "has no scores yet. Run `trapmid measure" in refused(lambda recipe: recipe.update(seeds=[5]))
    shutil.rmtree(other / "measurement")
    with pytest.raises(UserError, match="Nothing was measured in"):
        trapmid.compare(old, other, out=other)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (".", ".", "are the same results"),
        ("models/none", "models/none-s0", "are the same results"),
        ("models/none-s0", ".", "are the same results"),
        ("models/trapmit", ".", "no model 'trapmit'. Did you mean 'trapmid'"),
        ("attacks", ".", "is neither a run folder nor a model of one"),
        ("nowhere", ".", "is neither a run folder nor a model of one"),
    ],
)
def test_what_is_no_pair_of_audits(old: Path, a: str, b: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        trapmid.compare(old / a, old / b)


def test_members_with_other_settings_are_left_out_and_told(old: Path, other: Path) -> None:
    change(other / "recipe.json", lambda recipe: recipe["attacks"][0].update(search_steps=9))
    change(other / "measurement" / "manifest.json", lambda one: one["recipe"].update(metrics={"knn_distance": 2}))
    found = trapmid.compare(old / "models" / "mid", other / "models" / "mid", out=other, redact=True)
    assert f"PLG-MI has other settings in {other / 'models' / 'mid'} and is left out." in found.match.notes
    assert any(note.startswith("knn_distance: the definition changed") for note in found.match.notes)
    assert "plgmi" not in {one.attack for one in found.table}
    assert "knn_distance" not in {one.metric for one in found.table}
    assert "knn_distance_l2" in {one.metric for one in found.table}


def test_from_the_command_line(
    old: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trapmid.console.console.width", 160)
    models = [str(old / "models" / name) for name in ("none", "trapmid")]
    assert run("compare", *models, "--out", str(tmp_path / "new"), "--redact") == 0
    told = " ".join(capfd.readouterr().out.split())  # the console breaks lines where it likes
    assert "AA-1 of PLG-MI, the strongest attack, is 25.0" in told
    assert "B: Trap-MID" in told
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["compare.html", "compare.json"]
    assert run("compare", str(old), str(tmp_path)) == 2
    assert "is neither a run folder" in " ".join(capfd.readouterr().err.split())
