"""A training in two processes is that of one process with the same batches; it resumes, and ends as a whole."""

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from helpers.faces import CPU, TINY, quick_training, tiny_private
from helpers.in_processes import FailsInOneProcess, Precise, trained_one_after_another
from helpers.runs import Killed, kill_after, log_of
from trapmid.artifacts import Draft
from trapmid.augment import NoAugmentation
from trapmid.defenses import DEFENSES, DPSGD, BiDO, Defense, NoDefense, Training, TrapMID, train
from trapmid.engine import Compute, Progress, no_progress, run_together
from trapmid.manifests import Manifest
from trapmid.trapdoor import Secrets
from trapmid.types import UserError

TWO = Compute("cpu", devices=2)
PLAIN = quick_training(epochs=3, augmentation=NoAugmentation())


def trained(
    out: Path, defense: Defense, compute: Compute, progress: Progress = no_progress, training: Training = PLAIN
) -> Manifest:
    return train(
        out, tiny_private(), model=Precise(), defense=defense, training=training, compute=compute, progress=progress
    )


def parts() -> list[psutil.Process]:
    """The processes that train together."""
    here = psutil.Process().children(recursive=True)
    return [one for one in here if any("take_part" in word for word in one.cmdline())]


def assert_same(one: Path, other: Path) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-9, atol=1e-11, msg=name)
    assert next(iter(first.values())).dtype == torch.float64
    rows, others = log_of(one), log_of(other)
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, row_of_other in zip(rows, others, strict=True):
        assert row == pytest.approx(row_of_other, rel=1e-6, abs=1e-6)  # some losses are in float32


@pytest.mark.slow
@pytest.mark.parametrize("defense", [TrapMID(), BiDO()], ids=lambda defense: defense.kind)
def test_two_processes_train_what_one_trains(defense: Defense, tmp_path: Path) -> None:
    manifests = [trained(tmp_path / name, defense, compute) for name, compute in {"one": CPU, "two": TWO}.items()]
    assert_same(tmp_path / "one", tmp_path / "two")
    assert manifests[0].recipe == manifests[1].recipe
    assert manifests[0].facts == manifests[1].facts
    if defense.changes().trapdoor:
        triggers = [Secrets.load(tmp_path / f"{name}-secrets").triggers for name in ("one", "two")]
        assert torch.equal(*triggers)
    assert parts() == []


@pytest.mark.slow
@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_a_training_goes_on_in_another_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path / "whole", TrapMID(), CPU)
    with pytest.raises(Killed):
        trained(tmp_path / "rest", TrapMID(), CPU, kill_after(6))
    assert [row["step"] for row in log_of(tmp_path / "rest.partial")] == [4.0]
    trained(tmp_path / "rest", TrapMID(), TWO)
    assert_same(tmp_path / "whole", tmp_path / "rest")

    def interrupted(*arguments: Any) -> Manifest:
        raise Killed

    monkeypatch.setattr(Draft, "finish", interrupted)
    with pytest.raises(Killed):
        trained(tmp_path / "end", TrapMID(), TWO)
    monkeypatch.undo()
    trained(tmp_path / "end", TrapMID(), CPU, kill_after(1))  # the checkpoint of two processes leaves no step to do
    assert_same(tmp_path / "whole", tmp_path / "end")


@pytest.mark.slow
def test_with_batch_norm_and_augmentation_it_learns_as_well(tmp_path: Path) -> None:
    """Each process has batch norm statistics and random numbers of its own, so the numbers are others."""
    training = quick_training(epochs=12, recalibrate=True)
    options: dict[str, Any] = {"model": TINY, "defense": NoDefense(), "training": training, "compute": TWO}
    manifest = train(tmp_path / "two", tiny_private(), **options)
    assert manifest.fact("val_accuracy", float) > 0.6
    weights = load_file(tmp_path / "two" / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in weights.values())


@pytest.mark.slow
def test_every_other_defense_trains_in_two_processes(tmp_path: Path) -> None:
    defenses = [kind.model_validate({}) for kind in DEFENSES if kind is not DPSGD]
    assert run_together(trained_one_after_another, tmp_path, defenses, compute=TWO, progress=no_progress) == {}
    assert {file.parent.name for file in tmp_path.glob("*/model.safetensors")} == {
        f"{defense.kind}.partial" for defense in defenses
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "told"),
    [(False, "The second process has had enough"), (True, "Process 1 of the 2 that train together was killed by")],
)
def test_what_one_process_raises_ends_all(killed: bool, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        trained(tmp_path / "fails", FailsInOneProcess(killed=killed), TWO)
    assert parts() == []


@pytest.mark.slow
def test_an_interruption_ends_all_processes(tmp_path: Path) -> None:
    running: list[psutil.Process] = []

    def progress(*message: Any) -> None:
        running.extend(parts())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", NoDefense(), TWO, progress)
    assert len(running) == 2
    assert parts() == []
    assert (tmp_path / "stopped.partial").exists()


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dpsgd changes how the weights take a step, which works in one process only"):
        trained(tmp_path / "m", DPSGD(), TWO)
    with pytest.raises(UserError, match="--devices 3 cannot share batches of 10 images equally"):
        trained(tmp_path / "m", NoDefense(), Compute("cpu", devices=3))
    assert not list(tmp_path.iterdir())


def test_gpus_have_to_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    assert Compute("cuda", devices=2).gpus == ("0,1", "2,3")
    assert Compute("auto", devices=2).seen_by_process(1) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert Compute("cpu", devices=2).seen_by_process(1) == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9,10,11")
    assert Compute("cuda", devices=3).seen_by_process(1) == {"CUDA_VISIBLE_DEVICES": "7"}
    with pytest.raises(UserError, match=r"--devices 8: this machine has 5 GPU\(s\)"):
        Compute("cuda", devices=8).torch_device  # noqa: B018
    with pytest.raises(UserError, match=r"--devices 2: --device cuda:1 names one GPU\. Use --device cuda"):
        Compute("cuda:1", devices=2).torch_device  # noqa: B018
