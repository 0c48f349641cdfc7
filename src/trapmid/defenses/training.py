"""Trains a model and its secrets from images and a defense, in one loop for every defense."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trapmid.artifacts import Draft, make
from trapmid.augment import flipped
from trapmid.data.images import to_unit
from trapmid.data.splits import Split
from trapmid.defenses.changes import shuffled_batches
from trapmid.defenses.context import TrainingContext, TrainingImages
from trapmid.defenses.defense import Defense
from trapmid.defenses.opening import WEIGHTS, accuracy_on, owner_name
from trapmid.defenses.training_settings import Training
from trapmid.engine import (
    LOG,
    BestState,
    Compute,
    Loop,
    Progress,
    generator,
    labelled,
    no_progress,
    peak_memory_mib,
    randomness,
    run_together,
)
from trapmid.manifests import Manifest, recorded
from trapmid.models import ModelConfig
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.together import processes, rank, refuse_processes, share
from trapmid.trapdoor import refuse_others_secrets
from trapmid.types import Labels, Stateful, UserError


def train(
    out: str | Path,
    private: Split,
    *,
    model: ModelConfig,
    defense: Defense,
    training: Training,
    seed: int = 0,
    compute: Compute | None = None,
    secrets: str | Path | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Train one classifier and write `model.safetensors`, `log.jsonl` and `manifest.json` into the folder `out`.

    If it is interrupted at any point, the same call resumes and ends with the same numbers. If it has finished, the
    call returns at once.

    Args:
        out: the model's folder.
        private: images and their split. The part `test` is used only if `training.keep` is `test`.
        model: architecture.
        defense: the defense.
        training: the other settings of the training.
        seed: seed of initial weights, batches, augmentation and triggers.
        compute: device, precision, and the number of processes that share each batch.
        secrets: folder for the triggers of this model; default: the name of `out` with `-secrets` appended. It must not
            be inside `out`.
        progress: called as the training goes on.

    Returns:
        The manifest. Its `facts` hold `kept_epoch`, `val_accuracy`, `notes`, `warnings` and what else the defense
        found.

    Raises:
        UserError: the images do not fill a batch, `out` or `secrets` belongs to another model, several processes cannot
            share the batches, or torchrun has started several processes.
    """
    out = Path(out)
    refuse_processes("trapmid.train")
    compute = compute or Compute()
    if compute.devices > 1 and defense.changes().update is not None:
        raise UserError(
            f"{defense.name} changes how the weights take a step, which works in one process only. Leave out --devices."
        )
    compute.check_batches(training.batch_size, "training.batch_size")
    secrets = out.with_name(out.name + "-secrets") if secrets is None else Path(secrets)
    if secrets.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"--secrets {secrets} lies inside the model's folder {out}: whoever gets the model would get the triggers. "
            "Choose a folder of its own."
        )
    images = private.images
    shape = (images.channels, images.image_size, images.image_size)
    recipe = {
        "model": recorded(model),
        "defense": recorded(defense),
        "training": recorded(training),
        "seed": seed,
        "image_shape": shape,
        "identities": list(images.identities),
    }

    def build(draft: Draft) -> Manifest:
        work = _fit if compute.devices == 1 else partial(run_together, _fit)
        outcome = work(draft, private, model, defense, training, seed, secrets, compute=compute, progress=progress)
        return draft.finish([WEIGHTS, LOG], *outcome)

    return make(out, "model", recipe, {"data": private.digest()}, build, progress)


def _fit(*settings: Any, **how: Any) -> tuple[dict[str, Any], float, float]:
    return _Fit(*settings, **how).run()


