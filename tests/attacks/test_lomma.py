"""LOMMA: its identity loss image by image, and students that learn what the target says."""

from pathlib import Path

import pytest
import torch

from helpers_attacks import CPU, TINY, TINY_ATTACKS, TINY_DCGAN, KillAt, Killed, faces, target_of, trained_classifier
from trapmid.attacks import LOMMA, Run
from trapmid.attacks.distillation import Distillation
from trapmid.attacks.lomma import Help
from trapmid.data import ImageSet
from trapmid.models import Classifier, Zoo

CLASSES = 4


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(10, 4, first=100)


def test_defaults_are_the_published_constants() -> None:
    method = LOMMA()
    assert (method.base.kind, method.feature_weight) == ("gmi", 1.0)
    assert method.students == tuple(Zoo(name=f"efficientnet_b{i}", pretrained=True, pixels="unit") for i in range(3))
    assert method.distillation == Distillation(epochs=20, batch_size=64, rate=0.02, momentum=0.9, weight_decay=1e-4)
    assert (method.effort.images_per_identity, method.effort.identities_per_batch) == (5, 0)


def test_published_students_have_the_published_features() -> None:
    with torch.device("meta"):
        widths = [
            student.model_copy(update={"pretrained": False}).build(7, 64, 3).head.in_features
            for student in LOMMA().students
        ]
    assert widths == [1280, 1280, 1408]


def test_identity_loss_image_by_image(model: Classifier) -> None:
    method = TINY_ATTACKS["lomma"].model_copy(update={"feature_weight": 0.7})
    students = tuple(TINY.build(CLASSES, 32, 3).eval() for _ in range(2))
    images, labels = torch.rand(5, 3, 32, 32), torch.tensor([3, 0, 1, 1, 2])
    mean = torch.rand(model.head.in_features)
    ready = Help(TINY_DCGAN.build(CLASSES, 32, 3, CPU), students, mean)
    with torch.no_grad():
        found = method.identity_loss(target_of(model), ready)(images, labels)
        for i, label in enumerate(labels.tolist()):
            image = images[i : i + 1]
            logits = [float(network(image).logits[0, label]) for network in (model, *students)]
            features = model(image).features[0]
            regulariser = float(((features - mean) ** 2).mean())
            assert float(found[i]) == pytest.approx(-sum(logits) / 3 + 0.7 * regulariser, rel=1e-4, abs=1e-4)


def test_students_learn_what_the_target_says(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    target = target_of(model)
    answers = target.scores(public.images())
    student = Distillation(epochs=30, batch_size=8).teach(
        TINY, "student 0", public, answers, target, Run(0, CPU, tmp_path)
    )
    assert not student.training
    assert not any(p.requires_grad for p in student.parameters())
    assert target.queries == len(public)


def test_a_killed_student_resumes_to_the_same_weights(
    model: Classifier, public: ImageSet, tmp_path: Path, every_period_a_checkpoint: None
) -> None:
    target, lesson = target_of(model), Distillation(epochs=3, batch_size=8)
    answers = target.scores(public.images())
    whole = lesson.teach(TINY, "student 0", public, answers, target, Run(0, CPU, tmp_path / "whole"))
    with pytest.raises(Killed):
        lesson.teach(
            TINY, "student 0", public, answers, target, Run(0, CPU, tmp_path / "cell", progress=KillAt("student", 7))
        )
    again = lesson.teach(TINY, "student 0", public, answers, target, Run(0, CPU, tmp_path / "cell"))
    assert again.state_dict().keys() == whole.state_dict().keys()
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_students_of_one_run_differ(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    target = target_of(model)
    answers = target.scores(public.images())
    one, other = (
        Distillation(epochs=1, batch_size=8).teach(TINY, f"student {i}", public, answers, target, Run(0, CPU, tmp_path))
        for i in range(2)
    )
    assert not torch.equal(one.head.weight, other.head.weight)
