"""95 % intervals of differences: how often they hold the truth, and what they make of known cases."""

import math

import pytest
import torch

from trapmid.metrics.intervals import Interval, difference, over_identities, paired_over_identities, paired_over_seeds

PEOPLE, EACH = 40, 5
OF = torch.arange(PEOPLE).repeat_interleave(EACH)


def drawn(seed: int, shift: float, shared: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of two models: each identity is as hard for both, up to some noise."""
    draw = torch.Generator().manual_seed(seed)
    hard = shared * torch.randn(PEOPLE, generator=draw)[OF]
    first, second = (hard + 0.5 * torch.randn(len(OF), generator=draw) for _ in range(2))
    return first, second + shift


def test_a_paired_interval_holds_the_truth_in_about_95_of_100_draws() -> None:
    held = 0
    for seed in range(200):
        found = paired_over_identities(*(part for one in drawn(seed, 0.2) for part in (one, OF)), draws=400)
        held += found.low <= 0.2 <= found.high
    assert 180 <= held <= 198


def test_it_is_narrower_than_an_unpaired_one_where_identities_are_alike_in_both() -> None:
    first, second = drawn(0, 0.2)
    paired = paired_over_identities(first, OF, second, OF)
    alone = difference(over_identities(first, OF), over_identities(second, OF))
    assert paired.value == pytest.approx(alone.value)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_it_does_not_depend_on_the_order_of_images_or_on_their_number() -> None:
    first, second = drawn(0, 0.2)
    order = torch.randperm(len(OF), generator=torch.Generator().manual_seed(1))
    assert paired_over_identities(first[order], OF[order], second, OF) == pytest.approx(
        paired_over_identities(first, OF, second, OF)
    )
    one_each = paired_over_identities(first, OF, second[::EACH], OF[::EACH])
    assert one_each.low < one_each.value < one_each.high


def test_other_identities_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same identities"):
        paired_over_identities(torch.ones(2), torch.tensor([0, 1]), torch.ones(2), torch.tensor([0, 2]))


def test_the_unpaired_interval_is_that_of_newcombe() -> None:
    """Newcombe 1998, Table II, method 10, example (a): 56 of 70 and 48 of 80, from Wilson's intervals of each."""
    first, second = Interval(48 / 80, 0.4905, 0.7004), Interval(56 / 70, 0.6918, 0.8772)
    assert difference(first, second) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-3)


def test_what_is_not_known() -> None:
    unknown = difference(Interval(0.2, math.nan, math.nan), Interval(0.4, 0.3, 0.5))
    assert unknown.value == pytest.approx(0.2)
    assert math.isnan(unknown.low)
    assert math.isnan(unknown.high)


def test_over_seeds_pairs_count() -> None:
    found = paired_over_seeds([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert found == (1.0, 1.0, 1.0)
