"""The table of tests/spreads.py: every statistic's spread over seeds and roundings, beside the bounds of its test."""

import math
import platform
from collections import Counter, defaultdict
from textwrap import fill
from typing import NamedTuple

import numpy as np
from scipy.stats import nct, norm

PASSES, CONFIDENCE, ROOM, FEWEST, MUCH = 0.9999, 0.9, 5, 5, 1000

TEXT = f"""# How far tests stay from their bounds

Some tests check what a training, a search or a draw decides. Another processor rounds otherwise, a training doubles
that difference step after step, and ends as another seed would. So each of these numbers was measured over many
seeds, and in other roundings from the same seeds. `uv run python tests/spreads.py` measures again and writes this
page.

A test has one seed, and processors differ in their rounding alone. It passes on at least {PASSES:.2%} of them if its
bound is at least k standard deviations from the mean over "last bit" roundings of that seed, where k is the one-sided
tolerance factor of the normal distribution for that share at {CONFIDENCE:.0%} confidence, 4.8 for 20 measurements.
"Last bit" moves every sum, product of matrices and convolution by a unit in the last place at random, and so stands
for processors that are not at hand. Where it was not measured, the standard deviation is that over seeds, which is
larger. Numbers that tests/golden records have a tolerance of at least {ROOM} times the largest deviation that any
rounding causes. "Room" is that distance in standard deviations, or that ratio; too little of it is marked. A
star marks a statistic of which some seed lies outside of its bound: it holds for its test's seed, and its setting is
small.

Mean, standard deviation, least and most are over seeds in the usual rounding: one thread, oneDNN, channels last. The
other roundings are last bit; two threads; no oneDNN; convolutions' weights channels first; torch's code without
vectors, with AVX2 and with AVX-512, as far as this processor has them. Their largest change is from the usual
rounding of the same seed.

What these measurements changed:

- **A search cannot find an identity that its generator does not paint.** After 12 adversarial steps a generator shows
  one or two of the four identities of these tests, and the gain of a search depended on which: GMI had 0.070 (least
  0.004) over 20 seeds, PLG-MI 0.160 (least 0.010), KED-MI 0.181 (least 0.050), LOMMA 0.058 (least 0.003). The
  attacks now start from a generator that has learned the public images by heart. The bound is as it was.
- **Trainings with triggers are recorded in float64.** Triggers move by the signs of gradients, and in float32 some
  gradient is as small as its rounding error: 8 runs of Trap-MID with moved last bits deviated by up to 2.9e-4 from
  the recorded losses, each by one of a few amounts. In float64 they deviate by 5e-16.
- **So are MID and the semi-supervised GAN.** torch's random normal numbers in float32 differ by up to 2e-6 between
  instruction sets, more than a last bit. Without vectors these two recordings deviated by 3.3e-3 and 1.9e-3.
- **So is TAC-GAN.** The target of its recording changes its answer at single values of a mean, and a moved last bit
  changed the recorded losses by 1.7e-3.
- **Some tests held by luck.** Ten runs with moved last bits left the detector's recall, the judge's distances, the gap
  of the conditional GAN, the search of IF-GMI's layers and the agreement of students too near to their bounds. These
  networks are now trained in float64, where rounding moves nothing that a test sees. The detector's triggers are
  stronger, since its recall was 0.81 over 20 seeds, for a bound of 0.8. IF-GMI's layers begin from styles that leave
  them something to gain. A part of the judge's spread was our noise's own: it moved accuracies, and with them which
  epoch was best. Sums of whole numbers are exact on every processor, and are left alone now.
- **One mark is not about rounding.** Opacus draws the noise of `dpsgd` in the order in which weights lie in memory, so
  weights that lie channels first get other noise. No processor changes that order.
"""


class Measurement(NamedTuple):
    """A statistic from one seed in one rounding, the instructions that torch took, and processor seconds."""

    statistic: str
    rounding: str
    capability: str
    seed: int
    seconds: float
    values: dict[str, float]


def factor(n: int) -> float:
    """How many standard deviations of n draws the share `PASSES` lies within, with the confidence, on one side."""
    return float(nct.ppf(CONFIDENCE, n - 1, norm.ppf(PASSES) * math.sqrt(n)) / math.sqrt(n))


def room(values: np.ndarray, low: float, high: float) -> float:
    """From the mean to the nearer bound, in standard deviations."""
    distance = min(values.mean() - low, high - values.mean())
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return float(distance / spread) if spread > 1e-12 else math.copysign(math.inf, distance)


def row(name: str, number: str, bound: tuple[float, float], measured: list[Measurement]) -> str:
    """One number of one statistic."""
    usual = {one.seed: one.values[number] for one in measured if one.rounding == "as it is"}
    others = [one for one in measured if one.rounding != "as it is"]
    pairs = [(one, 0 if one.rounding == "last bit" else one.seed) for one in others]
    moved = [abs(one.values[number] - usual[seed]) for one, seed in pairs if seed in usual]
    noisy = np.array([one.values[number] for one in others if one.rounding == "last bit"])
    values, (low, high) = np.array(list(usual.values())), bound
    if name.startswith("recorded"):
        judged, distance, wanted = values, high / max(*(one.values[number] for one in measured), 1e-12), float(ROOM)
    else:
        judged = noisy if len(noisy) > 2 else values
        distance, wanted = room(judged, low, high), factor(max(len(judged), 2))
    few = not name.startswith("recorded") and len(judged) < FEWEST
    mark = " (too few measurements)" if few else "" if distance >= wanted else " **too little**"
    mark += "" if ((values > low) & (values < high)).all() else " *"
    bounds = f"> {low:.4g}" if math.isinf(high) else f"< {high:.4g}" if math.isinf(low) else f"{low:.3g} to {high:.3g}"
    bounds = f"± {high:.3g}" if low == -high else bounds
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    numbers = " | ".join(f"{one:.2g}" for one in (values.mean(), spread, values.min(), values.max()))
    change = f"{max(moved):.2g}" if moved else "-"
    far = f"{distance:.2g}" if distance < MUCH else f"> {MUCH}"
    return f"| {name} | {number} | {bounds} | {len(values)} | {numbers} | {len(others)} | {change} | {far}{mark} |"


def table(measurements: list[Measurement]) -> str:
    """The page."""
    from helpers.statistics import STATISTICS

    by_name: defaultdict[str, list[Measurement]] = defaultdict(list)
    for one in measurements:
        by_name[one.statistic].append(one)
    counts = Counter((one.rounding, one.capability) for one in measurements)
    lines = [
        TEXT,
        fill(
            f"Measured on {platform.machine()}: "
            + "; ".join(f"{count} times {rounding} ({capability})" for (rounding, capability), count in counts.items())
            + f". {sum(one.seconds for one in measurements) / 60:.0f} minutes of processor time.",
            120,
        ),
        "",
        "| statistic | number | bound | seeds | mean | sd | least | most | other roundings | largest change | room |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, statistic in STATISTICS.items():
        if name in by_name:
            lines += [row(name, number, bound, by_name[name]) for number, bound in statistic.bounds.items()]
    absent = [name for name in STATISTICS if name not in by_name]
    missing = ["", fill(f"Not measured: {', '.join(absent)}.", 120)] if absent else []
    return "\n".join([*lines, *missing, ""])
