"""A watched model answers as before, counts, and raises an alarm when clean images would not look like this."""

import copy
import io

import pytest
import torch

from helpers.trapped import Trapped
from trapmid.detection import Alarm, Detector


@pytest.fixture(scope="module")
def detector(trapped: Trapped) -> Detector:
    train, val = (trapped.split.part(name).images() for name in ("train", "val"))
    return Detector.fit(trapped.model.classifier, trapped.secrets, train, val, false_positives=0.1)


def test_the_same_answers_and_the_detectors_counts(trapped: Trapped, detector: Detector) -> None:
    model, images = trapped.model.classifier, trapped.split.part("test").images()
    eye = detector.watch(model, window=16)
    with torch.no_grad():
        for batch in images.split(7):
            for one, other in zip(eye(batch)[:2], model(batch)[:2], strict=True):
                assert torch.equal(one, other)
    assert eye.seen == len(images)
    assert eye.flagged == int(detector.examine(model, images).flagged.sum())
    assert eye.alarms == 0


def test_an_alarm_for_the_window_that_deserves_it(trapped: Trapped, detector: Detector) -> None:
    model, images = trapped.model.classifier, trapped.split.part("test").images()[:20]
    raised: list[Alarm] = []
    eye = detector.watch(model, window=20, on_alarm=raised.append)
    triggered = trapped.secrets.poison(images, torch.arange(20) % 5)
    with torch.no_grad():
        for batch in (*images.split(10), *triggered.split(10), images[:5]):
            eye(batch)
    (alarm,) = raised
    assert alarm == eye.last_alarm
    assert (eye.alarms, eye.seen) == (1, 45)
    flagged = int(detector.examine(model, triggered).flagged.sum())
    assert alarm == Alarm(20, flagged, detector.calibration.chance(flagged, 20), 40)
    assert alarm.chance < 1e-3


def test_gradients_pass_and_weights_stay_publishable(trapped: Trapped, detector: Detector) -> None:
    eye = detector.watch(trapped.model.classifier)
    images = trapped.split.part("test").images()[:2].requires_grad_()
    eye(images).logits.sum().backward()
    assert float(images.grad.abs().sum()) > 0
    assert {name.removeprefix("model.") for name in eye.state_dict()} == set(trapped.model.classifier.state_dict())


def test_a_copy_goes_on_counting_by_itself(trapped: Trapped, detector: Detector) -> None:
    images = trapped.split.part("test").images()[:6]
    eye = detector.watch(trapped.model.classifier.cpu(), window=5)
    eye(images)
    other = copy.deepcopy(eye)
    assert torch.equal(other(images).logits, eye.model(images).logits)
    assert (other.seen, eye.seen) == (12, 6)
    kept = io.BytesIO()
    torch.save(eye, kept)
    kept.seek(0)
    assert torch.load(kept, weights_only=False).seen == 6
