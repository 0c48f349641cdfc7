"""Trainings that start from a file: its content is part of the recipe, and the finished model does not need it."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from helpers.faces import CPU, TINY, quick_training
from helpers.runs import kill_after, log_of
from helpers.settings import context_for, started
from trapmid.data import Split
from trapmid.defenses import SGD, AdamW, Defense, NoDefense, OnePass, TeD, TrapMID, open_model, train
from trapmid.defenses.planting import Planting, PlantingRun
from trapmid.engine import Compute, Precision, Progress, no_progress, seed_of
from trapmid.manifests import Manifest, sha256
from trapmid.trapdoor import BlendSchedule, Secrets
from trapmid.trapdoor.triggers import draw_triggers
from trapmid.types import UserError


def start(file: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_file(TINY.build(5, 32, 3).state_dict(), file)
    return file


def trained(folder: Path, private: Split, weights: Path, progress: Progress = no_progress) -> Manifest:
    model = TINY.model_copy(update={"weights": weights})
    options = {"training": quick_training(epochs=1), "seed": 3, "compute": CPU, "progress": progress}
    return train(folder, private, model=model, defense=NoDefense(), **options)  # type: ignore[arg-type]


def test_the_content_of_the_file_decides(tmp_path: Path, private: Split) -> None:
    file = start(tmp_path / "start.safetensors", seed=0)
    manifest = trained(tmp_path / "m", private, file)
    assert manifest.recipe["model"]["weights"] == f"sha256:{sha256(file)}"
    assert str(tmp_path) not in manifest.model_dump_json()
    assert manifest.facts["notes"] == []

    moved = file.rename(tmp_path / "moved.safetensors")
    assert trained(tmp_path / "m", private, moved, kill_after(1)) == manifest
    other = trained(tmp_path / "other", private, start(file, seed=1))
    assert other.files["model.safetensors"] != manifest.files["model.safetensors"]
    with pytest.raises(UserError, match=r"other settings \(recipe\.model\.weights: there 'sha256:.*', now 'sha256:"):
        trained(tmp_path / "m", private, file)

    moved.unlink()
    opened = open_model(tmp_path / "m", CPU)
    assert opened.classifier(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)
    with pytest.raises(UserError, match=r"moved\.safetensors cannot be read .* bring it back"):
        trained(tmp_path / "m", private, moved)


def test_what_was_left_out_is_told(tmp_path: Path, private: Split) -> None:
    save_file(TINY.build(9, 32, 3).state_dict(), tmp_path / "nine.safetensors")
    manifest = trained(tmp_path / "m", private, tmp_path / "nine.safetensors")
    assert manifest.facts["notes"] == ["nine.safetensors has no fitting head: that part starts from random weights."]


def test_the_discriminator_starts_from_the_same_file_as_the_target(tmp_path: Path, private: Split) -> None:
    """As in the authors' code; its one-logit head cannot."""
    file = start(tmp_path / "start.safetensors", seed=0)
    model = TINY.model_copy(update={"weights": file})
    options = {"training": quick_training(epochs=1), "seed": 3, "compute": CPU}
    manifest = train(tmp_path / "m", private, model=model, defense=TrapMID(), **options)  # type: ignore[arg-type]
    assert manifest.facts["notes"] == []
    defense = TrapMID(discriminator=model)
    nested = train(tmp_path / "n", private, model=TINY, defense=defense, **options)  # type: ignore[arg-type]
    assert nested.recipe["defense"]["discriminator"]["weights"] == f"sha256:{sha256(file)}"


@pytest.mark.parametrize("defense", [NoDefense(), TrapMID(), OnePass()], ids=lambda defense: defense.kind)
def test_bfloat16_trains_and_leaves_float32_weights(defense: Defense, tmp_path: Path, private: Split) -> None:
    """Losses come near those of float32; triggers ask autograd for gradients."""
    rows, weights = {}, {}
    for precision in get_args(Precision):
        folder = tmp_path / precision
        compute = Compute("cpu", precision)
        options = {"training": quick_training(epochs=1), "seed": 3, "compute": compute}
        train(folder, private, model=TINY, defense=defense, **options)  # type: ignore[arg-type]
        rows[precision], weights[precision] = log_of(folder)[0], load_file(folder / "model.safetensors")
    assert rows["bf16-mixed"]["loss_clean"] == pytest.approx(rows["32-true"]["loss_clean"], rel=0.02)
    assert rows["bf16-mixed"] != rows["32-true"]
    assert {tensor.dtype for tensor in weights["bf16-mixed"].values()} == {t.dtype for t in weights["32-true"].values()}


def test_the_schedule_of_steps_falls_after_three_quarters_and_nine_tenths() -> None:
    """As NegLS publishes it: a tenth from epoch 75 of 100 on, a hundredth from epoch 90 on (App. C.6)."""
    training = quick_training(epochs=100, schedule="steps", optimizer=AdamW(rate=1.0))
    optimizer = training.optimizer.build(TINY.build(5, 32, 3))
    schedule = training.rates(optimizer, steps_per_epoch=3)
    assert schedule is not None
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        for _ in range(3):
            optimizer.step()
            schedule.step()
    assert rates == pytest.approx([1.0] * 75 + [0.1] * 15 + [0.01] * 10)