class _Fit:
    """The parts of one training and their connections."""

    def __init__(
        self,
        draft: Draft,
        private: Split,
        model: ModelConfig,
        defense: Defense,
        training: Training,
        seed: int,
        secrets: Path,
        compute: Compute,
        progress: Progress,
    ) -> None:
        self.draft, self.training, self.seed, self.compute, self.secrets = draft, training, seed, compute, secrets
        self.defense, self.identity = defense, owner_name(draft.recipe, draft.parents)
        self.changes = defense.changes()
        refuse_others_secrets(secrets, self.identity)
        self.train, self.chosen_on = private.part("train"), private.part("test" if training.keep == "test" else "val")
        self.steps_per_epoch = len(self.train) // training.batch_size
        if self.steps_per_epoch == 0:
            raise UserError(
                f"{len(self.train)} training images do not fill one batch of {training.batch_size}. Lower batch_size "
                "or bring more images."
            )
        steps = training.epochs * self.steps_per_epoch
        channels, size = self.train.channels, self.train.image_size
        device = compute.torch_device
        with randomness(seed, "weights", device=device):
            network = model.build(len(self.train.identities), size, channels)
            classifier = network if self.changes.network is None else self.changes.network(network)
            self.model: nn.Module = compute.place(classifier)
            self.optimizer = training.optimizer.build(self.model)
            context = TrainingContext(
                model=self.model if processes() == 1 else DistributedDataParallel(self.model),
                optimizer=self.optimizer,
                architecture=model,
                images=TrainingImages(
                    count=len(self.train),
                    num_classes=len(self.train.identities),
                    shape=(channels, size, size),
                    mean=tuple(to_unit(self.train.pixels).mean((0, 2, 3)).tolist()),
                ),
                epochs=training.epochs,
                batch_size=training.batch_size,
                augment=training.augmentation.build(size),
                compute=compute,
                seed=seed,
            )
            self.run_of_defense = self.changes.start(context)
            self.update = self.changes.updater(context)
        if (self.run_of_defense.secrets() is not None) != self.changes.trapdoor:
            raise UserError(
                f"{defense.name} contradicts itself: its `changes` say trapdoor={self.changes.trapdoor}, and its run "
                f"{'has' if self.run_of_defense.secrets() is not None else 'has no'} secrets. Set `Changes.trapdoor` "
                "to what is true."
            )
        self.context = context
        parts: dict[str, Stateful] = {"model": self.model, **self.run_of_defense.parts()}
        self.kept, self.notes = parts, network.notes
        self.best = BestState()
        state: dict[str, Stateful] = {**parts, "optimizer": self.optimizer, "best": self.best}
        self.schedule = training.rates(self.optimizer, self.steps_per_epoch)
        if self.schedule is not None:
            state["schedule"] = self.schedule
        self.loop = Loop(
            "train",
            steps,
            seed,
            compute,
            state,
            draft.folder,
            self.steps_per_epoch,
            progress=labelled(progress, draft.out.name),
        )
        self.pixels, self.labels = self.train.pixels.to(device), self.train.labels.to(device)
        self._batches: Sequence[Labels] = ()
        self._batches_of = -1

    def run(self) -> tuple[dict[str, Any], float, float]:
        """Train. Returns the facts for the manifest, seconds, and the peak memory of this process in MiB."""
        rows = self.loop.run(self.step, self.at_epoch)
        if self.training.keep != "last":
            self.best.restore(self.kept)
        last = next(row for row in reversed(rows) if "val_accuracy" in row)
        chosen = (
            next((row for row in rows if row["step"] == self.best.step), last) if self.training.keep != "last" else last
        )
        if rank() == 0:
            self._save()
        found = self.defense.findings(self.context, {**last, **chosen})
        facts: dict[str, Any] = {
            "kept": self.training.keep,
            "kept_epoch": int(chosen["step"]) // self.steps_per_epoch,
            "val_accuracy": chosen["val_accuracy"],
            "notes": [*self.notes, *found.notes],
            "warnings": list(found.warnings),
            **found.facts,
        }
        return facts, self.loop.seconds, peak_memory_mib()

    def _save(self) -> None:
        save_file(
            {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()},
            self.draft.folder / WEIGHTS,
        )
        triggers = self.run_of_defense.secrets()
        if triggers is not None:
            triggers.save(self.secrets, self.identity)

    def step(self, number: int) -> Mapping[str, Tensor]:
        rows = self._batch(number)
        self.model.train()
        epoch = number // self.steps_per_epoch
        images = flipped(to_unit(self.pixels[rows]), self.training.flip)
        losses, notes = self.run_of_defense.losses(images, self.labels[rows], epoch)
        self.update(torch.stack(list(losses.values())).sum())
        if self.schedule is not None:
            self.schedule.step()
        return {**{f"loss_{name}": value for name, value in losses.items()}, **notes}

    def at_epoch(self, done: int) -> Mapping[str, float]:
        epoch = done // self.steps_per_epoch
        if epoch % self.training.evaluate_every and epoch != self.training.epochs:
            return {"epoch": float(epoch)}
        if self.training.recalibrate:
            order = torch.randperm(len(self.train)).split(self.training.batch_size)[
                : max(1, min(10, self.steps_per_epoch))
            ]
            recalibrate_batch_norm(
                self.model,
                (
                    (self.run_of_defense.calibration(to_unit(self.pixels[rows.to(self.pixels.device)])),)
                    for rows in order
                ),
            )
        accuracy = accuracy_on(self.model, self.chosen_on)
        examined = self.run_of_defense.examine(
            self.chosen_on.images().to(self.compute.torch_device), generator(self.seed, "examine", done)
        )
        if self.run_of_defense.settled():
            self.best.offer(accuracy, done, self.kept)
        return {"epoch": float(epoch), "val_accuracy": accuracy, **examined}

    def _batch(self, number: int) -> Labels:
        """This process's rows of batch `number`, which follow from seed and epoch, so that a loader has no state."""
        epoch, position = divmod(number, self.steps_per_epoch)
        if epoch != self._batches_of:
            rng = generator(self.seed, "order", epoch)
            draw = self.changes.batches or shuffled_batches
            self._batches = draw(self.train.labels, self.training.batch_size, rng)
            self._batches_of = epoch
        return share(self._batches[position]).to(self.pixels.device)
