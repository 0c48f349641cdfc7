"""The baseline without a generator, against a sort; its gallery is a prior like others."""

from pathlib import Path

import pytest
import torch

from helpers_attacks import CPU, faces, trained_classifier
from trapmid.attacks import PublicNearest, Run
from trapmid.engine import generator
from trapmid.targets import ScoreTarget

CLASSES = 4


def test_shows_the_images_the_target_is_surest_of(tmp_path: Path) -> None:
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


def test_random_samples_are_public_images(tmp_path: Path) -> None:
    public = faces(8, 4, first=100)
    target = ScoreTarget(trained_classifier(faces(CLASSES, 10)), CLASSES, (3, 32, 32))
    gallery = PublicNearest().prepare(target, public, Run(0, CPU, tmp_path))
    samples = gallery.sample(torch.zeros(200, dtype=torch.int64), generator(0, "samples"))
    known = {tuple(image.flatten().tolist()) for image in public.images()}
    drawn = {tuple(image.flatten().tolist()) for image in samples}
    assert drawn <= known
    assert len(drawn) > 0.9 * len(known)
    assert gallery.save(tmp_path) == ["gallery.safetensors"]


@pytest.mark.parametrize("latent", [-40.0, 40.0])
def test_latents_far_out_are_still_images(latent: float, tmp_path: Path) -> None:
    target = ScoreTarget(trained_classifier(faces(CLASSES, 10)), CLASSES, (3, 32, 32))
    gallery = PublicNearest().prepare(target, faces(2, 2), Run(0, CPU, tmp_path))
    assert gallery.decode(torch.tensor([[latent]]), torch.tensor([0])).shape == (1, 3, 32, 32)
