"""LOKT: what the surrogates learn from labels alone, who is asked how often, and who is searched."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.statistics.attacks import Brightness, by_brightness
from helpers_attacks import CLASSES, CPU, PER_IDENTITY, SIZE, TINY_ATTACKS, TINY_TACGAN, faces
from trapmid.attacks import LOKT, Run
from trapmid.attacks.lokt import Ensemble, Surrogates
from trapmid.data.images import to_unit
from trapmid.engine import randomness
from trapmid.priors import PriorTraining
from trapmid.priors.tacgan import TACGANFit, verdicts
from trapmid.targets import LabelTarget
from trapmid.types import Prediction


def fit_of(**changes: float) -> TACGANFit:
    config = TINY_TACGAN.model_copy(update=changes)
    return TACGANFit(config, PriorTraining(faces(6, 4), CLASSES, 0, CPU), by_brightness)


def test_losses_are_those_of_an_auxiliary_classifier_gan() -> None:
    """Against binary and categorical cross-entropy on the same draws."""
    fit = fit_of(class_weight=0.5)
    with randomness(0, "step"):
        losses, notes = fit.discriminator_losses()
    with randomness(0, "step"), torch.no_grad():
        labels = fit.labels()
        images = fit.generator(fit.latents(), labels).clamp(0, 1)
        real = to_unit(fit.pixels[fit.rows()])
        of_real, of_generated = (fit.discriminator(x).logits for x in (real, images))
    ones, told = torch.ones(len(labels)), by_brightness(images)
    expected = F.binary_cross_entropy_with_logits(of_real[:, CLASSES], ones)
    expected += F.binary_cross_entropy_with_logits(of_generated[:, CLASSES], 0 * ones)
    torch.testing.assert_close(losses["discriminator"], expected)
    torch.testing.assert_close(losses["told"], 0.5 * F.cross_entropy(of_generated[:, :CLASSES], told))
    assert float(notes["as_asked"]) == pytest.approx(float((told == labels).float().mean()))
    with randomness(1, "step"):
        losses = dict(fit.generator_losses())
    with randomness(1, "step"), torch.no_grad():
        labels = fit.labels()
        said = fit.discriminator(fit.generator(fit.latents(), labels)).logits
    torch.testing.assert_close(losses["generator"], F.binary_cross_entropy_with_logits(said[:, CLASSES], ones))
    torch.testing.assert_close(losses["class"], 0.5 * F.cross_entropy(said[:, :CLASSES], labels))


def test_a_head_has_the_classes_and_no_verdict_on_realness() -> None:
    output = Prediction(torch.arange(10.0).view(2, 5), torch.zeros(2, 3))
    real, classes = verdicts(output)
    assert real.tolist() == [4.0, 9.0]
    assert classes.tolist() == [[0.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0]]


def test_an_ensemble_answers_with_the_mean() -> None:
    members = [nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4)) for _ in range(3)]
    images = torch.rand(5, 3, SIZE, SIZE)
    expected = sum(member(images) for member in members) / 3
    torch.testing.assert_close(Ensemble(members)(images), expected)


@pytest.mark.parametrize("students", [0, 1])
def test_asks_for_labels_while_it_learns_and_once_for_each_result(students: int, tmp_path: Path) -> None:
    method = TINY_ATTACKS["lokt"]
    assert isinstance(method, LOKT)
    short = method.prior.model_copy(update={"iterations": 3})
    method = method.model_copy(update={"prior": short, "students": method.students[:students], "search_steps": 2})
    target, run = LabelTarget(Brightness(), CLASSES, (3, SIZE, SIZE)), Run(0, CPU, tmp_path)
    prior = method.prepare(target, faces(6, 4), run)
    assert isinstance(prior, Surrogates)
    learnt = 3 * short.batch_size * short.discriminator_steps + students * method.samples
    assert target.queries == learnt
    found = method.invert(target, prior, torch.tensor([2, 0]), run)
    assert target.queries == learnt + 2 * PER_IDENTITY
    assert found.labels.tolist() == [2, 2, 0, 0]
    named = by_brightness(to_unit(found.pixels))
    assert found.confidence.tolist() == (named == found.labels).float().tolist()
