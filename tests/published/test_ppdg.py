"""PPDG-MI: which pictures become pseudo-private, what a class is shown, where a tuning begins, where it leads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers_attacks import (
    CLASSES,
    CPU,
    GMI_TINY,
    KEDMI_TINY,
    PLGMI_TINY,
    faces,
    prior_of,
    target_of,
    trained_classifier,
)
from trapmid.attacks import PPDG, Run
from trapmid.attacks.ppdg import Beginning, with_pseudo_private
from trapmid.data import ImageSet
from trapmid.models import Classifier
from trapmid.priors import GAN

BASES = {"plgmi": PLGMI_TINY, "gmi": GMI_TINY, "kedmi": KEDMI_TINY}
EVERYONE = torch.arange(CLASSES)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(8, 4, first=100)


def begun(method: PPDG, model: Classifier, public: ImageSet, folder: Path) -> tuple[Any, Beginning, Run]:
    target, run = target_of(model), Run(0, CPU, folder, prior_of(method))
    return target, method.prepare(target, public, run), run


def test_defaults_are_the_published_constants_for_plg_mi() -> None:
    published = PPDG()
    assert (published.rounds, published.samples, published.share, published.iterations) == (2, 200, 0.25, 1_000)
    assert (published.base.kind, published.base.search_steps, published.base.prior.rate) == ("plgmi", 80, 2e-4)
    assert published.tuned == "each"


def test_public_and_pseudo_private_images_of_a_class_are_equally_likely() -> None:
    rows = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    labels = torch.tensor([2, 2, 0, 0])
    found = with_pseudo_private(rows, labels, before=20)
    for identity, own in ((0, [0, 1, 2, 22, 23]), (1, [3, 4, 5]), (2, [6, 7, 8, 20, 21])):
        shown, counts = found[identity].unique(return_counts=True)
        assert shown.tolist() == own
        assert len(set(counts.tolist())) == 1


def weights(gan: GAN) -> dict[str, Tensor]:
    return {
        f"{which}.{name}": value.detach().clone()
        for which in ("generator", "discriminator")
        for name, value in getattr(gan, which).named_parameters()
    }


@pytest.mark.parametrize("kind", BASES)
def test_tuning_begins_with_both_networks_of_the_first_round(
    kind: str, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    base = BASES[kind]
    still = base.model_copy(update={"prior": base.prior.model_copy(update={"rate": 1e-12})})
    target, ready, run = begun(PPDG(base=base, samples=4, share=0.5), model, public, tmp_path)
    before = weights(ready.gan)
    pixels = faces(CLASSES, 2).pixels
    for method in (PPDG(base=still, iterations=2), PPDG(base=base, iterations=2)):
        run = Run(0, CPU, tmp_path / f"tuned-{method.base is still}", run.prior)
        tuned = method._tuned(target, ready, pixels, EVERYONE.repeat_interleave(2), run)
        after = weights(tuned)
        near = [bool(torch.allclose(after[name], value, atol=1e-6, rtol=0)) for name, value in before.items()]
        assert all(near) is (method.base is still)
        assert all(bool((value == before[name]).all()) for name, value in weights(ready.gan).items())


def test_the_surest_pictures_become_pseudo_private_and_each_identity_is_tuned_for_itself(
    model: Classifier, public: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = PPDG(base=PLGMI_TINY, samples=4, share=0.5, iterations=2)
    target, ready, run = begun(method, model, public, tmp_path)
    seen: list[tuple[Tensor, Tensor]] = []
    tuned = PPDG._tuned

    def watched(self: PPDG, target: Any, ready: Beginning, pixels: Tensor, labels: Tensor, run: Run) -> GAN:
        seen.append((pixels, labels))
        return tuned(self, target, ready, pixels, labels, run)

    monkeypatch.setattr(PPDG, "_tuned", watched)
    found = method.invert(target, ready, EVERYONE[:3], run)
    many = PLGMI_TINY.model_copy(update={"images_per_identity": 4})
    first = method._attacked(
        many, target_of(model), ready.gan, EVERYONE[:3], Run(0, CPU, tmp_path / "other"), "round-1"
    )
    assert [labels.tolist() for _, labels in seen] == [[0, 0], [1, 1], [2, 2]]
    for identity, (pixels, _) in enumerate(seen):
        own = first.labels == identity
        best = first.confidence[own].topk(2).indices
        torch.testing.assert_close(pixels, first.pixels[own][best], rtol=0, atol=0)
    assert found.labels.bincount().tolist() == [PLGMI_TINY.images_per_identity] * 3


def test_tuning_moves_the_generator_towards_what_was_found(model: Classifier, public: ImageSet, tmp_path: Path) -> None:
    """Red pseudo-private images make its pictures redder than public ones in their place do."""
    base = PLGMI_TINY.model_copy(update={"inversion_weight": 0.0})
    method = PPDG(base=base, iterations=60)
    target, ready, _ = begun(method, model, public, tmp_path)
    red = torch.zeros(24, *public.pixels.shape[1:], dtype=torch.uint8)
    red[:, 0] = 255

    def redness(pixels: Tensor, name: str) -> float:
        tuned = method._tuned(target, ready, pixels, torch.full((24,), 1), Run(0, CPU, tmp_path / name))
        images = tuned.sample(torch.full((32,), 1), torch.Generator().manual_seed(0))
        return float((images[:, 0] - images[:, 1:].mean(1)).mean())

    assert redness(red, "red") > redness(public.pixels[:24], "public") + 0.05
