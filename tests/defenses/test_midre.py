"""Random erasing: one square in each image, of the right size, colour and place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from helpers.settings import context_for
from trapmid.defenses import MIDRE
from trapmid.defenses.midre import erase

MEAN = (0.2, 0.5, 0.9)


def test_squares_are_of_the_mean_colour_and_the_stated_area() -> None:
    images = 2 + torch.rand(200, 3, 64, 64)  # unlike any fill
    erased = erase(images, (0.1, 0.4), MEAN)
    changed = (erased != images).all(1)
    assert torch.equal(changed, (erased != images).any(1))
    for image, where in zip(erased, changed, strict=True):
        rows, columns = where.any(1), where.any(0)
        side = int(rows.sum())
        assert side == int(columns.sum())
        assert torch.equal(where, rows[:, None] & columns)
        assert _runs(rows) == _runs(columns) == 1
        torch.testing.assert_close(image[:, where], torch.tensor(MEAN)[:, None].expand(3, side**2))
    area = changed.float().mean((1, 2))
    assert 0.09 < float(area.min()) < 0.11
    assert 0.39 < float(area.max()) < 0.41
    assert float(area.mean()) == pytest.approx(0.25, abs=0.015)
    anywhere = changed.float().mean(0)
    assert float(anywhere[0, 0]) < float(anywhere[32, 32])
    assert (anywhere[4:60, 4:60] > 0).all()


def _runs(along: torch.Tensor) -> int:
    padded = torch.cat([torch.zeros(1), along.float()])
    return int((padded.diff() > 0).sum())


@given(n=st.integers(0, 3), height=st.integers(1, 9), width=st.integers(1, 9), share=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_any_image(n: int, height: int, width: int, share: float) -> None:
    images = 2 + torch.rand(n, 1, height, width)
    erased = erase(images, (share, share), (0.5,))
    assert erased.shape == images.shape
    side = (share * height * width) ** 0.5
    expected = round(min(side, height)) * round(min(side, width))
    assert ((erased == 0.5).sum((1, 2, 3)) - expected).abs().le(max(height, width)).all()


def test_after_the_augmentation_and_differentiable() -> None:
    images = torch.rand(8, 3, 16, 16, requires_grad=True)
    defense = MIDRE(area=(0.25, 0.25))
    augment = defense.erasing(lambda x: 2 * x, context_for(defense))
    changed = augment(images)
    kept = changed == 2 * images
    assert float(kept.float().mean()) == pytest.approx(0.75)
    changed.sum().backward()
    torch.testing.assert_close(images.grad, 2 * kept.float())


def test_areas_outside_the_image_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"the lower bound 0\.4 is above the upper bound 0\.1"):
        MIDRE(area=(0.4, 0.1))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        MIDRE(area=(0.4, 1.1))
