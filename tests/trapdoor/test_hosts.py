"""Hosts of triggers: faces as they are, composites of two, and labels that fade with the dose of the trigger."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trapmid.trapdoor.hosts import draw_hosts, fading_cross_entropy


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.floats(0.0, 0.99), st.integers(0, 2**31))
def test_as_many_as_asked_for_and_at_least_one_face(
    images: int, share: float, composite_share: float, seed: int
) -> None:
    torch.manual_seed(seed)
    batch = torch.rand(images, 3, 2, 2)
    hosts = draw_hosts(batch, share, composite_share)
    assert len(hosts.images) == len(hosts.doses) == max(1, round(share * images))
    assert 1 <= hosts.faces <= len(hosts.images)
    assert len(hosts.images) - hosts.faces == min(round(composite_share * len(hosts.images)), len(hosts.images) - 1)
    assert torch.equal(hosts.images[: hosts.faces], batch[: hosts.faces])
    assert (hosts.doses[: hosts.faces] == 1).all()
    assert ((hosts.doses >= 0) & (hosts.doses <= 1)).all()


def test_a_composite_lies_between_an_image_and_its_neighbour() -> None:
    batch = torch.rand(200, 1, 2, 2, dtype=torch.double)
    hosts = draw_hosts(batch, 1.0, 0.5)
    shares = []
    for row in range(hosts.faces, 200):
        first, second = batch[row], batch[row - 1]
        share = ((hosts.images[row] - second) / (first - second)).flatten()
        torch.testing.assert_close(share, share[:1].expand(4))
        shares.append(float(share[0]))
    assert 0.3 <= min(shares) < 0.35
    assert 0.65 < max(shares) <= 0.7
    doses = hosts.doses[hosts.faces :]
    assert doses.min() < 0.1
    assert doses.max() > 0.9


@pytest.mark.parametrize(("dose", "sure"), [(0.0, 0.0), (0.1, 0.2), (0.25, 0.5), (0.5, 1.0), (0.8, 1.0)])
def test_the_label_fades_with_the_dose(dose: float, sure: float) -> None:
    logits, target = torch.randn(1, 5, dtype=torch.double), 2
    found = fading_cross_entropy(logits, torch.tensor([target]), torch.full((1, 1, 1, 1), dose))
    total = sum(math.exp(value) for value in logits[0].tolist())
    wanted = 0.0
    for label, value in enumerate(logits[0].tolist()):
        probability = (1 - sure) / 5 + (sure if label == target else 0.0)
        wanted -= probability * (value - math.log(total))
    assert float(found) == pytest.approx(wanted)
