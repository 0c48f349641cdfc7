"""The attacker who runs several attacks: which pictures remain, what is counted, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from helpers_attacks import (
    CPU,
    PER_IDENTITY,
    PLGMI_TINY,
    SHORT_ATTACKS,
    TINY_ATTACKS,
    faces,
    target_of,
    trained_classifier,
)
from trapmid.attacks import BREP, Attack, Evading, PublicNearest, Run, Strongest
from trapmid.attacks.attack import Found
from trapmid.attacks.strongest import chosen
from trapmid.data import ImageSet
from trapmid.models import Classifier

CLASSES = 4
EVERYONE = torch.arange(CLASSES)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(8, 4, first=100)


def ran(method: Attack[Any, Any], model: Classifier, public: ImageSet, folder: Path) -> tuple[Found, int, Run]:
    target, run = target_of(model), Run(0, CPU, folder)
    found = method.invert(target, method.prepare(target, public, run), EVERYONE, run)
    return found, target.queries, run


@given(st.integers(0, 1000), st.integers(1, 3))
def test_the_choice_is_that_of_plain_loops(seed: int, keep: int) -> None:
    sure = torch.rand(3, 9, generator=torch.Generator().manual_seed(seed))
    of = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2])[None].expand(3, -1)
    if keep == 3:
        of = of.clamp_max(1)
    for row in range(3):
        best: list[int] = sorted(range(9), key=lambda i, row=row: -float(sure[row, i]))[:keep]
        assert chosen(sure, of, keep, "picture")[row].tolist() == best
        by_attack = {}
        for number in sorted(set(of[row].tolist())):
            own: list[int] = [i for i in range(9) if of[row, i] == number]
            own = sorted(own, key=lambda i, row=row: -float(sure[row, i]))[:keep]
            by_attack[sum(float(sure[row, i]) for i in own)] = own
        assert chosen(sure, of, keep, "attack")[row].tolist() == by_attack[max(by_attack)]


def test_every_query_counts(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    method = SHORT_ATTACKS["strongest"]
    assert isinstance(method, Strongest)
    _, queries, run = ran(method, model, public, tmp_path / "all")
    alone = sum(ran(one, model, public, tmp_path / one.name)[1] for one in method.attacks)
    choice = len(method.attacks) * CLASSES * PER_IDENTITY * method.draws
    assert queries == alone + choice + CLASSES * PER_IDENTITY
    kept = [run.notes()[f"kept_of_{one.name}"] for one in method.attacks]
    assert sum(kept) == CLASSES * PER_IDENTITY


def test_what_the_target_is_surer_of_is_kept(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    searched = TINY_ATTACKS["plgmi"].model_copy(update={"label": "searched"})
    hardly = searched.model_copy(update={"label": "hardly", "search_steps": 1, "candidates": PER_IDENTITY})
    method = TINY_ATTACKS["strongest"].model_copy(update={"attacks": (hardly, searched), "choice": "attack"})
    found, _, run = ran(method, model, public, tmp_path)
    notes = run.notes()
    assert notes["kept_of_searched"] > notes["kept_of_hardly"]
    assert notes["kept_of_searched"] % PER_IDENTITY == 0
    assert found.labels.tolist() == EVERYONE.repeat_interleave(PER_IDENTITY).tolist()
    pictures: Tensor = found.pixels.float() / 255
    with torch.no_grad():
        own = model(pictures).logits.softmax(1).gather(1, found.labels[:, None]).squeeze(1)
    torch.testing.assert_close(found.confidence, own, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValidationError, match="tell them apart by their label"):
        Strongest(attacks=(PLGMI_TINY, PLGMI_TINY), images_per_identity=1)
    with pytest.raises(ValidationError, match="finds fewer than images_per_identity=9 pictures"):
        Strongest(attacks=(PLGMI_TINY,), images_per_identity=9)
    with pytest.raises(ValidationError, match="search different public priors"):
        Strongest(attacks=(TINY_ATTACKS["ppa"], TINY_ATTACKS["gmi"]), images_per_identity=1)
    with pytest.raises(ValidationError, match="brep attacks some of the identities only"):
        Strongest(attacks=(BREP(wanted=2),), images_per_identity=1)
    for one in (PublicNearest(), Evading(base=PLGMI_TINY), TINY_ATTACKS["strongest"]):
        with pytest.raises(ValidationError, match="is not an attack that can be run beside others"):
            Strongest(attacks=(one,), images_per_identity=1)
