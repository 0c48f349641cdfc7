"""The contract of a source: what it says of itself, and that a reader from outside the package is one class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from helpers.pictures import encoded, picture
from trapmid.audit.recipe import Recipe
from trapmid.catalogue import entries
from trapmid.data import (
    SOURCES,
    CelebASource,
    FlatFolderSource,
    FolderSource,
    ParquetSource,
    Record,
    Source,
    StoredSource,
    SyntheticSource,
)
from trapmid.data.doctor import examine
from trapmid.detection import Learned
from trapmid.recipes import choose_recipe
from trapmid.types import UserError


class Initials(StoredSource):
    """Files whose names begin with the initial of a person."""

    kind: Literal["test-initials"] = "test-initials"

    @property
    def names_identities(self) -> bool:
        return True

    def records(self) -> tuple[int, Iterator[Record]]:
        files = sorted(self.path.iterdir())
        return len(files), (Record(file.name[0], file.name, file) for file in files)


@pytest.fixture
def initials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Initials:
    monkeypatch.setattr(SOURCES, "_added", {})
    SOURCES.add(Initials)
    for number in range(8):
        (tmp_path / f"{'ab'[number % 2]}{number}.png").write_bytes(encoded(picture(number)))
    return Initials(path=tmp_path)


def test_a_reader_from_outside_is_one_class(initials: Initials) -> None:
    images = initials.load(16)
    assert images.identities == ("a", "b")
    assert images.counts().tolist() == [4, 4]
    recipe = choose_recipe("demo").model_copy(update={"private": initials})
    assert Recipe.model_validate_json(recipe.model_dump_json()).private == initials
    assert Recipe.model_validate(recipe.model_dump(mode="json")).private == initials
    assert Learned(private=initials).private is initials
    assert examine(initials).facts[0].identities == 2
    assert choose_recipe("demo", public=initials.path, changes=("public.kind=test-initials",)).public == initials
    assert ("source", "test-initials") in {(entry.union, entry.kind) for entry in entries()}


def test_a_mistake_is_told_with_its_place() -> None:
    values = choose_recipe("demo").model_dump(mode="json")
    with pytest.raises(ValidationError) as unknown:
        Recipe.model_validate(values | {"private": {"kind": "nonsense"}})
    assert unknown.value.errors()[0]["loc"] == ("private",)
    assert "'nonsense' is not a source. Known: folder, flat-folder" in unknown.value.errors()[0]["msg"]
    with pytest.raises(ValidationError) as missing:
        Recipe.model_validate(values | {"private": {"kind": "folder"}})
    assert missing.value.errors()[0]["loc"] == ("private", "path")
    with pytest.raises(UserError, match=r"private\.identities"):
        choose_recipe("demo", changes=("private.identities=1",))


@pytest.mark.parametrize(
    ("source", "names", "title", "depicts"),
    [
        (FolderSource(path=Path("data/faces")), True, "faces", "photographs"),
        (FlatFolderSource(path=Path("data/ffhq")), False, "ffhq", "photographs"),
        (CelebASource(path=Path("data/celeba")), True, "celeba", "photographs"),
        (ParquetSource(path=Path("a/b.parquet")), True, "b.parquet", "photographs"),
        (ParquetSource(path=Path("b.parquet"), identity_column=None), False, "b.parquet", "photographs"),
        (SyntheticSource(), True, "synthetic faces drawn by code", "drawn faces"),
    ],
)
def test_what_a_source_says_of_itself(source: Source, names: bool, title: str, depicts: str) -> None:
    assert (source.names_identities, source.title, source.depicts) == (names, title, depicts)
    assert source.identity_count == (source.identities if isinstance(source, SyntheticSource) else None)


@pytest.mark.parametrize(
    "unnamed", [FlatFolderSource(path=Path("x")), ParquetSource(path=Path("x"), identity_column=None)]
)
def test_unnamed_people_are_public_only(unnamed: Source) -> None:
    values = choose_recipe("demo").model_dump(mode="json")
    dumped = unnamed.model_dump(mode="json")
    assert Recipe.model_validate(values | {"public": dumped}).public == unnamed
    with pytest.raises(ValidationError, match="x does not name identities"):
        Recipe.model_validate(values | {"private": dumped})
    with pytest.raises(ValidationError, match="x does not name identities"):
        Learned.model_validate({"private": dumped})
