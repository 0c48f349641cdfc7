"""The noise schedule and its solvers against formulas, and against diffusers where it is installed."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from trapmid.priors.noise_schedule import NoiseSchedule, evenly

SCHEDULE = NoiseSchedule(1000, 1e-4, 0.02)


def images(seed: int) -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def bent(noisy: Tensor, time: int) -> Tensor:
    """A predictor of noise that is neither linear in the image nor constant in time."""
    return torch.sin(2 * noisy + time / 300) * 0.8


def test_noise_is_added_as_in_the_sum_of_single_steps() -> None:
    """Eq. 2 of Ho et al., step by step: the signal is multiplied, variances are too, and each step adds its own."""
    signal, variance = 1.0, 0.0
    betas = [1e-4 + (0.02 - 1e-4) * step / 999 for step in range(1000)]
    for step, beta in enumerate(betas):
        signal, variance = signal * math.sqrt(1 - beta), variance * (1 - beta) + beta
        if step in (0, 1, 10, 500, 999):
            noised = SCHEDULE.noised(images(0), torch.tensor([step, step]), images(1))
            torch.testing.assert_close(noised, signal * images(0) + math.sqrt(variance) * images(1))


def test_each_image_has_a_time_of_its_own() -> None:
    both = SCHEDULE.noised(images(0), torch.tensor([3, 700]), images(1))
    for row, time in enumerate((3, 700)):
        alone = SCHEDULE.noised(images(0)[row : row + 1], torch.tensor([time]), images(1)[row : row + 1])
        torch.testing.assert_close(both[row : row + 1], alone)


def test_the_velocity_and_the_noisy_image_give_the_noise() -> None:
    times = torch.tensor([3, 700])
    noisy, velocity = (how(images(0), times, images(1)) for how in (SCHEDULE.noised, SCHEDULE.velocity))
    torch.testing.assert_close(SCHEDULE.noise_of(noisy, times, velocity), images(1))
    angle = torch.atan2(SCHEDULE.spread, SCHEDULE.signal)[times].float()[:, None, None, None]
    torch.testing.assert_close(velocity, angle.cos() * images(1) - angle.sin() * images(0))


def test_the_true_noise_leads_back_to_the_image() -> None:
    clean, noise = images(0).clamp(-1, 1), images(1)
    noisy = SCHEDULE.noised(clean, torch.tensor([600, 600]), noise)
    torch.testing.assert_close(SCHEDULE.clean(noisy, 600, noise), clean, atol=1e-4, rtol=0)

    def true_noise(now: Tensor, time: int) -> Tensor:
        return (now - SCHEDULE.signal[time].float() * clean) / SCHEDULE.spread[time].float()

    for solve in (SCHEDULE.ddim, SCHEDULE.dpm_solver):
        torch.testing.assert_close(solve(noisy, evenly(600, 7), true_noise), clean, atol=1e-4, rtol=0)


def test_both_solvers_converge_to_one_image() -> None:
    """They solve one differential equation. The second order needs fewer steps for the same error."""
    smooth = lambda noisy, time: 0.5 * noisy.tanh()  # noqa: E731
    start = 0.3 * images(2)
    exact = SCHEDULE.ddim(start, evenly(400, 400), smooth)
    errors = {
        solver.__name__: float((solver(start, evenly(400, 8), smooth) - exact).abs().max())
        for solver in (SCHEDULE.ddim, SCHEDULE.dpm_solver)
    }
    assert errors["dpm_solver"] < errors["ddim"] < 0.1


def test_times_fall_evenly_and_do_not_repeat() -> None:
    assert evenly(999, 10) == [999, 899, 799, 699, 599, 500, 400, 300, 200, 100]
    assert evenly(3, 10) == [3, 2, 1, 0]
    assert evenly(0, 5) == [0]


def test_ddim_is_that_of_diffusers() -> None:
    diffusers: Any = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    theirs.set_timesteps(20)
    noisy = images(3)
    for time in theirs.timesteps.tolist():
        answer = bent(noisy, time)
        noisy = theirs.step(answer, time, noisy, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(SCHEDULE.ddim(images(3), theirs.timesteps.tolist(), bent), noisy, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dpm_solver_is_that_of_diffusers() -> None:
    diffusers: Any = pytest.importorskip("diffusers")
    theirs = diffusers.DPMSolverMultistepScheduler(
        beta_schedule="linear", beta_start=1e-4, beta_end=0.02, thresholding=True, sample_max_value=1.0
    )
    theirs.set_timesteps(10)
    assert theirs.timesteps.tolist() == evenly(999, 10)
    noisy = images(4)
    for time in theirs.timesteps.tolist():
        noisy = theirs.step(bent(noisy, time), time, noisy).prev_sample
    torch.testing.assert_close(SCHEDULE.dpm_solver(images(4), evenly(999, 10), bent), noisy, atol=1e-4, rtol=1e-4)
