"""A run folder of the version before opens, resumes and reports."""

import json
from pathlib import Path

import pytest

from helpers.old_runs import unpack_run
from trapmid.attacks import open_found
from trapmid.audit.plan import Folders, plan
from trapmid.audit.run import run, settle
from trapmid.defenses import open_model
from trapmid.engine import Compute
from trapmid.metrics.scores import read_scores
from trapmid.report.write import write_report
from trapmid.trapdoor import Secrets
from trapmid.types import UserError

CPU = Compute("cpu")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_run(tmp_path_factory.mktemp("old"))


def digests(out: Path) -> dict[str, bytes]:
    """The bytes of everything that an audit takes long to make."""
    made = (file for part in ("models", "attacks", "priors", "judges", "secrets") for file in (out / part).rglob("*"))
    return {str(file.relative_to(out)): file.read_bytes() for file in made if file.is_file()}


def test_every_artifact_opens(old: Path) -> None:
    recipe, folders = settle(None, old), Folders(old)
    for task in plan(recipe):
        if task.kind == "train":
            assert len(open_model(folders.of(task), CPU).identities) == 4
        if task.kind == "attack":
            found, manifest = open_found(folders.of(task))
            assert len(found.labels) == manifest.facts["images"]
    assert Secrets.load(folders.secrets("trapmid", 0)).triggers.shape == (4, 3, 32, 32)
    assert len(read_scores(old)) > 500


def test_it_resumes_without_making_anything_again(tmp_path: Path) -> None:
    out = unpack_run(tmp_path)
    before = digests(out)
    run(
        settle(None, out),
        out,
        compute=CPU,
        jobs=1,
        only=lambda task: task.kind in ("prior", "judge", "train", "attack"),
    )
    assert digests(out) == before


def test_one_more_seed_joins_it(tmp_path: Path) -> None:
    out = unpack_run(tmp_path)
    recipe = settle(None, out)
    joined = settle(recipe.model_copy(update={"seeds": (0, 1)}), out)
    before = digests(out)
    run(
        joined,
        out,
        compute=CPU,
        jobs=1,
        only=lambda task: task.kind == "attack" and task.member == "gmi" and task.defense == "none",
    )
    after = digests(out)
    assert {name: after[name] for name in before} == before
    assert "attacks/gmi/none-s1/reconstructions.parquet" in after


def test_it_reports(old: Path) -> None:
    write_report(old)
    page = (old / "report.html").read_text(encoding="utf-8")
    assert "plgmi" in page
    assert "trapmid" in page


@pytest.mark.slow
def test_edited_facts_are_refused(tmp_path: Path) -> None:
    out = unpack_run(tmp_path)
    for folder, facts in (
        ("data", ("identities", "private_images", "public_images")),
        ("models/trapmid-s0", ("warnings",)),
        ("attacks/plgmi/trapmid-s0", ("images", "diversity")),
    ):
        file = out / folder / "manifest.json"
        whole = json.loads(file.read_text())
        for fact in facts:
            for edited in ({fact: "many"}, {fact: None}):
                file.write_text(json.dumps(whole | {"facts": whole["facts"] | edited}))
                with pytest.raises(UserError, match=rf"as its {fact}: "):
                    write_report(out, redact=True)
        file.write_text(json.dumps(whole))
    write_report(out, redact=True)
