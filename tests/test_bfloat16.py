"""With forward passes in bfloat16, a step of every defense and GAN has finite losses and moves what it should."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.faces import network_for, tiny_private
from helpers.settings import context_for, started
from helpers.statistics.trainings import kind_of
from helpers_attacks import CLASSES, TINY, TINY_ATTACKS, faces
from trapmid.attacks import Attack, Run
from trapmid.defenses import DEFENSES, Defense
from trapmid.defenses.planting import Planting
from trapmid.engine import Compute, randomness
from trapmid.priors import GAN, PriorTraining

BFLOAT16 = Compute("cpu", "bf16-mixed")


@pytest.mark.parametrize("kind", list(DEFENSES), ids=kind_of)
def test_steps_of_every_defense(kind: type[Defense]) -> None:
    defense = kind.model_validate({})
    context = context_for(defense, network_for(defense.kind))
    context = replace(context, compute=BFLOAT16, model=BFLOAT16.place(context.model))
    for group in context.optimizer.param_groups:
        group["lr"] = 0.01
    run, update = started(defense, context), defense.changes().updater(context)
    weights = {name: value.clone() for name, value in context.model.named_parameters()}
    before, data = run.secrets(), tiny_private().part("train")
    for _ in range(2):
        losses, notes = run.losses(data.images()[:6], data.labels[:6], 0)
        loss = torch.stack(list(losses.values())).sum()
        assert loss.dtype == torch.float32
        update(loss)
        assert all(bool(value.isfinite()) for value in (*losses.values(), *notes.values()))
    moved = {name for name, value in context.model.named_parameters() if not torch.equal(value, weights[name])}
    assert moved == {name for name, value in context.model.named_parameters() if value.requires_grad}
    assert all(bool(value.isfinite().all()) for value in context.model.parameters())
    after = run.secrets()
    if isinstance(defense, Planting) and before is not None and after is not None:
        assert torch.equal(after.triggers, before.triggers) == (defense.trigger_updates == 0)
        assert bool(after.triggers.isfinite().all())


@pytest.mark.parametrize("name", ["plgmi", "gmi", "kedmi", "lokt", "ppa"])
def test_gans_and_searches(name: str, tmp_path: Path) -> None:
    """A loop refuses losses that are not finite."""
    method: Attack[Any, Any] = type(TINY_ATTACKS[name]).model_validate(shortened(TINY_ATTACKS[name].model_dump()))
    public, wanted = faces(8, 4, first=100), method.public_prior()
    target = method.needs.of(BFLOAT16.place(TINY.build(CLASSES, 32, 3)).eval(), CLASSES, (3, 32, 32))
    prior = None if wanted is None else wanted.fit(PriorTraining(public, CLASSES, 0, BFLOAT16))
    run = Run(0, BFLOAT16, tmp_path, prior)
    with randomness(0, "bfloat16"):
        ready = method.prepare(target, public, run)
        found = method.invert(target, ready, torch.arange(CLASSES), run)
    for gan in (prior, ready):
        if isinstance(gan, GAN):
            assert all(value.dtype == torch.float32 for value in gan.generator.parameters())
            assert len(gan.rows) == 2
    assert bool(found.confidence.isfinite().all())
    assert float(found.pixels.float().std()) > 0


def shortened(settings: Any) -> Any:
    """The same attack with two steps of everything."""
    if isinstance(settings, tuple | list):
        return type(settings)(shortened(one) for one in settings)
    if not isinstance(settings, dict):
        return settings
    few = {"iterations": 2, "log_every": 1, "search_steps": 2, "epochs": 1, "samples": 32}
    return {key: few.get(key, shortened(value)) for key, value in settings.items()}
