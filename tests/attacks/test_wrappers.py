"""What adaptive wrappers show their base attack, each against a plain version of itself.

Also what it does to a trapdoor.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional as F

from helpers_attacks import (
    CPU,
    PLGMI_TINY,
    SHORT_ATTACKS,
    SIZE,
    SURROGATE_KINDS,
    TINY_ATTACKS,
    KillAt,
    Killed,
    faces,
    prior_of,
    target_of,
    trained_classifier,
)
from trapmid.attacks import (
    ATTACKS,
    Attack,
    Distilled,
    Evading,
    PLGMIPlusPlus,
    PublicNearest,
    Run,
    Smoothed,
    Strongest,
    attack,
    open_found,
)
from trapmid.attacks.distillation import divergence
from trapmid.attacks.evading import similarity
from trapmid.attacks.inversion import FOUND
from trapmid.attacks.robust import perturbed
from trapmid.attacks.union import BASES
from trapmid.attacks.wrapping import Shown, Wrapper
from trapmid.augment import Degradation
from trapmid.data import ImageSet
from trapmid.data.images import to_unit
from trapmid.engine import generator, randomness, read_log
from trapmid.models import Classifier
from trapmid.targets import InformedTarget, ScoreTarget, ViewedTarget, WhiteBoxTarget
from trapmid.types import Prediction, logits_of

CLASSES = 4
WRAPPERS = [kind for kind, method in TINY_ATTACKS.items() if isinstance(method, Wrapper)]


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(8, 4, first=100)


def test_wrappers_are_named_after_what_they_wrap_and_say_that_they_know() -> None:
    assert Distilled(base=PLGMI_TINY).name == "distilled-plgmi"
    assert Distilled(base=PLGMI_TINY.model_copy(update={"label": "strong"})).name == "distilled-strong"
    assert Distilled(base=PLGMI_TINY, label="mine").name == "mine"
    assert [member.model_fields["kind"].default for member in ATTACKS if issubclass(member, Wrapper)] == WRAPPERS
    knowing = {
        member.model_fields["kind"].default for member in ATTACKS if issubclass(member, Wrapper) and member.adaptive
    }
    assert knowing == set(WRAPPERS) - {"aligned"}  # which works around no defense
    assert not PLGMI_TINY.adaptive
    assert all(TINY_ATTACKS[kind].public_prior() == PLGMI_TINY.public_prior() for kind in WRAPPERS)


def test_every_attack_that_searches_and_needs_no_signature_can_be_wrapped() -> None:
    plain = {member for member in ATTACKS if not issubclass(member, Wrapper)}
    assert plain - set(BASES) == {PLGMIPlusPlus, PublicNearest, Strongest}


@pytest.mark.parametrize("base", [kind.model_fields["kind"].default for kind in BASES])
@pytest.mark.parametrize("wrapper", ["smoothed", "distilled"])
def test_a_view_and_a_surrogate_around_every_base(
    wrapper: str, base: str, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """Through the one the base asks the target, through the other only what the target has taught."""
    around, inner = SHORT_ATTACKS[wrapper], SHORT_ATTACKS[base]
    method = around.model_copy(update={"base": inner})
    assert type(method).model_validate_json(method.model_dump_json()) == method
    target = target_of(model, method.needs)
    manifest = attack(
        tmp_path / "attack",
        target,
        public,
        method=method,
        identities=("a", "b", "c", "d"),
        parents={},
        prior=prior_of(method),
        compute=CPU,
    )
    found, _ = open_found(tmp_path / "attack")
    assert len(found.pixels) == CLASSES * method.effort.images_per_identity
    assert sorted(set(found.labels.tolist())) == list(range(CLASSES))
    assert method.name == f"{wrapper}-{inner.name}"
    torch.testing.assert_close(
        found.confidence,
        model(to_unit(found.pixels)).logits.softmax(1).gather(1, found.labels[:, None]).squeeze(1).detach(),
    )
    if isinstance(around, Distilled):
        lessons = around.steps * around.batch_size + len(public) // 10
        assert manifest.facts["queries"] == lessons + len(found.pixels)


def test_a_viewed_targets_queries_are_the_targets(model: Classifier) -> None:
    target = target_of(model)
    twice = ViewedTarget(target, lambda images: target.predict(torch.cat([images, images.flip(3)])))
    images = torch.rand(3, 3, SIZE, SIZE)
    assert twice.scores(images).shape == (6, CLASSES)
    assert twice.queries == target.queries == 6
    twice.load_state_dict({"queries": 40})
    assert target.state_dict() == twice.state_dict() == {"queries": 40}


def test_a_copy_learns_and_the_target_does_not(model: Classifier) -> None:
    target, images = target_of(model), torch.rand(2, 3, SIZE, SIZE)
    before = target.scores(images)
    copied = target.copy()
    assert torch.equal(logits_of(copied(images)).softmax(1), before)
    logits_of(copied(images)).sum().backward()
    torch.optim.SGD(copied.parameters(), 0.1).step()
    assert not torch.equal(logits_of(copied(images)).softmax(1), before)
    assert torch.equal(target.scores(images), before)


def test_smoothed_answers_with_the_mean_over_draws(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    target, images = target_of(model), torch.rand(5, 3, SIZE, SIZE)
    config = Smoothed(base=PLGMI_TINY, degradation=Degradation(), draws=3)
    shown = config.stand_in(target, public, Run(0, CPU, tmp_path)).target
    with randomness(0, "draws"):
        answer = shown.predict(images)
    with randomness(0, "draws"):
        degraded = Degradation().build(SIZE)(torch.cat([images, images, images]))
    draws = [model(degraded[5 * i : 5 * i + 5]) for i in range(3)]
    torch.testing.assert_close(answer.logits, sum(draw.logits for draw in draws) / 3)
    torch.testing.assert_close(answer.features, sum(draw.features for draw in draws) / 3)
    assert target.queries == 15
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(shown.predict(images).logits.square().sum(), images)
    assert bool((gradient.flatten(1).abs().sum(1) > 0).all())


def test_divergence_is_scipys() -> None:
    rng = generator(0, "divergence")
    scores, logits = torch.randn(6, 4, generator=rng).softmax(1), torch.randn(6, 4, generator=rng)
    expected = entropy(scores.numpy(), logits.softmax(1).numpy(), axis=1).mean()
    assert float(divergence(scores, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(torch.eye(4), 50 * torch.eye(4))) == pytest.approx(0.0, abs=1e-6)


def test_a_distilled_students_queries_are_those_of_its_lessons(
    model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    target = ScoreTarget(model, CLASSES, (3, SIZE, SIZE))
    config = TINY_ATTACKS["distilled"]
    assert isinstance(config, Distilled)
    shown = config.stand_in(target, public, Run(0, CPU, tmp_path))
    held_out = len(public) // 10
    assert target.queries == config.steps * config.batch_size + held_out
    shown.target.predict(torch.rand(7, 3, SIZE, SIZE))
    assert target.queries == config.steps * config.batch_size + held_out
    assert shown.notes["surrogate_agreement"] == read_log(tmp_path / "surrogate" / "log.jsonl")[-1]["agreement"]


def test_perturbations_stay_in_the_ball_and_hurt(model: Classifier, public: ImageSet) -> None:
    images = public.images()
    with torch.no_grad():
        scores = model(images).logits.softmax(1)
    moved = perturbed(model, images, scores, 0.03, 4).detach()
    assert float((moved - images).abs().max()) <= 0.03 + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_evasion_counts_no_evidence_beyond_the_threshold(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    target = target_of(model, InformedTarget)
    config = Evading(base=PLGMI_TINY, weight=3.0, false_positives=0.25)
    shown = config.stand_in(target, public, Run(0, CPU, tmp_path))
    assert target.queries == len(public)
    threshold, images = shown.notes["detector_threshold"], public.images()
    answer, plain = shown.target.predict(images), model(images)
    scores = []
    for row in range(len(images)):
        for y in range(CLASSES):
            cosine = float(F.cosine_similarity(plain.features[row], target.signatures[y], dim=0))
            lowered = float(plain.logits[row, y]) - 3.0 * max(0.0, cosine - threshold)
            assert float(answer.logits[row, y]) == pytest.approx(lowered, abs=1e-4)
            if y == int(plain.logits[row].argmax()):
                scores.append(cosine)
    assert sum(score > threshold for score in scores) == len(public) // 4
    assert target.queries == 2 * len(public)


def test_evasion_pushes_features_away_from_the_signature() -> None:
    """Gradient of the shown logit: the model's below the threshold, less along the signature above it."""

    class Identity(nn.Module):
        def forward(self, images: Tensor) -> Prediction:
            flat = images.flatten(1)
            return Prediction(flat, flat)

    target = InformedTarget(Identity(), 3, (3, 1, 1), torch.eye(3))
    public = ImageSet(torch.full((4, 3, 1, 1), 128, dtype=torch.uint8), torch.zeros(4).long(), ("x",), ("x",) * 4)
    shown = Evading(base=PLGMI_TINY, weight=5.0).stand_in(target, public, Run(0, CPU, Path())).target
    for picture, slope in (([0.3, 0.5, 0.5], 1.0), ([0.9, 0.1, 0.1], None)):
        images = torch.tensor(picture).view(1, 3, 1, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(shown.predict(images).logits[0, 0], images)
        if slope is None:
            assert float(gradient[0, 0]) < 1.0
            assert float(gradient[0, 1]) > 0
        else:
            assert gradient.flatten().tolist() == [slope, 0.0, 0.0]
    cosines = similarity(torch.tensor([[3.0, 4.0, 0.0]]), torch.eye(3))
    torch.testing.assert_close(cosines, torch.tensor([[0.6, 0.8, 0.0]]))


@pytest.mark.parametrize("kind", WRAPPERS)
def test_the_base_attack_is_shown_the_stand_in_and_nothing_else(
    kind: str, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """Its GAN and its search do not touch the target where there is a surrogate.

    They go through the view where there is none.
    """
    method = TINY_ATTACKS[kind]
    target, run = target_of(model, method.needs), Run(0, CPU, tmp_path)
    prior = method.prepare(target, public, run)
    assert isinstance(prior, Shown)
    assert isinstance(prior.target, WhiteBoxTarget)
    before = target.queries
    found = method.invert(target, prior, torch.tensor([2]), run)
    asked = target.queries - before
    images = len(found.labels)
    assert asked == images if kind in {*SURROGATE_KINDS, "wrk"} else asked > PLGMI_TINY.search_steps * images
    assert (prior.target is target) == (kind == "aligned")  # whose view is for the search alone


def run(folder: Path, model: Classifier, public: ImageSet, method: Attack[Any, Any], progress: Any = None) -> Any:
    options = {} if progress is None else {"progress": progress}
    target = target_of(model, method.needs)
    names = tuple(f"person {i}" for i in range(CLASSES))
    return attack(folder, target, public, method=method, identities=names, seed=3, parents={}, compute=CPU, **options)


@pytest.mark.parametrize(
    ("kind", "task", "done"),
    [
        ("distilled", "surrogate", 15),
        ("robust", "surrogate", 10),
        ("unlearned", "triggers", 2),
        ("unlearned", "surrogate", 2),
    ],
)
def test_killed_while_a_surrogate_learns_it_resumes_to_the_same_bytes(
    kind: str,
    task: str,
    done: int,
    model: Classifier,
    public: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trapmid.engine.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("trapmid.attacks.surrogates.PERIOD", 1 if kind == "unlearned" else 4)
    base = PLGMI_TINY.model_copy(
        update={"search_steps": 2, "prior": PLGMI_TINY.prior.model_copy(update={"iterations": 2})}
    )
    method = TINY_ATTACKS[kind].model_copy(update={"base": base})
    whole = run(tmp_path / "whole" / "attack", model, public, method)
    with pytest.raises(Killed):
        run(tmp_path / "attack", model, public, method, KillAt(task, done))
    again = run(tmp_path / "attack", model, public, method)
    assert again.files[FOUND] == whole.files[FOUND]
    assert again.facts["queries"] == whole.facts["queries"]
    assert again.facts["notes"] == whole.facts["notes"]
    assert len(open_found(tmp_path / "attack")[0].labels) == 2 * CLASSES
