"""What an attack states once, and an attack from outside the package by one call."""

import inspect
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from helpers_attacks import CLASSES, CPU, GMI_TINY, PER_IDENTITY, TINY_ATTACKS, faces, target_of, trained_classifier
from trapmid import invert
from trapmid.attacks import ATTACKS, Attack, Effort, Found, Run
from trapmid.attacks.search import found_of
from trapmid.data import ImageSet
from trapmid.models import Classifier
from trapmid.priors import DCGAN, Prior, PriorConfig
from trapmid.targets import InformedTarget, LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import Labels, UserError

NAMES = tuple(f"person {i}" for i in range(CLASSES))


class Sampled(Attack[ScoreTarget, Prior]):
    """Random samples of a prior: as another package would write it."""

    paper: ClassVar[str] = "none"
    kind: Literal["sampled"] = "sampled"
    prior: DCGAN = GMI_TINY.prior

    @property
    def effort(self) -> Effort:
        return Effort(images_per_identity=2, identities_per_batch=3)

    def public_prior(self) -> PriorConfig | None:
        return self.prior

    def prepare(self, target: ScoreTarget, public: ImageSet, run: Run) -> Prior:
        assert run.prior is not None
        run.log([{"step": 1.0, "loss": 2.0}])
        run.note(seen=float(len(public)))
        return run.prior

    def invert(self, target: ScoreTarget, ready: Prior, identities: Labels, run: Run) -> Found:
        assert type(target) is ScoreTarget
        assert len(identities) <= self.effort.identities_per_batch
        labels = identities.repeat_interleave(2)
        pictures = ready.sample(labels, torch.Generator().manual_seed(run.seed))
        return found_of((255 * pictures).to(torch.uint8), labels, target, chunk=8)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


def test_access_follows_from_the_type() -> None:
    assert Sampled.needs is ScoreTarget
    assert all(issubclass(member.needs, LabelTarget) for member in ATTACKS)
    assert "needs" not in Sampled.model_fields


def test_an_attack_that_states_no_access_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="Careless does not state the access it needs"):

        class Careless(Attack):  # type: ignore[type-arg]
            kind: Literal["careless"] = "careless"
            effort: ClassVar[Effort] = Effort()  # type: ignore[misc]

            def public_prior(self) -> PriorConfig | None:
                return None

            def prepare(self, target: Any, public: ImageSet, run: Run) -> None:
                return None

            def invert(self, target: Any, ready: None, identities: Labels, run: Run) -> Found:
                raise AssertionError


def test_every_member_is_final_and_every_class_above_abstract() -> None:
    for member in ATTACKS:
        assert getattr(member, "__final__", False)
        above = [c for c in member.__mro__[1:] if issubclass(c, Attack) and "[" not in c.__name__]
        assert all(inspect.isabstract(c) for c in above)


def test_effort_says_how_many_images_there_will_be() -> None:
    for kind, method in TINY_ATTACKS.items():
        assert method.effort.images_per_identity == PER_IDENTITY, kind


def test_one_call_inverts_a_module_by_an_attack_from_outside(model: Classifier, tmp_path: Path) -> None:
    public = faces(8, 4, first=100)
    found = invert(model, public, Sampled(), identities=NAMES, out=tmp_path, compute=CPU)
    assert found.labels.tolist() == [label for label in range(CLASSES) for _ in range(2)]
    assert (tmp_path / "sampled-s0" / "gan.jsonl").read_text() == '{"step": 1.0, "loss": 2.0}\n'
    again = invert(model, public, Sampled(), identities=NAMES, compute=CPU)
    assert torch.equal(again.pixels, found.pixels)
    assert torch.equal(again.confidence, found.confidence)


def test_one_call_notices_other_weights(model: Classifier, tmp_path: Path) -> None:
    public, method = faces(8, 4, first=100), TINY_ATTACKS["public-nearest"]
    invert(model, public, method, identities=NAMES, out=tmp_path, compute=CPU)
    other = trained_classifier(faces(CLASSES, 10), steps=2)
    with pytest.raises(UserError):
        invert(other, public, method, identities=NAMES, out=tmp_path, compute=CPU)


@pytest.mark.parametrize("access", [LabelTarget, ScoreTarget, WhiteBoxTarget, InformedTarget])
def test_every_access_level_is_built_by_the_same_call(access: type[LabelTarget], model: Classifier) -> None:
    asked: list[bool] = []

    def signatures() -> torch.Tensor:
        asked.append(True)
        return torch.eye(CLASSES)

    target = access.of(model, CLASSES, (3, 32, 32), signatures=signatures)
    assert type(target) is access
    assert bool(asked) == access.knows_secrets == (access is InformedTarget)


def test_an_informed_target_needs_signatures(model: Classifier) -> None:
    with pytest.raises(UserError, match="needs the signatures"):
        InformedTarget.of(model, CLASSES, (3, 32, 32))
    assert type(target_of(model, InformedTarget)) is InformedTarget
