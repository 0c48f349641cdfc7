"""The contract of every defense: in `trapmid.train`, in a training loop that trapmid did not write, and as a config."""

import math
import stat
from functools import partial
from pathlib import Path

import torch
from torch import nn

from trapmid.artifacts import Manifest
from trapmid.defenses import DEFENSES, Defended, Defense, open_model, train
from trapmid.engine import no_progress, randomness, read_log
from trapmid.models import ModelConfig
from trapmid.testing.check import Check, Interrupted, checkpoint_every_period, expect, interrupt_after
from trapmid.testing.people import CPU, NETWORK, SIZE, private_people, quick_training
from trapmid.trapdoor import SECRETS
from trapmid.types import UserError


def defense_checks(defense: Defense, network: ModelConfig = NETWORK) -> list[Check]:
    """The promises that a defense has to keep, each a few trainings of a fraction of a second.

    A class that is not installed as an entry point is added to `DEFENSES` when its checks run.

    Args:
        defense: with settings that suit ten images a batch.
        network: the architecture to train, for defenses that need a certain one.
    """
    checks = (
        _describes_itself,
        _equals_its_own_json,
        _leaves_a_model_that_opens,
        _is_a_function_of_the_seed,
        _resumes_to_the_same_bytes,
        _returns_at_once_when_finished,
        _keeps_secrets_apart,
        _works_in_another_loop_or_is_refused,
    )
    return [Check(check.__name__.lstrip("_"), partial(check, defense, network)) for check in checks]


def _describes_itself(defense: Defense, network: ModelConfig, folder: Path) -> None:
    del network, folder
    kind = type(defense).__name__
    expect(bool(defense.title), f"{kind} has no `title`: tables need one.")
    expect(bool(defense.paper), f"{kind} has no `paper`: say where it comes from.")
    expect(bool(type(defense).__doc__), f"{kind} has no docstring: `trapmid list` shows its first sentence.")


def _equals_its_own_json(defense: Defense, network: ModelConfig, folder: Path) -> None:
    del network, folder
    again = type(defense).model_validate_json(defense.model_dump_json())
    expect(again == defense, f"{defense!r} became {again!r} in JSON and back, so that a run could not resume.")
    expect(again.changes().trapdoor == defense.changes().trapdoor, "`changes` has to be a function of the config.")


def _leaves_a_model_that_opens(defense: Defense, network: ModelConfig, folder: Path) -> None:
    manifest = _trained(defense, network, folder / "model")
    rows = read_log(folder / "model" / "log.jsonl")
    broken = sorted({name for row in rows for name, value in row.items() if not math.isfinite(value)})
    expect(not broken, f"{', '.join(broken)} in the training log are not finite numbers.")
    opened = open_model(folder / "model", CPU)
    val = private_people().part("val")
    with torch.no_grad(), randomness(0, "evaluate"):
        logits = opened.classifier(val.images()).logits
    accuracy = float((logits.argmax(1) == val.labels).double().mean())
    expect(
        accuracy == manifest.facts["val_accuracy"],
        f"The opened model is right on {accuracy:.1%} of the validation images and was right on "
        f"{manifest.facts['val_accuracy']:.1%} "
        "in training. What `network` changes has to be a function of the config.",
    )


def _is_a_function_of_the_seed(defense: Defense, network: ModelConfig, folder: Path) -> None:
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        torch.manual_seed(len(name))  # the caller's random state must not matter
        _trained(defense, network, folder / name, seed)
    expect(_weights(folder / "one") == _weights(folder / "same"), "One seed gave two different models.")
    expect(_log(folder / "one") == _log(folder / "same"), "One seed gave two different training logs.")
    expect(_weights(folder / "one") != _weights(folder / "other"), "Two seeds gave the same model.")