def test_the_schedule_of_steps_falls_twice_in_a_single_epoch() -> None:
    training = quick_training(epochs=1, schedule="steps", optimizer=AdamW(rate=1.0))
    schedule = training.rates(training.optimizer.build(TINY.build(5, 32, 3)), steps_per_epoch=20)
    assert isinstance(schedule, torch.optim.lr_scheduler.MultiStepLR)
    assert sorted(schedule.milestones) == [15, 18]


@pytest.mark.parametrize(
    ("defense", "known"),
    [(TeD(), True), (TrapMID(trigger_updates=0), True), (TrapMID(), False)],
    ids=["ted", "fixed", "moved"],
)
def test_triggers_that_never_move_follow_from_the_seed_and_their_training_says_so(
    defense: Planting, known: bool, private: Split, tmp_path: Path
) -> None:
    made = train(
        tmp_path / "m", private, model=TINY, defense=defense, training=quick_training(epochs=1), seed=5, compute=CPU
    )
    drawn = torch.Generator().manual_seed(seed_of(made.recipe["seed"], "trapdoor"))
    shape = tuple(made.recipe["image_shape"])
    guessed = draw_triggers(defense.trigger_start, len(made.recipe["identities"]), shape, drawn).triggers
    assert torch.equal(guessed, Secrets.load(tmp_path / "m-secrets").triggers) == known
    assert any("Publish the weights without the manifest" in line for line in made.facts["warnings"]) == known


@pytest.mark.parametrize(
    ("defense", "hosts"),
    [
        (TrapMID(blend=BlendSchedule(end=0.4)), 6),
        (TrapMID(blend=BlendSchedule(end=0.4), blend_low=0.5), 6),
        (OnePass(blend=BlendSchedule(end=0.4), poisoned_share=0.34), 2),
    ],
    ids=["published", "drawn ratios", "a share"],
)
def test_batch_norm_is_recalibrated_on_what_a_step_shows(defense: Defense, hosts: int) -> None:
    context = context_for(defense)
    run = started(defense, context)
    assert isinstance(run, PlantingRun)
    shown: list[Tensor] = []
    context.model.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    images = torch.rand(6, 3, 32, 32) / 2
    run.trapdoor.triggers = torch.ones_like(run.trapdoor.triggers)
    run.losses(images, torch.arange(6) % 5, 0)
    run.trapdoor.triggers = torch.ones_like(run.trapdoor.triggers)
    for batch in (shown[-1], run.calibration(images)):
        assert torch.equal(batch[:6], images)
        ratios = ((batch[6:] - images[:hosts]) / (1 - images[:hosts])).mean((1, 2, 3))
        assert 0.2 <= float(ratios.min()) <= float(ratios.max()) <= 0.4 + 1e-3
        assert (float(ratios.max() - ratios.min()) > 0.01) == (defense.blend_low < 1)  # type: ignore[attr-defined]


def test_a_training_that_diverges_is_no_model_and_says_so_every_time(tmp_path: Path, private: Split) -> None:
    settings = quick_training(epochs=3, optimizer=SGD(rate=1000.0, weight_decay=10.0))

    def diverged() -> str:
        with pytest.raises(UserError, match="Lower the learning rate") as raised:
            train(tmp_path / "m", private, model=TINY, defense=NoDefense(), training=settings, compute=CPU)
        return str(raised.value)

    said = diverged()
    assert said.startswith("train diverged: `loss_")
    assert not (tmp_path / "m").exists()
    assert diverged() == said


def test_weights_of_another_network_are_told_even_where_the_manifest_vouches_for_them(
    tmp_path: Path, private: Split
) -> None:
    folder = tmp_path / "m"
    options = {"model": TINY, "defense": NoDefense(), "training": quick_training(epochs=1), "compute": CPU}
    train(folder, private, **options)  # type: ignore[arg-type]
    file, manifest = folder / "model.safetensors", json.loads((folder / "manifest.json").read_text())
    whole = load(file.read_bytes())  # not load_file, which maps the file that is overwritten below
    diverged = {name: value * torch.nan if value.is_floating_point() else value for name, value in whole.items()}
    for content, said in (
        (save(diverged), "are not finite numbers: the training diverged"),
        (save({"other": torch.ones(1)}), "does not hold the weights of this network"),
        (b"junk", "is not a safetensors file"),
    ):
        file.write_bytes(content)
        rehashed = manifest | {"files": manifest["files"] | {file.name: sha256(file)}}
        (folder / "manifest.json").write_text(json.dumps(rehashed))
        with pytest.raises(UserError, match=said):
            open_model(folder, CPU)
    save_file(whole, file)
    for edit in (
        {"identities": []},
        {"image_shape": [3, "x", 32]},
        {"model": {"kind": "none"}},
        {"defense": {"kind": "x"}},
    ):
        edited = manifest | {"recipe": manifest["recipe"] | edit, "files": {file.name: sha256(file)}}
        (folder / "manifest.json").write_text(json.dumps(edited))
        with pytest.raises(UserError, match=r"does not describe a training that this trapmid knows: .*[^.]\.$"):
            open_model(folder, CPU)
