"""Gaussian diffusion: how noise is added to images (Ho et al. 2020), and two solvers that take it away again.

Images here have pixels in [-1, 1]. Time steps count from 0, which adds the least noise.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from trapmid.types import Images

NoiseAt = Callable[[Images, int], Images]
"""Predicts the noise in images (n, c, h, w) that are at a time step."""


@final
class NoiseSchedule:
    """A schedule whose variances grow linearly.

    An image x at time t is signal[t] * x + spread[t] * noise, with noise from N(0, I).

    Args:
        steps: number of time steps.
        first: variance that step 0 adds.
        last: variance that the last step adds.

    Attributes:
        signal: (steps,), the share of the image.
        spread: (steps,), the standard deviation of the noise.
    """

    def __init__(self, steps: int, first: float, last: float) -> None:
        kept = torch.linspace(first, last, steps, dtype=torch.float64).neg().add(1).cumprod(0)
        self.signal, self.spread = kept.sqrt(), (1 - kept).sqrt()

    def noised(self, images: Images, times: Tensor, noise: Images) -> Images:
        """Images (n, c, h, w) at their time steps (n,)."""
        return _each(self.signal, times, images) * images + _each(self.spread, times, images) * noise

    def velocity(self, images: Images, times: Tensor, noise: Images) -> Images:
        """signal * noise - spread * image, for images (n, c, h, w) and time steps (n,) (Salimans & Ho 2022, App. D)."""
        return _each(self.signal, times, images) * noise - _each(self.spread, times, images) * images

    def noise_of(self, noisy: Images, times: Tensor, velocity: Images) -> Images:
        """The noise in images (n, c, h, w) at time steps (n,) that have this velocity."""
        return _each(self.signal, times, noisy) * velocity + _each(self.spread, times, noisy) * noisy

    def clean(self, noisy: Images, time: int, noise: Images) -> Images:
        """The images without the predicted noise, limited to [-1, 1]."""
        return ((noisy - float(self.spread[time]) * noise) / float(self.signal[time])).clamp(-1, 1)

    def ddim(self, noisy: Images, times: Sequence[int], noise_at: NoiseAt) -> Images:
        """Remove the noise without adding new noise (DDIM, Song et al. 2021, Eq. 12 with eta = 0).

        Args:
            noisy: (n, c, h, w), images at the first of `times`.
            times: falling time steps at which the noise is predicted.
            noise_at: predicts it.
        """
        for time, after in pairwise([*times, None]):
            assert time is not None
            clean = self.clean(noisy, time, noise_at(noisy, time))
            if after is None:
                return clean
            noise = (noisy - float(self.signal[time]) * clean) / float(self.spread[time])
            noisy = float(self.signal[after]) * clean + float(self.spread[after]) * noise
        return noisy

    def dpm_solver(self, noisy: Images, times: Sequence[int], noise_at: NoiseAt) -> Images:
        """DPM-Solver++(2M) (Lu et al. 2022, Alg. 2): each step extrapolates from the two latest predicted images.

        The first and the last step are of first order, because nothing precedes the first and little follows the last.

        Args:
            noisy: (n, c, h, w), images at the first of `times`.
            times: falling time steps at which the noise is predicted.
            noise_at: predicts it.
        """
        log_ratio = (self.signal / self.spread).log()
        earlier, earlier_step = None, 0.0
        for time, after in pairwise([*times, None]):
            assert time is not None
            clean = self.clean(noisy, time, noise_at(noisy, time))
            if after is None:
                return clean
            step = float(log_ratio[after] - log_ratio[time])
            if earlier is None:
                towards = clean
            else:
                half = step / (2 * earlier_step)
                towards = (1 + half) * clean - half * earlier
            shrink = float(self.spread[after] / self.spread[time])
            grow = float(self.signal[after] * -torch.expm1(torch.tensor(-step, dtype=torch.float64)))
            noisy, earlier, earlier_step = shrink * noisy + grow * towards, clean, step
        return noisy


def evenly(last: int, count: int) -> list[int]:
    """`count` time steps that fall evenly from `last`, the next of which would be 0; fewer if there are not as many."""
    times = torch.linspace(0, last, count + 1, dtype=torch.float64).round().long().flip(0)[:-1]
    return list(dict.fromkeys(times.tolist()))


def _each(values: Tensor, times: Tensor, images: Images) -> Tensor:
    return values.to(images.device, images.dtype)[times][:, None, None, None]
