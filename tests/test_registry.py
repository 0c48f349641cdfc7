"""Registries: members of the package, of installed packages and by import path; what is refused, and in which words."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import ValidationError

from trapmid.config import Config, Member, explain
from trapmid.errors import UserError, did_you_mean
from trapmid.registry import NAMED, Registry


class Shape(Member):
    pass


class Square(Shape):
    kind: Literal["square"] = "square"
    side: int = 1


class Group(Shape):
    kind: Literal["group"] = "group"
    first: "Annotated[Shape, PLAIN]" = Square()


PACKAGE = (Square, Group)
SHAPES = Registry(Shape, "shape", "trapmid.test_shapes", f"{__name__}:PACKAGE")
PLAIN = SHAPES.where(lambda member: member is not Group, "plain shape")
Group.model_rebuild()


class Drawing(Config):
    shapes: tuple[Annotated[Shape, SHAPES], ...]


OWN = """
from typing import Literal
from test_registry import Shape

class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: int = 2

class Twin(Shape):
    kind: Literal["square"] = "square"

class Stranger:
    kind = "stranger"
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the working directory, and a registry that forgets it afterwards."""
    (tmp_path / "own_shapes.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv(NAMED, "")
    yield "own_shapes"
    SHAPES._added.clear()
    sys.modules.pop("own_shapes", None)


def entry(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """As if a package were installed that has this entry point."""
    point = EntryPoint(name=name, value=value, group=SHAPES.group)
    monkeypatch.setattr("trapmid.registry.installed", lambda group, path: (point,) if group == SHAPES.group else ())


def test_a_union_equals_its_own_json_however_deep() -> None:
    drawing = Drawing(shapes=(Square(side=3), Group(first=Square(side=4))))
    assert Drawing.model_validate_json(drawing.model_dump_json()) == drawing
    assert drawing.model_dump()["shapes"][1]["first"] == {"kind": "square", "label": "", "side": 4}


def test_an_error_names_the_place_within_the_member() -> None:
    with pytest.raises(ValidationError) as problem:
        Drawing.model_validate({"shapes": [{"kind": "group", "first": {"kind": "square", "side": "long"}}]})
    assert [error["loc"] for error in problem.value.errors()] == [("shapes", 0, "first", "side")]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"kind": "sqare"}, "'sqare' is not a shape. Did you mean 'square'? Known: square, group."),
        ({}, "expected a shape: an object whose `kind` is one of square, group"),
        (7, "expected a shape"),
    ],
)
def test_an_unknown_member_is_refused_with_the_known_ones(value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as problem:
        Drawing.model_validate({"shapes": [value]})
    assert words in problem.value.errors()[0]["msg"]


def test_a_part_of_a_union_refuses_the_rest() -> None:
    assert PLAIN.kinds() == ("square",)
    with pytest.raises(ValidationError, match="'group' is not a plain shape"):
        Group.model_validate({"first": Group()})


def test_an_installed_package_adds_a_member(own_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "circle", f"{own_module}:Circle")
    assert SHAPES.kinds() == ("square", "group", "circle")
    drawing = Drawing.model_validate(
        {"shapes": [{"kind": "circle", "radius": 5}, {"kind": "group", "first": {"kind": "circle"}}]}
    )
    assert Drawing.model_validate_json(drawing.model_dump_json()) == drawing


def test_a_package_is_imported_when_its_kind_is_asked_for(own_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "circle", f"{own_module}:Circle")
    SHAPES.member("square")
    assert own_module not in sys.modules
    SHAPES.member("circle")
    assert own_module in sys.modules


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("circle", "missing_module:Circle", "'circle' cannot be loaded: ModuleNotFoundError"),
        ("round", "own_shapes:Circle", "a class of the kind 'circle'"),
        ("stranger", "own_shapes:Stranger", "is not a subclass of test_registry.Shape"),
    ],
)
def test_a_broken_package_is_named(
    own_module: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    del own_module
    entry(monkeypatch, name, value)
    with pytest.raises(UserError, match=words):
        SHAPES.member(name)
    assert SHAPES.member("square") is Square


def test_an_import_path_adds_a_member_here_and_in_workers(own_module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    circle = SHAPES.import_member(f"{own_module}:Circle")
    assert SHAPES.member("circle") is circle
    SHAPES._added.clear()  # as in a worker process, which has the environment alone
    assert SHAPES.kinds() == ("square", "group", "circle")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("own_shapes:Twin", "has the kind 'square', which test_registry:Square has already"),
        ("own_shapes:Nobody", "own_shapes:Nobody cannot be used as a shape"),
        ("own_shapes:Stranger", "is not a subclass of test_registry.Shape"),
        ("no_such_module:Circle", "No module named 'no_such_module'"),
        ("own_shapes", "own_shapes cannot be used as a shape"),
    ],
)
def test_an_import_path_that_does_not_fit_is_refused(own_module: str, path: str, words: str) -> None:
    del own_module
    with pytest.raises(UserError, match=words):
        SHAPES.import_member(path)


def test_an_explanation_can_stand_within_a_sentence() -> None:
    with pytest.raises(ValidationError) as problem:
        Drawing.model_validate({"shapes": [{"kind": "sqare"}]})
    assert explain(problem.value).endswith("Known: square, group")  # its callers write the period
    assert explain(UserError("It is damaged.")) == "It is damaged"


def test_a_close_word_is_proposed() -> None:
    assert did_you_mean("plgm", ("plgmi", "gmi")) == " Did you mean 'plgmi'?"
    assert did_you_mean("nothing like it", ("plgmi", "gmi")) == ""
