"""What a config that does not fit says about itself."""

import json

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from trapmid.config import explain


class Inner(BaseModel):
    size: int = Field(ge=1)


class Outer(BaseModel):
    inner: list[Inner]
    name: str = ""

    @model_validator(mode="after")
    def _named(self) -> "Outer":
        if not self.name:
            raise ValueError("it has no name")
        return self


def test_says_where_and_why_in_our_own_words() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": [{"size": 1}, {"size": 0}, {}]})
    assert explain(caught.value) == (
        "inner.1.size: Input should be greater than or equal to 1; inner.2.size: Field required"
    )
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": []})
    assert explain(caught.value) == "it has no name"


def test_leaves_other_errors_as_they_are() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    assert explain(caught.value) == str(caught.value)
