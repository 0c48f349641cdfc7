"""Artifacts are whole or not there, vouch for their files, and are never mistaken for the result of other settings."""

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from trapmid.artifacts import Draft, make, remake
from trapmid.config import Config
from trapmid.files import alone
from trapmid.manifests import MANIFEST, PARTIAL, SCHEMA, Manifest, open_artifact, recorded, sha256
from trapmid.reading import load_weights, read_json
from trapmid.types import UserError

RECIPE = {"seed": 1, "model": {"kind": "tiny", "widths": (8, 16)}}
PARENTS = {"data": "0123"}


def writes(content: str = "weights", calls: list[str] | None = None) -> Callable[[Draft], Manifest]:
    """A build of one file and some litter."""

    def build(draft: Draft) -> Manifest:
        if calls is not None:
            calls.append("built")
        (draft.folder / "weights.bin").write_text(content)
        (draft.folder / "checkpoint.pt").write_text("litter")
        (draft.folder / "parts").mkdir()
        (draft.folder / "parts" / "one").write_text("litter")
        return draft.finish(["weights.bin"], {"accuracy": 0.5}, 1.0, 2.0)

    return build


def never(draft: Draft) -> Manifest:
    pytest.fail("a finished artifact was built again")


def test_a_finished_artifact(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    manifest = make(target, "model", RECIPE, PARENTS, writes())
    assert {file.name for file in target.iterdir()} == {MANIFEST, "weights.bin"}
    assert [file.name for file in target.parent.iterdir()] == ["model"]
    assert open_artifact(target, "model") == manifest
    assert manifest.recipe["model"]["widths"] == [8, 16]
    assert manifest.facts == {"accuracy": 0.5}
    assert {"python", "torch", "trapmid"} <= manifest.versions.keys()
    assert make(target, "model", RECIPE, PARENTS, never) == manifest


def test_interrupted_it_is_not_there_and_resumes(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def crashes(draft: Draft) -> Manifest:
        (draft.folder / "checkpoint.pt").write_text("half way")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(target, "model", RECIPE, PARENTS, crashes)
    assert not target.exists()
    with pytest.raises(UserError, match="It was interrupted: run the same command again to finish it"):
        open_artifact(target, "model")

    def resumes(draft: Draft) -> Manifest:
        assert (draft.folder / "checkpoint.pt").read_text() == "half way"
        return writes()(draft)

    make(target, "model", RECIPE, PARENTS, resumes)
    assert not (tmp_path / ("model" + PARTIAL)).exists()
    assert open_artifact(target, "model").files.keys() == {"weights.bin"}


def test_a_file_that_was_not_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make(tmp_path / "m", "model", RECIPE, PARENTS, lambda draft: draft.finish(["weights.bin"], {}, 0.0, 0.0))
    assert not (tmp_path / "m").exists()


OTHERS: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({**RECIPE, "seed": 2}, PARENTS, r"recipe\.seed: there 1, now 2"),
    (
        {**RECIPE, "model": {"kind": "tiny", "widths": (8, 32)}},
        PARENTS,
        r"recipe\.model\.widths: there \[8, 16\], now \[8, 32\]",
    ),
    ({"seed": 1}, PARENTS, r"recipe\.model: there .*, now None"),
    (RECIPE, {"data": "4567"}, r"parents\.data: there '0123', now '4567'"),
]


@pytest.mark.parametrize(("recipe", "parents", "message"), OTHERS)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(
    tmp_path: Path, finished: bool, recipe: dict[str, Any], parents: dict[str, str], message: str
) -> None:
    def crashes(draft: Draft) -> Manifest:
        raise KeyboardInterrupt

    if finished:
        make(tmp_path / "m", "model", RECIPE, PARENTS, writes())
    else:
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "m", "model", RECIPE, PARENTS, crashes)
    with pytest.raises(UserError, match=f"holds the result of other settings .*{message}.*Choose another --out"):
        make(tmp_path / "m", "model", recipe, parents, never)


def test_damage_is_seen(tmp_path: Path) -> None:
    target = tmp_path / "m"
    make(target, "model", RECIPE, PARENTS, writes())
    file = target / "weights.bin"
    file.write_text("Weights")
    with pytest.raises(UserError, match=r"weights\.bin is not the file its manifest vouches for \(SHA-256 differs\)"):
        open_artifact(target, "model")
    with pytest.raises(UserError, match="damaged or was changed"):
        make(target, "model", RECIPE, PARENTS, never)
    file.unlink()
    with pytest.raises(UserError, match=r"weights\.bin is missing, though its manifest lists it"):
        open_artifact(target, "model")


