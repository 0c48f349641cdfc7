"""Warps against exact references.

Every augmentation keeps shape and range, lets gradients through and obeys `randomness`.
"""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor

from helpers.faces import tiny_private
from trapmid.augment import (
    AUGMENTATIONS,
    AnyAugmentation,
    Augmentation,
    Degradation,
    KorniaAugmentation,
    NoAugmentation,
    RangeNoise,
    WarpAugmentation,
    affine_maps,
    warp,
)
from trapmid.engine import randomness

JITTER = {"brightness": 0.2, "contrast": 0.2, "jitter_probability": 0.7}
EVERY: list[Augmentation] = [
    NoAugmentation(),
    KorniaAugmentation(),
    KorniaAugmentation(**JITTER),
    WarpAugmentation(),
    WarpAugmentation(shift=0.2, padding="reflection", **JITTER),
    Degradation(),
    RangeNoise(),
]
every_augmentation = pytest.mark.parametrize(
    "augmentation", EVERY, ids=["none", "kornia", "kornia-jitter", "warp", "warp-all", "degrade", "range-noise"]
)


@pytest.fixture
def faces() -> Tensor:
    return tiny_private().images.images()[:6]


def maps(
    n: int, zoom: float = 1.0, shift: tuple[float, float] = (0, 0), corner: tuple[float, float] = (0, 0),
    flip: bool = False, degrees: float = 0.0,
) -> Tensor:  # fmt: skip
    """The same map n times."""
    return affine_maps(
        zoom=torch.full((n,), zoom),
        shift=torch.tensor([shift] * n, dtype=torch.float32),
        corner=torch.tensor([corner] * n, dtype=torch.float32),
        flip=torch.full((n,), flip),
        radians=torch.full((n,), math.radians(degrees)),
    )


def test_nothing_changes_nothing(faces: Tensor) -> None:
    torch.testing.assert_close(warp(faces, maps(6)), faces, rtol=0, atol=1e-5)


