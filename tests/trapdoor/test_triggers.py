"""Blend, triggers, target labels and the blend schedule against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from trapmid.trapdoor import BlendSchedule
from trapmid.trapdoor.triggers import TargetLabels, blend, draw_triggers, signed_step, stratified_labels

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


@pytest.mark.parametrize("start", ["uniform", "low-frequency"])
def test_first_triggers(start: str) -> None:
    triggers = draw_triggers(start, 6, (3, 32, 24), rng())  # type: ignore[arg-type]
    assert triggers.shape == (6, 3, 32, 24)
    assert float(triggers.min()) >= 0
    assert float(triggers.max()) <= 1
    assert float(triggers.mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(triggers, draw_triggers(start, 6, (3, 32, 24), rng()))  # type: ignore[arg-type]
    assert not torch.equal(triggers[0], triggers[1])
    neighbours = float((triggers[..., 1:] - triggers[..., :-1]).abs().mean())
    if start == "uniform":  # independent pixels: the mean distance of two uniforms is 1/3, their variance 1/12
        assert neighbours == pytest.approx(1 / 3, abs=0.02)
        assert float(triggers.var()) == pytest.approx(1 / 12, rel=0.05)
    else:
        assert neighbours < 0.15


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
