"""PLG-MI+ and PLG-MI++: signatures and terms against plain versions, and their effect on training and search."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers_attacks import CPU, PLGMI_TINY, TINY_ATTACKS, faces, target_for, trained_classifier
from trapmid.attacks import PLGMI, PLGMIPlus, PLGMIPlusPlus, Run
from trapmid.attacks.margin import margin_and_terms
from trapmid.attacks.plgmi_plus import Guided, auxiliary_signatures, away_from, towards
from trapmid.attacks.search import max_margin, survey, top_n
from trapmid.models import Classifier
from trapmid.targets import InformedTarget, WhiteBoxTarget
from trapmid.types import Prediction

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture
def seen() -> Prediction:
    rng = torch.Generator().manual_seed(0)
    return Prediction(torch.randn(6, CLASSES, generator=rng), torch.randn(6, 9, generator=rng))


LABELS = torch.tensor([0, 3, 1, 1, 2, 0])


def cosine(a: Tensor, b: Tensor) -> float:
    from sklearn.metrics.pairwise import cosine_similarity

    return float(cosine_similarity(a[None].numpy(), b[None].numpy())[0, 0])


def test_defaults_are_the_published_constants() -> None:
    assert PLGMIPlus().auxiliary_weight == PLGMIPlusPlus().auxiliary_weight == PLGMIPlusPlus().trapdoor_weight == 10
    shared = set(PLGMI.model_fields) - {"kind"}
    for member in (PLGMIPlus(), PLGMIPlusPlus()):
        assert {name: getattr(member, name) for name in shared} == {name: getattr(PLGMI(), name) for name in shared}
    assert PLGMIPlus.needs is WhiteBoxTarget
    assert PLGMIPlusPlus.needs is InformedTarget


def test_auxiliary_signatures_are_class_means() -> None:
    features, rows = torch.randn(12, 5), torch.tensor([[0, 3, 3], [7, 1, 2], [11, 0, 4]])
    found = auxiliary_signatures(features, rows)
    for label in range(3):
        torch.testing.assert_close(found[label], sum(features[i] for i in rows[label].tolist()) / 3)


def test_pull_is_towards_the_labels_signature(seen: Prediction) -> None:
    auxiliary = torch.randn(CLASSES, 9)
    found = towards(auxiliary, 3.0)(seen, LABELS)
    expected = [-3 * cosine(seen.features[i], auxiliary[label]) for i, label in enumerate(LABELS.tolist())]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_push_is_away_from_the_predicted_labels_signature(seen: Prediction) -> None:
    signatures = torch.randn(CLASSES, 9)
    found = away_from(signatures, 3.0)(seen, LABELS)
    predicted = seen.logits.argmax(1).tolist()
    assert predicted != LABELS.tolist()
    expected = [3 * cosine(seen.features[i], signatures[label]) for i, label in enumerate(predicted)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_objective_adds_the_terms_to_the_weighted_margin(seen: Prediction) -> None:
    terms = (towards(torch.randn(CLASSES, 9), 2.0), away_from(torch.randn(CLASSES, 9), 0.5))
    expected = 0.2 * max_margin(seen.logits, LABELS) + terms[0](seen, LABELS) + terms[1](seen, LABELS)
    torch.testing.assert_close(margin_and_terms(seen, LABELS, 0.2, terms), expected)


def test_prepares_the_signatures_of_its_pseudo_labels(model: Classifier, tmp_path: Path) -> None:
    method, public = TINY_ATTACKS["plgmi+"], faces(8, 4, first=100)
    target = target_for(method, model)
    prior = method.prepare(target, public, Run(0, CPU, tmp_path))
    assert isinstance(prior, Guided)
    with torch.no_grad():
        answer = model(public.images())
    rows = top_n(answer.logits.softmax(1), PLGMI_TINY.top_n)
    torch.testing.assert_close(prior.auxiliary, auxiliary_signatures(answer.features, rows), atol=1e-4, rtol=1e-4)
    assert target.queries >= len(public)


@pytest.mark.parametrize(("kind", "weight"), [("plgmi+", "auxiliary_weight"), ("plgmi++", "trapdoor_weight")])
def test_training_and_search_both_feel_the_terms(kind: str, weight: str, model: Classifier, tmp_path: Path) -> None:
    """At weight zero nothing is added; with a weight the GAN ends elsewhere, and so does a search of the same GAN."""
    public, found, priors = faces(8, 4, first=100), [], []
    for value in (0.0, 10.0):
        method = TINY_ATTACKS[kind].model_copy(update={weight: value, "search_steps": 4})
        priors.append(method.prepare(target_for(method, model), public, Run(0, CPU, tmp_path / f"{value}")))
        found.append(
            method.invert(
                target_for(method, model), priors[0], torch.arange(CLASSES), Run(0, CPU, tmp_path / f"s{value}")
            )
        )
    assert not torch.equal(priors[0].gan.generator.project.weight, priors[1].gan.generator.project.weight)
    assert not torch.equal(found[0].pixels, found[1].pixels)


def test_without_weight_a_term_changes_nothing(model: Classifier, tmp_path: Path) -> None:
    public = faces(8, 4, first=100)
    method = TINY_ATTACKS["plgmi+"].model_copy(update={"auxiliary_weight": 0.0})
    target = target_for(method, model)
    with_term = method.prepare(target, public, Run(0, CPU, tmp_path / "a" / "cell"))
    rows = top_n(target.scores(public.images()), method.top_n)
    without = method.train(target, public, rows, Run(0, CPU, tmp_path / "b" / "cell"))
    torch.testing.assert_close(with_term.gan.generator.state_dict(), without.generator.state_dict())


def test_survey_is_the_target_on_every_image(model: Classifier, tmp_path: Path) -> None:
    public = faces(3, 2)
    target = target_for(PLGMI_TINY, model)
    answer = survey(target, public, Run(0, CPU, tmp_path))
    with torch.no_grad():
        expected = model(public.images())
    torch.testing.assert_close(answer.logits, expected.logits)
    torch.testing.assert_close(answer.features, expected.features)
    assert target.queries == len(public)
