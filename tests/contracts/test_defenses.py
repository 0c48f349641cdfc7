"""What every defense promises. A member of DEFENSES is covered by being listed."""

import math
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from helpers.faces import CPU, TINY, network_for, quick_training
from helpers.runs import Killed, kill_after, log_of
from helpers.settings import context_for, started
from trapmid.data import Split
from trapmid.defenses import (
    DEFENSES,
    DPSGD,
    SINGLE_DEFENSES,
    Defense,
    NoDefense,
    Stacked,
    Training,
    TrapMID,
    open_model,
    train,
)
from trapmid.engine import Progress, no_progress, randomness
from trapmid.manifests import Manifest, open_artifact
from trapmid.testing import Check, defense_checks
from trapmid.trapdoor import SECRETS, Secrets
from trapmid.types import UserError

every_defense = pytest.mark.parametrize("kind", list(DEFENSES), ids=lambda kind: kind.model_fields["kind"].default)


def trained(
    folder: Path,
    private: Split,
    kind: type[Defense],
    training: Training,
    seed: int = 3,
    progress: Progress = no_progress,
    **values: object,
) -> Manifest:
    defense = kind.model_validate(values)
    network = network_for(defense.kind)
    return train(
        folder, private, model=network, defense=defense, training=training, seed=seed, compute=CPU, progress=progress
    )


CHECKS = [
    pytest.param(check, id=f"{kind.model_fields['kind'].default}-{check}")
    for kind in DEFENSES
    for check in defense_checks(kind.model_validate({}), network_for(kind.model_fields["kind"].default))
]


@pytest.mark.parametrize("check", CHECKS)
def test_keeps_a_promise(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@every_defense
def test_trains(kind: type[Defense], tmp_path: Path, private: Split) -> None:
    # within an epsilon that protects anyone, three epochs over forty images are noise
    values: dict[str, object] = {"epsilon": 1e3} if kind is DPSGD else {}
    manifest = trained(tmp_path / "m", private, kind, quick_training(epochs=3), **values)
    rows = log_of(tmp_path / "m")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values())

    assert open_artifact(tmp_path / "m", "model") == manifest
    assert set(manifest.files) == {"model.safetensors", "log.jsonl"}
    assert any("epsilon" in note for note in manifest.facts["notes"]) == (kind is DPSGD)
    kept = rows[manifest.facts["kept_epoch"] - 1]
    assert kept["val_accuracy"] == max(row["val_accuracy"] for row in rows) == manifest.facts["val_accuracy"]
    assert manifest.parents == {"data": private.digest()}

    opened = open_model(tmp_path / "m", CPU)
    assert not opened.classifier.training
    val = private.part("val")
    with torch.no_grad(), randomness(0, "evaluate"):
        predicted = opened.classifier(val.images()).logits.argmax(1)
    assert float((predicted == val.labels).double().mean()) == kept["val_accuracy"]


@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_it_resumes_from_the_last_checkpoint(tmp_path: Path, private: Split) -> None:
    training = quick_training(epochs=3, schedule="one-cycle", recalibrate=True)
    for steps in (6, 4):  # in the second epoch, and at the end of the third
        with pytest.raises(Killed):
            trained(tmp_path / "m", private, TrapMID, training, progress=kill_after(steps))
    done: list[int] = []
    trained(tmp_path / "m", private, TrapMID, training, progress=lambda task, step, total, note: done.append(step))
    assert done == [9, 10, 11, 12]  # resumed from the second epoch's checkpoint


def test_another_seed_in_the_same_folder_is_refused(tmp_path: Path, private: Split) -> None:
    trained(tmp_path / "m", private, NoDefense, quick_training(epochs=1))
    with pytest.raises(UserError, match=r"holds the result of other settings \(recipe.seed: there 3, now 4\)"):
        trained(tmp_path / "m", private, NoDefense, quick_training(epochs=1), seed=4)


@pytest.mark.parametrize("deep", [(), ("deep", "down")])
def test_a_model_with_secrets_in_its_folder_is_not_opened(
    deep: tuple[str, ...], tmp_path: Path, private: Split
) -> None:
    trained(tmp_path / "m", private, TrapMID, quick_training(epochs=1))
    assert Secrets.load(tmp_path / "m-secrets").triggers.shape == (5, 3, 32, 32)
    place = (tmp_path / "m").joinpath(*deep)
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "m-secrets" / SECRETS, place)
    with pytest.raises(UserError, match=r"secrets\.safetensors lies within the model's folder: whoever gets the model"):
        open_model(tmp_path / "m", CPU)
    (place / SECRETS).unlink()
    open_model(tmp_path / "m", CPU)


def test_secrets_inside_the_model_are_refused(tmp_path: Path, private: Split) -> None:
    with pytest.raises(UserError, match="lies inside the model's folder"):
        train(
            tmp_path / "m",
            private,
            model=TINY,
            defense=TrapMID(),
            training=quick_training(),
            compute=CPU,
            secrets=tmp_path / "m" / "secrets",
        )
    assert not list(tmp_path.iterdir())


def test_two_models_do_not_share_a_folder_of_secrets(tmp_path: Path, private: Split) -> None:
    def into(folder: str, seed: int, progress: Progress = no_progress) -> None:
        train(
            tmp_path / folder,
            private,
            model=TINY,
            defense=TrapMID(),
            training=quick_training(epochs=1),
            seed=seed,
            compute=CPU,
            secrets=tmp_path / "secrets",
            progress=progress,
        )

    into("a", seed=0)
    kept = (tmp_path / "secrets" / SECRETS).read_bytes()
    with pytest.raises(UserError, match="holds the secrets of another model"):
        into("b", seed=1, progress=kill_after(1))  # said before the first step, not after the last
    assert (tmp_path / "secrets" / SECRETS).read_bytes() == kept
    into("a", seed=0)
    shutil.rmtree(tmp_path / "a")
    into("a", seed=0)  # the same training may replace what it made itself
    assert (tmp_path / "secrets" / SECRETS).read_bytes() == kept


@pytest.mark.parametrize(
    ("one", "other"), list(combinations(SINGLE_DEFENSES, 2)), ids=lambda kind: kind.model_fields["kind"].default
)
def test_any_two_train_together_or_say_why_not(one: type[Defense], other: type[Defense]) -> None:
    parts = [{"kind": kind.model_fields["kind"].default} for kind in (one, other)]
    if one().changes().decided_twice(other().changes()) or {"kind": "none"} in parts:
        with pytest.raises(ValidationError, match=r"both decide .* Leave one of them out|none is no defense"):
            Stacked.model_validate({"parts": parts})
        return
    stack = Stacked.model_validate({"parts": parts})
    context = context_for(stack, network_for("rolss"))
    run = started(stack, context)
    update = stack.changes().updater(context)
    before = [parameter.clone() for parameter in context.model.parameters()]
    losses, notes = run.losses(torch.rand(6, 3, 32, 32), torch.arange(6) % 5, 0)
    assert all(math.isfinite(float(value.detach())) for value in (losses | notes).values())
    update(torch.stack(list(losses.values())).sum())
    assert any(not torch.equal(*pair) for pair in zip(before, context.model.parameters(), strict=True))
    assert stack.has_trapdoor == (run.secrets() is not None)


def test_too_few_images_for_a_batch(tmp_path: Path, private: Split) -> None:
    with pytest.raises(UserError, match=r"40 training images do not fill one batch of 64\. Lower batch_size"):
        trained(tmp_path / "m", private, NoDefense, quick_training(batch_size=64))
