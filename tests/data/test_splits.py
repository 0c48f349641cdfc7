"""Splits hold some of every identity out, lose nothing, and depend on nothing but what they say."""

from itertools import chain, combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trapmid.data.images import ImageSet
from trapmid.data.splits import Split, SplitConfig, check_disjoint, split
from trapmid.types import UserError


def images_of(counts: list[int], prefix: str = "p", shade: int = 0) -> ImageSet:
    """Grey 2 x 2 images, all different, `counts[i]` of identity i."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    numbers = torch.arange(len(labels)) + shade
    pixels = (
        torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8).reshape(-1, 1, 1, 2).expand(-1, 1, 2, 2)
    )
    names = tuple(f"{prefix}{i:03d}" for i in range(len(counts)))
    return ImageSet(pixels, labels, names, tuple(f"{i:05d}.png" for i in range(len(labels))))


counts = st.lists(st.integers(3, 40), min_size=2, max_size=8)
fractions = st.floats(0.01, 0.3)
seeds = st.integers(0, 2**32 - 1)


@given(counts=counts, val=fractions, test=fractions, seed=seeds)
@settings(max_examples=60, deadline=None)
def test_stratified_disjoint_complete(counts: list[int], val: float, test: float, seed: int) -> None:
    images = images_of(counts)
    parts = split(images, SplitConfig(val=val, test=test, seed=seed))
    rows = [part.tolist() for part in (parts.train, parts.val, parts.test)]
    assert sorted(chain(*rows)) == list(range(len(images)))
    assert all(part == sorted(part) for part in rows)
    for part, share in ((parts.val, val), (parts.test, test)):
        held_out = torch.bincount(images.labels[part], minlength=len(counts))
        expected = torch.tensor(counts) * share
        assert held_out.min() >= 1
        assert ((held_out - expected).abs() <= 1).all()
    assert torch.bincount(images.labels[parts.train], minlength=len(counts)).min() >= 1


@given(counts=counts, seed=seeds)
@settings(max_examples=30, deadline=None)
def test_row_order_does_not_matter(counts: list[int], seed: int) -> None:
    images, config = images_of(counts), SplitConfig(seed=seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    plain, shuffled = split(images, config), split(images.subset(order), config)
    for name in ("train", "val", "test"):
        assert set(plain.part(name).origins) == set(shuffled.part(name).origins)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_seed_decides(seed: int) -> None:
    images = images_of([30] * 4)
    first, again = split(images, SplitConfig(seed=seed)), split(images, SplitConfig(seed=seed))
    other = split(images, SplitConfig(seed=seed + 1))
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.test, other.test)


def test_an_identity_is_split_alike_whoever_else_is_there() -> None:
    images = images_of([20, 20, 20])
    alone = images.subset(torch.arange(20, 60))
    assert (
        split(images, SplitConfig()).part("test").origins[2:]
        == split(ImageSet(alone.pixels, alone.labels - 1, images.identities[1:], alone.origins), SplitConfig())
        .part("test")
        .origins
    )


def test_identities_are_not_split_in_step() -> None:
    parts = split(images_of([30] * 6), SplitConfig())
    places = (parts.test % 30).reshape(6, 3).tolist()
    assert all(one != other for one, other in combinations(places, 2))


def test_what_nothing_could_be_calibrated_on_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"val=0 leaves no images .* expected above 0.*set training\.keep=test"):
        SplitConfig(val=0, test=0.1)
    rows = torch.arange(30)
    with pytest.raises(
        UserError, match=r"30 images has none in val and test; .*Divide them with `trapmid\.data\.split`"
    ):
        Split(images_of([30]), rows, rows[:0], rows[:0])


def test_table_is_what_a_manifest_records() -> None:
    images = images_of([5, 4])
    parts = split(images, SplitConfig())
    table = parts.to_table().to_pydict()
    assert list(table) == ["identity", "source", "split"]
    assert table["identity"] == ["p000"] * 5 + ["p001"] * 4
    assert table["source"] == list(images.origins)
    assert [i for i, name in enumerate(table["split"]) if name == "val"] == parts.val.tolist()
    assert set(table["split"]) == {"train", "val", "test"}


def test_too_few_images_names_the_identities() -> None:
    with pytest.raises(UserError, match=r"2 identities have too few images.*p000 \(2\), p002 \(1\)\. Remove"):
        split(images_of([2, 9, 1]), SplitConfig())


def test_fractions_must_leave_a_train_part() -> None:
    with pytest.raises(ValidationError, match="leave no images to train on"):
        SplitConfig(val=0.5, test=0.5)


def test_disjoint_sets_pass() -> None:
    check_disjoint(images_of([3, 3]), images_of([3, 3], prefix="q", shade=1000))


def test_shared_identity() -> None:
    with pytest.raises(UserError, match=r"2 identities are in both .*: p000, p001\. Remove them.*rename"):
        check_disjoint(images_of([3, 3]), images_of([3, 3], shade=1000))


def test_shared_image() -> None:
    with pytest.raises(UserError, match=r"1 public images equal private ones.*: 00005\.png = 00000\.png\. Remove"):
        check_disjoint(images_of([3, 3]), images_of([3, 3], prefix="q", shade=5))
