"""kornia's coins and T_atk, against the formulas that the authors' programs rely on."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trapmid.attacks import PLGMI
from trapmid.augment import KorniaAugmentation, flipped
from trapmid.engine import randomness
from trapmid.recipes.two_cores import OF_ATTACK

ALONE = {"crop_probability": 0.0, "flip_probability": 0.0, "rotation_probability": 0.0}


def changed_shares(augmentation: KorniaAugmentation, calls: int = 24, images: int = 16) -> list[float]:
    """The share of images that each of several calls changes."""
    torch.manual_seed(0)
    shown = torch.rand(images, 3, 16, 16)
    augment = augmentation.build(16)
    return [float((augment(shown) != shown).flatten(1).any(1).double().mean()) for _ in range(calls)]


def test_whether_to_crop_is_one_coin_for_the_batch() -> None:
    shares = changed_shares(KorniaAugmentation(**ALONE | {"crop_probability": 0.5, "crop_area": (0.3, 0.6)}))
    assert all(share == 0 or share > 0.8 for share in shares)
    assert 0.2 < sum(share > 0 for share in shares) / len(shares) < 0.8


@pytest.mark.parametrize("name", ["flip_probability", "rotation_probability"])
def test_whether_to_flip_or_rotate_is_one_coin_for_each_image(name: str) -> None:
    shares = changed_shares(KorniaAugmentation(**ALONE | {name: 0.5}))
    assert all(0.05 < share < 0.95 for share in shares)


def test_t_atk_is_plg_mis() -> None:
    training, search = PLGMI().augmentation, PLGMI().search_augmentation
    assert isinstance(training, KorniaAugmentation)
    assert isinstance(search, KorniaAugmentation)
    for one, jitter in ((training, 0.5), (search, 1.0)):
        assert (one.crop_probability, one.crop_area, one.crop_ratio) == (1.0, (0.8, 1.0), (1.0, 1.0))
        assert (one.brightness, one.contrast, one.jitter_probability) == (0.2, 0.2, jitter)
        assert (one.flip_probability, one.rotation_degrees, one.rotation_probability) == (0.5, 5.0, 0.5)
    assert OF_ATTACK.rotation_probability == 1.0  # the recipes for two cores rotate every image, as they always have


def jittered(images: Tensor, brightness: float, contrast: float, *, bright_first: bool) -> Tensor:
    """Brightness x f and contrast f x + (1 - f) mean(grey), each clamped."""

    def brighten(x: Tensor) -> Tensor:
        return (x * brightness).clamp(0, 1)

    def stretch(x: Tensor) -> Tensor:
        grey = (x * torch.tensor([0.299, 0.587, 0.114], dtype=x.dtype)[:, None, None]).sum(1, keepdim=True)
        return (contrast * x + (1 - contrast) * grey.mean((1, 2, 3), keepdim=True)).clamp(0, 1)

    return stretch(brighten(images)) if bright_first else brighten(stretch(images))


def test_jitter_multiplies_and_blends_with_the_mean_grey() -> None:
    augment = KorniaAugmentation(**ALONE | {"brightness": 0.2, "contrast": 0.2, "jitter_probability": 1.0}).build(8)
    images = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    for seed in range(8):
        with randomness(0, "jitter", seed):
            found = augment(images)
        (jitter,) = (layer for layer in augment.children() if "Jitter" in type(layer).__name__)  # type: ignore[attr-defined]
        drawn = jitter._params
        b, c = float(drawn["brightness_factor"]), float(drawn["contrast_factor"])
        assert 0.8 <= min(b, c) <= max(b, c) <= 1.2
        order = drawn["order"].tolist()
        expected = jittered(images, b, c, bright_first=order.index(0) < order.index(1))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_flips_before_everything_else_mirror_about_half() -> None:
    torch.manual_seed(1)
    images = torch.rand(200, 1, 2, 4)
    seen = flipped(images, 0.5)
    mirrored = (seen == images.flip(3)).flatten(1).all(1)
    assert (mirrored | (seen == images).flatten(1).all(1)).all()
    assert 70 < int(mirrored.sum()) < 130
    state = torch.get_rng_state()
    assert flipped(images, 0.0) is images
    assert torch.equal(state, torch.get_rng_state())


def test_the_flips_of_a_published_training_come_before_the_triggers() -> None:
    """A trigger on a mirrored image is not a mirrored trigger."""
    images, trigger = torch.rand(64, 3, 4, 4), torch.rand(3, 4, 4)
    torch.manual_seed(0)
    poisoned = 0.98 * flipped(images, 0.5) + 0.02 * trigger
    residue = (poisoned - 0.02 * trigger) / 0.98
    same = (residue - images).abs().flatten(1).amax(1) < 1e-5
    mirrored = (residue - images.flip(3)).abs().flatten(1).amax(1) < 1e-5
    assert (same | mirrored).all()
    assert mirrored.any()
    assert F.mse_loss(residue, images) > 0
