"""AlignMI: gradients averaged over neighbours, against the mean written out."""

from pathlib import Path

import pytest
import torch

from helpers_attacks import CLASSES, CPU, PLGMI_TINY, TINY_ATTACKS, faces, prior_of, target_of, trained_classifier
from trapmid.attacks import Run, parse_attack
from trapmid.attacks.aligned import Aligned
from trapmid.attacks.search import optimise
from trapmid.augment import KorniaAugmentation, NoAugmentation, RangeNoise
from trapmid.engine import randomness
from trapmid.types import UserError


def test_the_mean_gradient_of_neighbours() -> None:
    """One step of SGD on a cubic loss at noisy points."""

    def loss(z: torch.Tensor, part: slice) -> torch.Tensor:
        return ((z + torch.randn_like(z)) ** 3).sum(1)

    start = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    found = optimise(
        start,
        loss,
        steps=1,
        rate=0.01,
        run=Run(0, CPU, Path("unused"), evaluations=7),
        name="aligned test",
        chunk=10,
        folder=None,
        optimizer=torch.optim.SGD,
    )
    from trapmid.engine import Loop

    gradients = []

    def gather(number: int) -> dict[str, torch.Tensor]:
        for _ in range(7):
            z = start.clone().requires_grad_()
            (g,) = torch.autograd.grad(((z + torch.randn_like(z)) ** 3).sum(), z)
            gradients.append(g)
        return {"seen": torch.zeros(())}

    Loop("aligned test", 1, 0, CPU, {}, None, 1).run(gather)  # the same random numbers
    torch.testing.assert_close(found, start - 0.01 * torch.stack(gradients).mean(0))


def test_neighbours_that_are_the_image_change_nothing(tmp_path: Path) -> None:
    plain = PLGMI_TINY.model_copy(update={"search_augmentation": NoAugmentation(), "candidates": 2, "search_steps": 4})
    model, public = trained_classifier(faces(CLASSES, 4)), faces(4, 4, first=100)
    around = Aligned(base=plain, neighbourhood=NoAugmentation(), neighbours=3)
    one, other = target_of(model), target_of(model)
    run = Run(0, CPU, tmp_path / "plain", prior_of(plain))
    ready = plain.prepare(one, public, run)
    again = Run(0, CPU, tmp_path / "aligned", prior_of(plain))
    shown = around.prepare(other, public, again)
    shown.ready.generator.load_state_dict(ready.generator.state_dict())
    identities = torch.arange(2)
    expected = plain.invert(one, ready, identities, run)
    found = around.invert(other, shown, identities, again)
    assert int((found.pixels.int() - expected.pixels.int()).abs().max()) <= 1
    assert torch.equal(found.labels, expected.labels)


def test_only_images_that_gradients_are_taken_of_have_neighbours(tmp_path: Path) -> None:
    method = TINY_ATTACKS["aligned"]
    assert isinstance(method, Aligned)
    model = trained_classifier(faces(CLASSES, 4))
    target, run = target_of(model), Run(0, CPU, tmp_path, prior_of(method))
    shown = method.prepare(target, faces(4, 4, first=100), run)
    before = target.queries
    found = method.invert(target, shown, torch.tensor([1]), run)
    base = method.base
    per_step = base.images_per_identity * base.augmentations  # type: ignore[attr-defined]
    chosen = 2 * max(base.candidates, base.images_per_identity)  # type: ignore[attr-defined]
    saved = 2 * base.images_per_identity  # type: ignore[attr-defined]
    assert target.queries - before == chosen + per_step * method.neighbours * base.search_steps + saved  # type: ignore[attr-defined]
    assert len(found.labels) == 2


def test_range_noise_is_a_share_of_the_range_of_the_batch() -> None:
    images = 0.25 + 0.5 * torch.rand(50, 3, 8, 8)
    with randomness(0, "noise"):
        seen = RangeNoise(share=0.06).build(8)(images)
    with randomness(0, "noise"):
        drawn = torch.randn_like(images)
    torch.testing.assert_close(seen, images + 0.06 * (images.max() - images.min()) * drawn)


def test_taa_draws_once_for_a_batch() -> None:
    augment = Aligned().neighbourhood.build(16)
    assert isinstance(Aligned().neighbourhood, KorniaAugmentation)
    images = torch.rand(1, 3, 16, 16).expand(6, -1, -1, -1)
    for seed in range(4):
        torch.manual_seed(seed)
        seen = augment(images)
        torch.testing.assert_close(seen, seen[:1].expand_as(seen), atol=1e-5, rtol=1e-5)


def test_bases_descend_gradients() -> None:
    assert parse_attack("aligned-gmi").name == "aligned-gmi"
    with pytest.raises(UserError, match="aligned cannot wrap brep"):
        parse_attack("aligned-brep")
