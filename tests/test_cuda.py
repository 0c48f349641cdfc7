"""On a real GPU: what is computed there is what the CPU computes, up to rounding. `benchmarks.gpu` runs these tests."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.faces import CPU, network_for, quick_training, tiny_private
from helpers.statistics.trainings import kind_of
from helpers_attacks import CLASSES, TINY, TINY_ATTACKS, faces
from trapmid.attacks import Attack, Run
from trapmid.augment import NoAugmentation
from trapmid.defenses import DEFENSES, Defense, NoDefense, OnePass, TrapMID, open_model, train
from trapmid.engine import Compute, Precision, randomness, read_log
from trapmid.priors import PriorTraining
from trapmid.types import logits_of

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use"),
]
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, which is compared with the CPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_a_classifier_answers_as_on_the_cpu() -> None:
    images = torch.rand(4, 3, 32, 32)
    model = network_for("none").build(5, 32, 3).eval()
    here = logits_of(model(images))
    there = logits_of(Compute(DEVICE).place(model)(images.to(DEVICE)))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("defense", [NoDefense(), TrapMID(), OnePass()], ids=lambda defense: defense.kind)
def test_the_first_epoch_has_the_losses_of_the_cpu(defense: Defense, tmp_path: Path) -> None:
    training = quick_training(epochs=1, augmentation=NoAugmentation())
    options: dict[str, Any] = {"model": network_for(defense.kind), "defense": defense, "training": training}
    rows = []
    for compute in (CPU, Compute(DEVICE)):
        out = tmp_path / compute.device
        train(out, tiny_private(), compute=compute, **options)
        rows.append({name: value for name, value in read_log(out / "log.jsonl")[0].items() if "loss" in name})
    assert rows[1] == pytest.approx(rows[0], rel=0.02)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", list(DEFENSES), ids=kind_of)
def test_every_defense_trains_and_its_model_opens_on_the_cpu(
    kind: type[Defense], precision: Precision, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": network_for(kind_of(kind)), "defense": kind.model_validate({})}
    train(
        tmp_path / "m",
        tiny_private(),
        training=quick_training(epochs=1, recalibrate=True),
        compute=Compute(DEVICE, precision),
        **options,
    )
    assert all(value.isfinite().all() for value in load_file(tmp_path / "m" / "model.safetensors").values())
    assert open_model(tmp_path / "m", CPU).classifier(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)


@pytest.mark.parametrize("kind", TINY_ATTACKS)
def test_every_attack_finds_images(kind: str, tmp_path: Path) -> None:
    method: Attack[Any, Any] = TINY_ATTACKS[kind]
    public, wanted, compute = faces(8, 4, first=100), method.public_prior(), Compute(DEVICE)
    model = compute.place(TINY.build(CLASSES, 32, 3)).eval()
    known = torch.rand(CLASSES, int(model.head.in_features), device=compute.torch_device)
    target = method.needs.of(model, CLASSES, (3, 32, 32), signatures=lambda: known)
    prior = None if wanted is None else wanted.fit(PriorTraining(public, CLASSES, 0, compute))
    run = Run(0, compute, tmp_path, prior)
    with randomness(0, "attack", device=compute.torch_device):
        found = method.invert(target, method.prepare(target, public, run), torch.arange(CLASSES), run)
    assert found.pixels.device.type == "cpu"
    assert bool(found.confidence.isfinite().all())


# On every machine, tests/trapdoor/test_together.py takes the same steps in two processes on a CPU.
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has fewer than two GPUs")
def test_two_gpus_train_what_one_trains(tmp_path: Path) -> None:
    """With batch norms over the images of both."""
    training = quick_training(epochs=1, augmentation=NoAugmentation())
    rows = []
    for devices in (1, 2):
        out, compute = tmp_path / str(devices), Compute(DEVICE, devices=devices)
        train(out, tiny_private(), model=network_for("trapmid"), defense=TrapMID(), training=training, compute=compute)
        rows.append({name: value for name, value in read_log(out / "log.jsonl")[0].items() if "loss" in name})
    assert rows[1] == pytest.approx(rows[0], rel=0.02)