def test_flip(faces: Tensor) -> None:
    torch.testing.assert_close(warp(faces, maps(6, flip=True)), torch.flip(faces, [3]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(faces: Tensor, turns: int) -> None:
    turned = torch.rot90(faces, turns, [2, 3])  # counter-clockwise
    torch.testing.assert_close(warp(faces, maps(6, degrees=90 * turns)), turned, rtol=0, atol=1e-4)


@pytest.mark.parametrize("degrees", [-30.0, 12.0, 90.0])
def test_rotation_is_kornias(faces: Tensor, degrees: float) -> None:
    from kornia.geometry import rotate

    expected = rotate(faces, torch.full((6,), degrees))
    torch.testing.assert_close(warp(faces, maps(6, degrees=degrees)), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("corner", [(-1, -1), (1, -1), (-1, 1), (1, 1)])
def test_crop_of_a_corner(faces: Tensor, corner: tuple[float, float]) -> None:
    """Half the side at a corner: that quarter of the image, enlarged twice."""
    across, down = (0 if c < 0 else 16 for c in corner)
    quarter = faces[:, :, down : down + 16, across : across + 16]
    expected = torch.nn.functional.interpolate(quarter, size=(32, 32), mode="bilinear", align_corners=False)
    inside = slice(1, -1)  # at its edge the crop sees its neighbours, the cut-out does not
    cropped = warp(faces, maps(6, zoom=0.5, corner=corner))
    torch.testing.assert_close(cropped[..., inside, inside], expected[..., inside, inside], rtol=0, atol=1e-5)


def test_shift_and_what_lies_outside(faces: Tensor) -> None:
    right = warp(faces, maps(6, shift=(0.25, 0.0)))  # a quarter of half of 32 pixels: 4
    torch.testing.assert_close(right[..., :-4], faces[..., 4:], rtol=0, atol=1e-5)
    assert float(right[..., -4:].abs().max()) < 1e-5
    mirrored = warp(faces, maps(6, shift=(0.25, 0.0)), "reflection")
    torch.testing.assert_close(mirrored[..., -4:], faces[..., -4:].flip(3), rtol=0, atol=1e-5)


def test_crop_then_flip_then_rotation(faces: Tensor) -> None:
    one_after_another = warp(
        warp(warp(faces, maps(6, zoom=0.8, corner=(1, -1))), maps(6, flip=True)), maps(6, degrees=90)
    )
    at_once = warp(faces, maps(6, zoom=0.8, corner=(1, -1), flip=True, degrees=90))
    torch.testing.assert_close(at_once, one_after_another, rtol=0, atol=1e-4)


@given(seed=st.integers(0, 2**31), size=st.integers(2, 12), n=st.integers(1, 4), channels=st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_warps_stay_in_the_unit_interval(seed: int, size: int, n: int, channels: int) -> None:
    with randomness(seed, "images"):
        images = torch.rand(n, channels, size, size)
        changed = EVERY[4].build(size)(images)
    assert changed.shape == images.shape
    assert ((changed >= 0) & (changed <= 1)).all()


@every_augmentation
def test_json_round_trip(augmentation: Augmentation) -> None:
    assert TypeAdapter(AnyAugmentation).validate_json(augmentation.model_dump_json()) == augmentation


def test_every_member_is_tested() -> None:
    assert {type(augmentation) for augmentation in EVERY} == set(AUGMENTATIONS)


@every_augmentation
def test_shape_range_gradient_and_randomness(augmentation: Augmentation, faces: Tensor) -> None:
    change = augmentation.build(32)

    def changed(seed: int) -> Tensor:
        with randomness(seed, "augment"):
            return change(faces)

    faces.requires_grad_()
    one = changed(1)
    assert one.shape == faces.shape
    assert one.dtype == faces.dtype
    overflow = 6 * RangeNoise().share if isinstance(augmentation, RangeNoise) else 1e-6  # it is not clipped
    assert float(one.detach().min()) >= -overflow
    assert float(one.detach().max()) <= 1 + overflow
    one.square().sum().backward()
    assert faces.grad is not None
    assert (faces.grad.flatten(1).abs().sum(1) > 0).all()
    with torch.no_grad():
        assert torch.equal(one, changed(1))
        is_random = augmentation.kind != "none"  # type: ignore[attr-defined]
        assert torch.equal(one, changed(2)) != is_random
        if is_random:  # each image by its own draw
            alike = change(faces[:1].expand(16, -1, -1, -1))
            assert len({tuple(image.flatten().tolist()) for image in alike}) > 4


def test_probabilities_of_zero_change_nothing(faces: Tensor) -> None:
    off = {"crop_probability": 0.0, "flip_probability": 0.0, "rotation_probability": 0.0}
    for augmentation in (KorniaAugmentation(**off), WarpAugmentation(**off)):
        torch.testing.assert_close(augmentation.build(32)(faces), faces, rtol=0, atol=1e-4)


def test_warp_draws_what_its_config_says() -> None:
    """Half the images flipped, none of them anything else."""
    ramp = torch.linspace(0, 1, 8).expand(400, 1, 8, 8)
    only_flip = WarpAugmentation(crop_probability=0.0, rotation_probability=0.0, flip_probability=0.5)
    changed = only_flip.build(8)(ramp)
    flipped = changed[:, 0, 0, 0] > 0.5
    torch.testing.assert_close(
        changed, torch.where(flipped[:, None, None, None], ramp.flip(3), ramp), rtol=0, atol=1e-5
    )
    assert 150 < int(flipped.sum()) < 250


def test_blur_is_a_gaussian_of_each_images_own_width() -> None:
    """A point spreads to a bump whose variance lies between nothing and the largest."""
    points = torch.zeros(64, 1, 33, 33)
    points[:, :, 16, 16] = 1.0
    bumps = Degradation(blur=2.0, jpeg_quality=None, noise=0.0).build(33)(points)[:, 0]
    torch.testing.assert_close(bumps.sum((1, 2)), torch.ones(64))
    places = torch.arange(33.0) - 16
    variances = (bumps.sum(1) * places.square()).sum(1)
    assert float(variances.min()) < 0.5
    assert 2.0 < float(variances.max()) < 4.0
    assert len(set(variances.tolist())) > 50


def test_noise_has_its_width() -> None:
    noisy = Degradation(blur=0.0, jpeg_quality=None, noise=0.05).build(32)(torch.full((20, 3, 32, 32), 0.5))
    assert float((noisy - 0.5).std()) == pytest.approx(0.05, rel=0.02)
    assert float((noisy - 0.5).mean()) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels: int) -> None:
    """The codec that others' pictures go through, up to rounding and the chroma's resampling."""
    smooth = torch.nn.functional.interpolate(torch.rand(1, channels, 6, 6), size=(32, 32), mode="bicubic").clamp(0, 1)
    ours = Degradation(blur=0.0, jpeg_quality=(60.0, 60.0), noise=0.0).build(32)(smooth)
    stream = io.BytesIO()
    array = (smooth[0].permute(1, 2, 0) * 255).round().to(torch.uint8).squeeze(2).numpy()
    Image.fromarray(array).save(stream, format="JPEG", quality=60)
    theirs = torch.from_numpy(np.array(Image.open(stream))).view(32, 32, channels).permute(2, 0, 1) / 255
    assert float((ours[0] - theirs).abs().mean()) < 0.02
    assert float((ours - smooth).abs().mean()) > 0.003


def test_degradation_hides_a_faint_fine_pattern_more_than_the_picture() -> None:
    pattern = torch.rand(1, 3, 32, 32)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), size=(32, 32), mode="bilinear")
    degrade = Degradation(noise=0.0).build(32)

    def left(images: Tensor, change: Tensor) -> float:
        """What of a change survives, as a share of its length."""
        with randomness(0, "same draws"):
            before = degrade(images)
        with randomness(0, "same draws"):
            after = degrade(images + change)
        return float((after - before).norm() / change.norm())

    repeated = smooth.repeat(16, 1, 1, 1) * 0.8 + 0.1
    fine, coarse = 0.02 * (pattern - 0.5), 0.02 * (smooth - 0.5)
    assert left(repeated, fine.expand(16, -1, -1, -1)) < 0.7 * left(repeated, coarse.expand(16, -1, -1, -1))