def _resumes_to_the_same_bytes(defense: Defense, network: ModelConfig, folder: Path) -> None:
    with checkpoint_every_period():
        _trained(defense, network, folder / "whole")
        for _ in range(2):  # each time goes on after the checkpoint of the epoch before
            try:
                _trained(defense, network, folder / "parts", interrupted_after=6)
            except Interrupted:
                continue
            break
        expect(not (folder / "parts").exists(), "An interrupted training left a finished model.")
        _trained(defense, network, folder / "parts")
    expect(
        _weights(folder / "whole") == _weights(folder / "parts"),
        "A training that was interrupted and resumed ended with other weights. Everything that changes over the "
        "training has to "
        "be in the state of its run.",
    )
    expect(_log(folder / "whole") == _log(folder / "parts"), "A training that was resumed logged other numbers.")
    whole, parts = (folder / f"{name}-secrets" / SECRETS for name in ("whole", "parts"))
    same = parts.read_bytes() == whole.read_bytes() if whole.exists() else not parts.exists()
    expect(same, "A training that was interrupted and resumed ended with other secrets.")


def _returns_at_once_when_finished(defense: Defense, network: ModelConfig, folder: Path) -> None:
    first = _trained(defense, network, folder / "model")
    expect(
        _trained(defense, network, folder / "model", interrupted_after=1) == first,
        "A finished training opened with another manifest.",
    )


def _keeps_secrets_apart(defense: Defense, network: ModelConfig, folder: Path) -> None:
    _trained(defense, network, folder / "model")
    inside = [file.name for file in (folder / "model").rglob("*") if file.name == SECRETS]
    expect(not inside, f"The model's folder holds {SECRETS}: whoever gets the model gets the secrets.")
    file = folder / "model-secrets" / SECRETS
    expect(file.exists() == defense.has_trapdoor, f"`trapdoor` is {defense.has_trapdoor} and the training disagrees.")
    if file.exists():
        mode = stat.S_IMODE(file.stat().st_mode)
        expect(mode == 0o600, f"{SECRETS} has the mode {mode:o}; expected 600.")


def _works_in_another_loop_or_is_refused(defense: Defense, network: ModelConfig, folder: Path) -> None:
    del folder
    model = network.build(5, SIZE, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    options = {"num_classes": 5, "image_shape": (3, SIZE, SIZE), "epochs": 1, "steps_per_epoch": 2, "batch_size": 10}
    beyond = defense.changes().beyond_loss()
    if beyond:
        _is_refused(defense, model, optimizer, options, beyond)
        return
    data = private_people().part("train")
    defended = Defended(defense, model, optimizer, **options)  # type: ignore[arg-type]
    before = [parameter.clone() for parameter in model.parameters()]
    for rows in (slice(0, 10), slice(10, 20)):
        loss = defended.loss(data.images()[rows], data.labels[rows])
        expect(loss.ndim == 0 and bool(loss.isfinite()), "The loss of a batch has to be one finite number.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    expect(moved, "The loss moved no weight.")


def _is_refused(
    defense: Defense, model: nn.Module, optimizer: torch.optim.Optimizer, options: dict[str, object], beyond: list[str]
) -> None:
    try:
        Defended(defense, model, optimizer, **options)  # type: ignore[arg-type]
    except UserError as refusal:
        expect(all(what in str(refusal) for what in beyond), f"The refusal does not name what is changed: {refusal}")
        return
    raise AssertionError("A defense that changes more than the loss was accepted in another training loop.")


def _trained(defense: Defense, network: ModelConfig, out: Path, seed: int = 3, interrupted_after: int = 0) -> Manifest:
    DEFENSES.add(type(defense))
    return train(
        out,
        private_people(),
        model=network,
        defense=defense,
        training=quick_training(epochs=3),
        seed=seed,
        compute=CPU,
        progress=interrupt_after(interrupted_after) if interrupted_after else no_progress,
    )


def _log(model: Path) -> list[dict[str, float]]:
    """The training log without the seconds, which differ from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_log(model / "log.jsonl")]


def _weights(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()
