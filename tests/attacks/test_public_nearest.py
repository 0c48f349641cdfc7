"""The baseline without a generator, against a sort."""

from pathlib import Path

import torch

from helpers_attacks import CPU, faces, trained_classifier
from trapmid.attacks import PublicNearest, Run
from trapmid.targets import ScoreTarget

CLASSES = 4


def test_shows_the_images_the_target_is_most_confident_in(tmp_path: Path) -> None:
    model, public = trained_classifier(faces(CLASSES, 10)), faces(8, 4, first=100)
    target, run = ScoreTarget(model, CLASSES, (3, 32, 32)), Run(0, CPU, tmp_path)
    method = PublicNearest(images_per_identity=3)
    found = method.invert(target, method.prepare(target, public, run), torch.tensor([2, 0]), run)
    with torch.no_grad():
        scores = model(public.images()).logits.softmax(1)
    assert found.labels.tolist() == [2, 2, 2, 0, 0, 0]
    for part, label in ((slice(0, 3), 2), (slice(3, 6), 0)):
        rows = sorted(range(len(public)), key=lambda i: -float(scores[i, label]))[:3]
        assert torch.equal(found.pixels[part], public.pixels[rows])
        torch.testing.assert_close(found.confidence[part], scores[rows, label])
    assert target.queries == len(public)