def test_what_is_no_artifact_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"is not a trapmid model: it has no {MANIFEST}\.$"):
        open_artifact(tmp_path, "model")
    make(tmp_path / "m", "model", RECIPE, PARENTS, writes())
    with pytest.raises(UserError, match=r"is a model; expected: attack\."):
        open_artifact(tmp_path / "m", "attack")
    file = tmp_path / "m" / MANIFEST
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "schema_version": SCHEMA + 1, "shape_of_things_to_come": 1}))
    with pytest.raises(
        UserError, match=rf"has schema {SCHEMA + 1}; this trapmid reads up to {SCHEMA}\. Upgrade trapmid"
    ):
        open_artifact(tmp_path / "m", "model")
    for wrong in ("[]", json.dumps({**content, "files": 3}), json.dumps({**content, "unknown": 1})):
        file.write_text(wrong)
        with pytest.raises(UserError, match="is not a manifest this trapmid can read"):
            open_artifact(tmp_path / "m", "model")


def manifest(**changes: Any) -> Manifest:
    values = {
        "kind": "model", "recipe": {"seed": 1, "rate": 0.1}, "parents": {"data": "ab"}, "facts": {"accuracy": 0.5},
        "seconds": 1.0, "peak_memory_mib": 2.0, "versions": {"torch": "2"}, "created": "2026-11-24T00:00:00Z",
        "files": {"w": "cd"},
    }  # fmt: skip
    return Manifest(**{**values, **changes})


def test_digest_names_the_content_and_nothing_else() -> None:
    same = [
        manifest(),
        manifest(recipe={"rate": 0.1, "seed": 1}),
        manifest(facts={}, seconds=9.0, peak_memory_mib=1.0, versions={}, created="later"),
    ]
    other = [
        manifest(kind="attack"),
        manifest(recipe={"seed": 2, "rate": 0.1}),
        manifest(parents={"data": "ac"}),
        manifest(parents={"prior": "ab"}),
        manifest(files={"w": "ce"}),
        manifest(files={"v": "cd"}),
        manifest(files={}),
    ]
    assert len({m.digest() for m in same}) == 1
    assert len({m.digest() for m in [same[0], *other]}) == 1 + len(other)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(
    one=st.dictionaries(st.text("ab", max_size=2), json_values),
    two=st.dictionaries(st.text("ab", max_size=2), json_values),
)
def test_digests_are_equal_if_and_only_if_recipes_are(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)  # tells True from 1, as a manifest must
    assert (manifest(recipe=one).digest() == manifest(recipe=two).digest()) == same
    again = Manifest.model_validate_json(manifest(recipe=one).model_dump_json())
    assert again.digest() == manifest(recipe=one).digest()


class Inner(Config):
    file: Path | None = None
    sizes: tuple[int, ...] = (1, 2)


class Outer(Config):
    inner: Inner = Inner()
    others: tuple[Inner, ...] = ()
    rate: float = 0.1


