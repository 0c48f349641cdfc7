"""Blend, triggers, target labels and the blend schedule against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from trapmid.trapdoor import BlendSchedule
from trapmid.trapdoor.triggers import (
    TargetLabels,
    blend,
    by_blocks,
    draw_squares,
    draw_triggers,
    signed_step,
    stratified_labels,
)

unit = st.floats(0, 1, width=32)
shapes = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_blend_is_equation_3() -> None:
    draw = np.random.default_rng(0)
    x, k, alpha = draw.random((4, 3, 5, 6)), draw.random((4, 3, 5, 6)), draw.random((4, 1, 1, 1))
    one = blend(torch.tensor(x), torch.tensor(k), 0.02)
    np.testing.assert_allclose(one.numpy(), (1 - 0.02) * x + 0.02 * k, rtol=1e-13)
    each = blend(torch.tensor(x), torch.tensor(k), torch.tensor(alpha))
    np.testing.assert_allclose(each.numpy(), (1 - alpha) * x + alpha * k, rtol=1e-13)


@given(data=st.data(), shape=shapes, ratio=unit)
@settings(max_examples=60, deadline=None)
def test_blend_stays_between_image_and_trigger(data: st.DataObject, shape: tuple[int, ...], ratio: float) -> None:
    images, triggers = (
        torch.from_numpy(data.draw(hnp.arrays(np.float32, shape, elements=unit)).copy()) for _ in range(2)
    )
    blended = blend(images, triggers, ratio)
    assert blended.shape == images.shape
    assert ((blended >= 0) & (blended <= 1)).all()
    assert ((blended - images).abs() <= ratio * (triggers - images).abs() + 1e-6).all()


@given(n=st.integers(0, 200), classes=st.integers(1, 30), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_stratified_labels_counts(n: int, classes: int, seed: int) -> None:
    labels = stratified_labels(n, classes, rng(seed))
    counts = torch.bincount(labels, minlength=classes)
    assert len(labels) == n
    assert len(counts) == classes
    assert int(counts.min()) == n // classes
    assert int(counts.max()) == -(-n // classes)


def test_stratified_labels_are_shuffled() -> None:
    labels = stratified_labels(1000, 10, rng())
    assert not torch.equal(labels, labels.sort().values)
    assert (labels[:100].bincount(minlength=10) > 0).all()
    assert not torch.equal(labels, stratified_labels(1000, 10, rng(1)))


def test_target_labels_are_stratified_per_draw_and_resume() -> None:
    stream = TargetLabels(num_classes=4, per_draw=10, rng=rng())
    drawn = torch.cat([stream.draw(3) for _ in range(10)])
    for epoch in drawn.split(10):  # batches straddle the epochs, counts do not
        assert set(epoch.bincount(minlength=4).tolist()) == {2, 3}
    stream.draw(3)
    saved = {name: value.clone() for name, value in stream.state_dict().items()}
    expected = stream.draw(25)
    resumed = TargetLabels(num_classes=4, per_draw=10, rng=rng(99))
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.draw(25), expected)


def test_target_labels_resume_from_a_state_on_another_device() -> None:
    class Elsewhere(torch.Tensor):
        """A tensor that a generator does not take, as one on a GPU, until it is moved."""

        def cpu(self) -> torch.Tensor:  # type: ignore[override]
            return self.as_subclass(torch.Tensor)

    stream, resumed = TargetLabels(4, 10, rng()), TargetLabels(4, 10, rng(99))
    stream.draw(3)
    resumed.load_state_dict({name: value.as_subclass(Elsewhere) for name, value in stream.state_dict().items()})
    assert type(resumed.draw(9)) is torch.Tensor


@pytest.mark.parametrize("start", ["uniform", "low-frequency"])
def test_first_triggers(start: str) -> None:
    triggers, masks = draw_triggers(start, 6, (3, 32, 24), rng())  # type: ignore[arg-type]
    assert masks is None
    assert triggers.shape == (6, 3, 32, 24)
    assert float(triggers.min()) >= 0
    assert float(triggers.max()) <= 1
    assert float(triggers.mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(triggers, draw_triggers(start, 6, (3, 32, 24), rng()).triggers)  # type: ignore[arg-type]
    assert not torch.equal(triggers[0], triggers[1])
    neighbours = float((triggers[..., 1:] - triggers[..., :-1]).abs().mean())
    if start == "uniform":  # independent pixels: the mean distance of two uniforms is 1/3, their variance 1/12
        assert neighbours == pytest.approx(1 / 3, abs=0.02)
        assert float(triggers.var()) == pytest.approx(1 / 12, rel=0.05)
    else:
        assert neighbours < 0.15


@pytest.mark.parametrize("start", ["uniform", "low-frequency"])
def test_first_triggers_in_blocks_are_smaller_ones_enlarged(start: str) -> None:
    small = draw_triggers(start, 6, (3, 16, 12), rng()).triggers  # type: ignore[arg-type]
    triggers = draw_triggers(start, 6, (3, 32, 24), rng(), block=2).triggers  # type: ignore[arg-type]
    assert triggers.shape == (6, 3, 32, 24)
    for row in range(2):
        for column in range(2):
            assert torch.equal(triggers[..., row::2, column::2], small)


def test_a_gradient_by_blocks_is_the_mean_of_each_block() -> None:
    gradient = torch.randn(2, 3, 4, 6, generator=rng())
    found = by_blocks(gradient, 2)
    for row in range(4):
        for column in range(6):
            top, left = row // 2 * 2, column // 2 * 2
            torch.testing.assert_close(
                found[:, :, row, column], gradient[:, :, top : top + 2, left : left + 2].mean((2, 3))
            )
    assert by_blocks(gradient, 1) is gradient


def test_blend_within_a_mask() -> None:
    images, triggers = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, 1:3, 0], masks[1, :, 3, 3] = 1, 1
    found = blend(images, triggers, 0.3, masks)
    for n in range(2):
        for y in range(4):
            for x in range(4):
                m = 0.3 * masks[n, 0, y, x]
                torch.testing.assert_close(found[n, :, y, x], m * triggers[n, :, y, x] + (1 - m) * images[n, :, y, x])
    torch.testing.assert_close(blend(images, triggers, 0.3, torch.ones(2, 1, 4, 4)), blend(images, triggers, 0.3))


@pytest.mark.parametrize(("size", "side"), [(64, 6), (32, 3), (8, 1)])
def test_squares(size: int, side: int) -> None:
    """Five squares of `side` pixels for each class.

    Pixels away from the border are covered as often as uniform places say.
    """
    triggers, masks = draw_triggers("squares", 300, (3, size, size), rng())
    assert masks is not None
    assert triggers.shape == (300, 3, size, size)
    assert masks.shape == (300, 1, size, size)
    assert masks.unique().tolist() == [0, 1]
    assert not triggers[(masks == 0).expand_as(triggers)].any()
    assert float(triggers.min()) >= 0
    assert float(triggers.max()) <= 1
    covered = masks.sum((1, 2, 3))
    assert int(covered.max()) == 5 * side**2
    assert int(covered.min()) >= side**2
    hit = side**2 / (size - side + 1) ** 2
    middle = masks[:, 0, side - 1 : size - side + 1, side - 1 : size - side + 1].mean()
    assert float(middle) == pytest.approx(1 - (1 - hit) ** 5, rel=0.1)
    again = draw_triggers("squares", 300, (3, size, size), rng())
    assert torch.equal(triggers, again.triggers)
    assert torch.equal(masks, again.masks)  # type: ignore[arg-type]


def test_a_squares_pixels_are_normal_and_clipped() -> None:
    """One square as large as the image, in one channel: the clipped sum of five clipped normal draws."""
    triggers, masks = draw_squares(4000, (1, 1, 1), rng(1))
    assert masks is not None
    assert masks.all()
    draw = np.random.default_rng(0)
    normals = draw.random((4000, 5)) + draw.random((4000, 5)) * draw.standard_normal((4000, 5))
    expected = normals.clip(0, 1).sum(1).clip(0, 1)
    assert float(triggers.mean()) == pytest.approx(expected.mean(), abs=0.01)
    assert float((triggers < 1).float().mean()) == pytest.approx((expected < 1).mean(), abs=0.02)


def test_signed_step() -> None:
    triggers = torch.tensor([0.5, 0.5, 0.5, 0.005, 0.995])
    gradient = torch.tensor([1e-20, -7.0, 0.0, 3.0, -3.0])
    torch.testing.assert_close(signed_step(triggers, gradient, 0.01), torch.tensor([0.49, 0.51, 0.5, 0.0, 1.0]))
    assert signed_step(triggers, gradient, 0.01)[2] == triggers[2]


def test_blend_schedule() -> None:
    constant = BlendSchedule()
    assert [constant.at(p) for p in (0.0, 0.3, 1.0)] == [0.02, 0.02, 0.02]  # the paper's
    linear = BlendSchedule(start=0.2, end=0.02, until=0.5)
    assert [linear.at(p) for p in (0.0, 0.25, 0.5, 0.9, 1.0)] == pytest.approx([0.2, 0.11, 0.02, 0.02, 0.02])
    geometric = BlendSchedule(start=0.2, end=0.02, until=1.0, shape="geometric")
    assert [geometric.at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.2, (0.2 * 0.02) ** 0.5, 0.02])
    assert BlendSchedule(start=0.2, until=0.0).at(0.0) == 0.02
    assert linear.at(0.5) == linear.end  # exactly: `settled` compares


@given(progress=unit, start=st.floats(0.01, 1), end=st.floats(0.01, 1), shape=st.sampled_from(["linear", "geometric"]))
@settings(max_examples=60, deadline=None)
def test_schedule_stays_between_its_ends(progress: float, start: float, end: float, shape: str) -> None:
    schedule = BlendSchedule.model_validate({"start": start, "end": end, "until": 0.7, "shape": shape})
    assert min(start, end) - 1e-12 <= schedule.at(progress) <= max(start, end) + 1e-12


@pytest.mark.parametrize("wrong", [{"until": 1.5}, {"end": -0.1}, {"end": 1.1}, {"start": 0.0}, {"start": 2.0}])
def test_schedules_that_could_never_settle_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=r"less than or equal|greater than"):
        BlendSchedule(**wrong)
