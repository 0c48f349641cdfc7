"""Stacks: what each part contributes, which cannot be combined, and how a command line names them."""

import copy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError

from helpers.faces import CPU, TINY, quick_training, tiny_private
from helpers.runs import log_of
from helpers.settings import context_for, network_of, started
from trapmid.defenses import (
    DPSGD,
    LS,
    MID,
    MIDRE,
    TL,
    BiDO,
    Defense,
    NegLS,
    Stacked,
    TeD,
    TeDPlus,
    TrapMID,
    open_model,
    parse_defense,
    train,
)
from trapmid.defenses.changes import shuffled_batches
from trapmid.defenses.mid import BottleneckNet
from trapmid.defenses.planting import PlantingRun
from trapmid.defenses.smoothing import smoothed_cross_entropy
from trapmid.types import UserError


def trained(folder: Path, *parts: Any, epochs: int = 2) -> tuple[list[dict[str, float]], dict[str, Any]]:
    defense = Stacked(parts=parts) if len(parts) > 1 else parts[0]
    manifest = train(
        folder, tiny_private(), model=TINY, defense=defense, training=quick_training(epochs), seed=3, compute=CPU
    )
    return log_of(folder), manifest.facts


@pytest.mark.parametrize("images", ["all", "clean"])
def test_both_published_variants_of_trapmid_with_negls(images: Literal["all", "clean"]) -> None:
    stack = Stacked(parts=(TrapMID(trigger_updates=0, weight=0.3), NegLS(smoothing=-0.5, images=images)))
    context = context_for(stack, epochs=10)
    run = started(stack, context)
    assert isinstance(run, PlantingRun)
    door = run.trapdoor
    faces, labels = torch.rand(6, 3, 32, 32), torch.arange(6) % 5
    for epoch, a in ((4, 0.0), (5, -0.1), (9, -0.5)):
        targets = copy.deepcopy(door.targets).draw(6)
        losses, _ = run.losses(faces, labels, epoch)
        logits = context.model(torch.cat([faces, door.poison(faces, targets, door.triggers, 0.02)])).logits
        poisoned = smoothed_cross_entropy(logits[6:], targets, a if images == "all" else 0.0)
        torch.testing.assert_close(losses["clean"], 0.7 * smoothed_cross_entropy(logits[:6], labels, a))
        torch.testing.assert_close(losses["poisoned"], 0.3 * poisoned)


def test_every_part_has_its_part(tmp_path: Path) -> None:
    rows, facts = trained(tmp_path / "m", TrapMID(), LS(), MID(width=16), BiDO(), MIDRE(), TL(statistics="frozen"))
    assert {name for name in rows[-1] if name.startswith("loss_")} == {
        "loss_clean",
        "loss_poisoned",
        "loss_information",
        "loss_input_dependence",
        "loss_label_dependence",
    }
    assert facts["frozen_layers"] == ["body.body.0", "body.body.3"]
    classifier = open_model(tmp_path / "m", CPU).classifier
    assert isinstance(classifier, BottleneckNet)


def test_a_part_that_changes_nothing_changes_no_number(tmp_path: Path) -> None:
    alone, _ = trained(tmp_path / "alone", NegLS(), epochs=1)
    assert trained(tmp_path / "with", NegLS(), MIDRE(area=(0.0, 0.0)), epochs=1)[0] == alone


def test_batches_are_those_of_the_part_that_decides_them() -> None:
    labels = torch.arange(10).repeat_interleave(8)

    def batches(defense: Defense) -> list[list[int]]:
        draw = defense.changes().batches or shuffled_batches
        return [rows.tolist() for rows in draw(labels, 8, torch.Generator().manual_seed(0))]

    assert batches(Stacked(parts=(LS(), BiDO()))) == batches(BiDO()) != batches(Stacked(parts=(LS(), TL())))
    assert batches(Stacked(parts=(LS(), TL()))) == batches(LS())
    assert batches(Stacked(parts=(LS(), DPSGD()))) == batches(DPSGD())


def test_the_defense_with_a_run_of_its_own_changes_the_network_last() -> None:
    """Frozen batch norms may stay under dpsgd: they are constants."""
    net = network_of(Stacked(parts=(DPSGD(), TL(statistics="frozen"))), TINY.build(5, 32, 3))
    kinds = [type(layer).__name__ for layer in net.modules()]
    assert kinds.count("FrozenBatchNorm2d") == 2
    assert kinds.count("GroupNorm") == 1


def test_clipped_and_noisy_with_other_losses(tmp_path: Path) -> None:
    rows, facts = trained(tmp_path / "m", NegLS(), DPSGD(), MIDRE())
    assert 7.9 < facts["epsilon"] <= 8
    assert rows[-1]["epoch"] == 2


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((TrapMID(), TeD()), "trapmid and ted cannot be combined: both decide how the losses of a batch are computed"),
        (
            (TrapMID(), DPSGD()),
            "trapmid and dpsgd cannot be combined: both decide how the losses of a batch are computed",
        ),
        ((LS(), NegLS()), "ls and negls cannot be combined: both decide what a classification costs"),
        ((BiDO(), LS(), DPSGD()), "bido and dpsgd cannot be combined: both decide which images make a batch"),
        ((TL(), MID(), TL(share=0.3)), "tl is in the stack twice"),
        ((TL(),), "at least 2 items"),
    ],
)
def test_what_cannot_be_combined(parts: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Stacked(parts=parts)


def test_names() -> None:
    assert Stacked().name == "trapmid+negls"
    assert Stacked(label="both").name == "both"
    weak = NegLS(label="weak", smoothing=-0.01)
    assert Stacked(parts=(TrapMID(), weak)).name == "trapmid+weak"
    assert Stacked() == Stacked(parts=(TrapMID(), NegLS()))


def test_a_command_lines_names() -> None:
    assert parse_defense("bido") == BiDO()
    assert parse_defense("ted+") == TeDPlus()
    assert parse_defense("trapmid+negls") == Stacked()
    assert parse_defense("ted+negls") == Stacked(parts=(TeD(), NegLS()))
    assert parse_defense("ted++negls+tl") == Stacked(parts=(TeDPlus(), NegLS(), TL()))
    tuned: list[Defense] = [TrapMID(weight=0.4), NegLS(label="weak", smoothing=-0.01)]
    assert parse_defense("trapmid+weak", tuned) == Stacked(parts=tuple(tuned))
    both = Stacked(label="a+b")
    assert parse_defense("a+b", [both]) is both
    with pytest.raises(UserError, match=r"'prayer' is not a defense\. Expected one of none, trapmid, .*joined by \+"):
        parse_defense("prayer")
    with pytest.raises(UserError, match=r"'trapmid\+prayer' is not a defense"):
        parse_defense("trapmid+prayer")
    with pytest.raises(
        UserError, match=r"^ls\+negls: ls and negls cannot be combined: both decide what a classification costs"
    ):
        parse_defense("ls+negls")
    with pytest.raises(UserError, match="none is no defense, so it cannot be part of a stack"):
        parse_defense("none+negls")