def test_a_manifest_goes_by_what_a_file_holds_and_not_by_where_it_lies(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    for file, content in ((one, "a"), (same, "a"), (other, "b")):
        file.write_text(content)

    def of(file: Path | None) -> dict[str, Any]:
        return recorded(Outer(inner=Inner(file=file), others=(Inner(), Inner(file=file))))

    assert of(one) == of(same)
    assert of(one) != of(other)
    assert of(one)["others"][1] == {"file": f"sha256:{sha256(one)}", "sizes": [1, 2]}
    assert of(None) == Outer(others=(Inner(), Inner())).model_dump(mode="json")
    with pytest.raises(UserError, match=r"gone cannot be read \(No such file .* which goes by its content"):
        of(tmp_path / "gone")


@pytest.mark.parametrize("moment", ["before anything is dropped", "before it is renamed"])
def test_killed_while_it_is_put_in_its_place_it_is_not_built_again(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    there = Path.iterdir if moment == "before anything is dropped" else Path.rename

    def killed(path: Path, *arguments: Any) -> Any:
        if path.name == "model.partial":
            raise KeyboardInterrupt
        return there(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, there.__name__, killed)
        with pytest.raises(KeyboardInterrupt):
            make(target, "model", RECIPE, PARENTS, writes())
    assert not target.exists()
    with pytest.raises(UserError, match="other settings"):
        make(target, "model", RECIPE | {"seed": 2}, PARENTS, never)
    manifest = make(target, "model", RECIPE, PARENTS, never)
    assert {file.name for file in target.iterdir()} == {MANIFEST, "weights.bin"}
    assert open_artifact(target, "model") == manifest


def make_slowly(out: Path, begun: Event) -> None:
    def build(draft: Draft) -> Manifest:
        (draft.folder / "weights.bin").write_text("weights")
        begun.set()
        time.sleep(60)
        raise AssertionError

    make(out, "model", {"seed": 1}, {}, build)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("way", [make, remake])
def test_another_process_that_makes_it_is_waited_for_and_a_killed_one_holds_nothing_up(
    way: Callable[..., Manifest], tmp_path: Path
) -> None:
    out, told = tmp_path / "model", []
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    other = context.Process(target=make_slowly, args=(out, begun))
    other.start()
    assert begun.wait(timeout=60)

    def progress(task: str, done: int, total: int | None, note: str) -> None:
        told.append(task)
        assert (out.with_name("model.partial") / "weights.bin").read_text() == "weights"
        if len(told) == 2:
            other.kill()

    made = way(out, "model", {"seed": 1}, {}, writes(), progress)
    other.join()
    assert told[:2] == [f"wait for {out}, which another command is making"] * 2
    assert open_artifact(out, "model") == made
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_another_process_has_made_meanwhile_is_opened(tmp_path: Path) -> None:
    out = tmp_path / "model"
    with alone(out):
        waiting = threading.Thread(target=make, args=(out, "model", RECIPE, PARENTS, never))
        waiting.start()
        draft = Draft(out, "model", json.loads(json.dumps(RECIPE)), PARENTS)
        draft.go_on(writes())
    waiting.join(timeout=20)
    assert not waiting.is_alive()


def test_made_anew_the_old_one_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "model"
    make(out, "model", RECIPE, PARENTS, writes("old"))

    def fails(draft: Draft) -> Manifest:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remake(out, "model", RECIPE | {"seed": 2}, PARENTS, fails)
    assert (out / "weights.bin").read_text() == "old"
    open_artifact(out, "model")
    made = remake(out, "model", RECIPE | {"seed": 2}, PARENTS, writes("new"))
    assert open_artifact(out, "model") == made
    assert (out / "weights.bin").read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_made_anew_what_belongs_to_others_stays(tmp_path: Path) -> None:
    out = tmp_path / "model"
    make(out, "model", RECIPE, PARENTS, writes())
    with pytest.raises(UserError, match="is a model; expected: measurement"):
        remake(out, "measurement", RECIPE, PARENTS, never)
    content = json.loads((out / "manifest.json").read_text()) | {"schema_version": 999}
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="Upgrade trapmid"):
        remake(out, "model", RECIPE, PARENTS, never)


def test_manifests_that_were_edited_by_hand(tmp_path: Path) -> None:
    make(tmp_path / "m", "model", RECIPE, PARENTS, writes())
    file = tmp_path / "m" / MANIFEST
    content = json.loads(file.read_text())
    edits: list[dict[str, Any]] = [
        *(
            {**content, "files": {name: "0" * 64}}
            for name in ("../x", "/etc/passwd", "a/b", "", "..", "C:\\x", MANIFEST)
        ),
        *({**content, name: value} for name in content for value in (None, [[]])),
        *(
            {key: value for key, value in content.items() if key != name}
            for name in content
            if name != "schema_version"
        ),
    ]
    for edit in edits:
        file.write_text(json.dumps(edit))
        with pytest.raises(UserError):
            open_artifact(tmp_path / "m", "model")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff{}", "is not UTF-8 \\(byte 0\\)"),
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b"[" * 150 + b"]" * 150, "nested more than 100 levels deep"),
        (b"[" * 100_000, "nested more than 100 levels deep|is not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested more than 100 levels deep"),
    ],
)
def test_json_that_cannot_be_read(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"file\.json.*({reason}).*was damaged or changed"):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"\xff" * 64, save({"other": torch.ones(2)}), save({"weight": torch.ones(3)})]
)
def test_weights_that_are_not_the_networks(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(junk)
    with pytest.raises(UserError, match=r"w\.safetensors.*was damaged or changed"):
        load_weights(torch.nn.Linear(2, 1, bias=False), tmp_path / "w.safetensors")


@pytest.mark.parametrize(("name", "kind"), [("missing", int), ("accuracy", int), ("accuracy", dict[str, float])])
def test_a_fact_that_was_edited_is_refused(name: str, kind: Any, tmp_path: Path) -> None:
    manifest = make(tmp_path / "model", "model", RECIPE, PARENTS, writes())
    assert manifest.fact("accuracy", float) == 0.5
    with pytest.raises(UserError, match=rf"as its {name}: .*It was changed"):
        manifest.fact(name, kind)
