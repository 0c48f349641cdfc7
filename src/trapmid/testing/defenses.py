"""The contract of every defense: in `trapmid.train`, in a training loop that trapmid did not write, and as a config."""

import math
import stat
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from trapmid.defenses import DEFENSES, Defended, Defense, open_model, train
from trapmid.engine import no_progress, randomness, read_log
from trapmid.manifests import Manifest
from trapmid.models import ModelConfig
from trapmid.testing.check import Check, Interrupted, checkpoint_every_period, expect, folder_of, interrupt_after
from trapmid.testing.people import CPU, NETWORK, SIZE, private_people, quick_training
from trapmid.trapdoor import SECRETS
from trapmid.types import UserError


def defense_checks(defense: Defense, network: ModelConfig = NETWORK) -> list[Check]:
    """The promises that a defense has to keep. They train it about five times, each a fraction of a second.

    A class that is not installed as an entry point is added to `DEFENSES` when its checks run.

    Args:
        defense: with settings that suit ten images a batch.
        network: the architecture to train, for defenses that need a certain one.
    """
    trial = _Trial(defense, network)
    checks = (
        trial.describes_itself,
        trial.equals_its_own_json,
        trial.leaves_a_model_that_opens,
        trial.is_a_function_of_the_seed,
        trial.resumes_to_the_same_bytes,
        trial.returns_at_once_when_finished,
        trial.keeps_secrets_apart,
        trial.works_in_another_loop_or_is_refused,
    )
    return [Check(check.__name__, check) for check in checks]


class _Trial:
    """The checks of one defense, which share its first training."""

    def __init__(self, defense: Defense, network: ModelConfig) -> None:
        self.defense, self.network = defense, network

    @cached_property
    def _first(self) -> tuple[Path, Manifest]:
        """A training that nothing interrupted."""
        out = folder_of(self) / "model"
        return out, self._trained(out)

    def _trained(self, out: Path, seed: int = 3, interrupted_after: int = 0) -> Manifest:
        DEFENSES.add(type(self.defense))
        return train(
            out,
            private_people(),
            model=self.network,
            defense=self.defense,
            training=quick_training(epochs=3),
            seed=seed,
            compute=CPU,
            progress=interrupt_after(interrupted_after) if interrupted_after else no_progress,
        )

    def describes_itself(self, folder: Path) -> None:
        del folder
        kind, defense = type(self.defense).__name__, self.defense
        expect(bool(defense.title), f"{kind} has no `title`: tables need one.")
        expect(bool(defense.paper), f"{kind} has no `paper`: say where it comes from.")
        expect(bool(type(defense).__doc__), f"{kind} has no docstring: `trapmid list` shows its first sentence.")

    def equals_its_own_json(self, folder: Path) -> None:
        del folder
        defense = self.defense
        again = type(defense).model_validate_json(defense.model_dump_json())
        expect(again == defense, f"{defense!r} became {again!r} in JSON and back, so that a run could not resume.")
        expect(again.changes().trapdoor == defense.changes().trapdoor, "`changes` has to be a function of the config.")

    def leaves_a_model_that_opens(self, folder: Path) -> None:
        del folder
        model, manifest = self._first
        rows = read_log(model / "log.jsonl")
        broken = sorted({name for row in rows for name, value in row.items() if not math.isfinite(value)})
        expect(not broken, f"{', '.join(broken)} in the training log are not finite numbers.")
        opened = open_model(model, CPU)
        val = private_people().part("val")
        with torch.no_grad(), randomness(0, "evaluate"):
            logits = opened.classifier(val.images()).logits
        accuracy = float((logits.argmax(1) == val.labels).double().mean())
        expect(
            accuracy == manifest.facts["val_accuracy"],
            f"The opened model is right on {accuracy:.1%} of the validation images and was right on "
            f"{manifest.facts['val_accuracy']:.1%} in training. What `network` changes has to be a function of the "
            "config.",
        )

    def is_a_function_of_the_seed(self, folder: Path) -> None:
        one, _ = self._first
        for name, seed in (("same", 3), ("other", 4)):
            torch.manual_seed(len(name))  # the caller's random state must not matter
            self._trained(folder / name, seed)
        expect(_weights(one) == _weights(folder / "same"), "One seed gave two different models.")
        expect(_log(one) == _log(folder / "same"), "One seed gave two different training logs.")
        expect(_weights(one) != _weights(folder / "other"), "Two seeds gave the same model.")

    def resumes_to_the_same_bytes(self, folder: Path) -> None:
        whole, _ = self._first
        parts = folder / "parts"
        with checkpoint_every_period():
            for _ in range(2):  # each time goes on after the checkpoint of the epoch before
                try:
                    self._trained(parts, interrupted_after=6)
                except Interrupted:
                    continue
                break
            expect(not parts.exists(), "An interrupted training left a finished model.")
            self._trained(parts)
        expect(
            _weights(whole) == _weights(parts),
            "A training that was interrupted and resumed ended with other weights. Everything that changes over the "
            "training has to be in the state of its run.",
        )
        expect(_log(whole) == _log(parts), "A training that was resumed logged other numbers.")
        mine, theirs = _secrets(parts), _secrets(whole)
        same = mine.read_bytes() == theirs.read_bytes() if theirs.exists() else not mine.exists()
        expect(same, "A training that was interrupted and resumed ended with other secrets.")

    def returns_at_once_when_finished(self, folder: Path) -> None:
        del folder
        model, manifest = self._first
        expect(
            self._trained(model, interrupted_after=1) == manifest, "A finished training opened with another manifest."
        )

    def keeps_secrets_apart(self, folder: Path) -> None:
        del folder
        model, _ = self._first
        inside = [file.name for file in model.rglob("*") if file.name == SECRETS]
        expect(not inside, f"The model's folder holds {SECRETS}: whoever gets the model gets the secrets.")
        file, has_trapdoor = _secrets(model), self.defense.has_trapdoor
        expect(file.exists() == has_trapdoor, f"`trapdoor` is {has_trapdoor} and the training disagrees.")
        if file.exists():
            mode = stat.S_IMODE(file.stat().st_mode)
            expect(mode == 0o600, f"{SECRETS} has the mode {mode:o}; expected 600.")

    def works_in_another_loop_or_is_refused(self, folder: Path) -> None:
        del folder
        defense = self.defense
        model = self.network.build(5, SIZE, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        options = {
            "num_classes": 5,
            "image_shape": (3, SIZE, SIZE),
            "epochs": 1,
            "steps_per_epoch": 2,
            "batch_size": 10,
        }
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


def _log(model: Path) -> list[dict[str, float]]:
    """The training log without the seconds, which differ from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_log(model / "log.jsonl")]


def _weights(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def _secrets(model: Path) -> Path:
    return model.with_name(f"{model.name}-secrets") / SECRETS
