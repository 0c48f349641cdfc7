"""Runs an attack on a target with public images, and writes the reconstructions.

An interrupted attack resumes at the current batch of identities.
"""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from trapmid.artifacts import Draft, make
from trapmid.attacks.attack import GAN_LOG, Attack, Found, ReadyT, Run, TargetT
from trapmid.data.images import ImageSet, from_png, to_png
from trapmid.engine import Compute, Progress, labelled, no_progress, peak_memory_mib, randomness
from trapmid.files import write_atomic
from trapmid.manifests import MANIFEST, Manifest, open_artifact, recorded
from trapmid.priors import Prior
from trapmid.priors.gan import GENERATOR
from trapmid.targets import LabelTarget, demand
from trapmid.types import Pixels, UserError

FOUND = "reconstructions.parquet"


def attack(
    out: str | Path,
    target: TargetT,
    public: ImageSet,
    *,
    method: Attack[TargetT, ReadyT],
    identities: tuple[str, ...],
    seed: int = 0,
    parents: dict[str, str],
    prior: Prior | None = None,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Run an attack into the folder `out`.

    The attack writes `reconstructions.parquet`, `manifest.json` and, if it trains a GAN, its log and its generator.

    If it is interrupted, the same call resumes and ends with the same numbers. If it is finished, the call returns at
    once.

    Args:
        out: the folder of the artifact.
        target: the model under attack.
        public: the attacker's images.
        method: the attack.
        identities: names of the target's classes, in order. Classes after these are not attacked.
        seed: seed of the prior and the search of the attack.
        parents: digests of the target (`model`), the public images (`public`), the prior trained before (`prior`).
        prior: that prior, already trained; None if `method.public_prior()` is.
        compute: device and precision.
        progress: called with the progress of the attack.

    Raises:
        UserError: the attack needs more access than the target gives, the target does not take images like the public
            ones, or the prior that the attack needs is missing.
    """
    out = Path(out)
    demand(target, method.needs, method.name)
    wanted = method.public_prior()
    if wanted is not None and prior is None:
        raise UserError(
            f"{method.name} starts from the prior {wanted.name}, and there is none. Train it on the public images "
            "with `trapmid.priors.pretrain` and pass what `open_prior` returns as prior."
        )
    shape = (public.channels, public.image_size, public.image_size)
    if shape != tuple(target.image_shape):
        raise UserError(
            f"The target takes images of shape {tuple(target.image_shape)}; the public images are {shape}. Load them "
            "with the target's size and channels."
        )
    recipe = {"attack": recorded(method), "seed": seed, "identities": list(identities)}

    def build(draft: Draft) -> Manifest:
        started = time.monotonic()
        clock = _Clock(draft.folder / "seconds.json")
        run = Run(seed, compute or Compute(), draft.folder, prior, labelled(progress, out.name))
        # a target may draw random numbers when it answers, outside of loops that control randomness
        with randomness(seed, "attack", device=run.compute.torch_device):
            run.log(())
            ready = method.prepare(target, public, run)
        clock.add("prior", time.monotonic() - started)
        per_batch = method.effort.identities_per_batch or len(identities)
        parts: list[Found] = []
        for number, batch in enumerate(torch.arange(len(identities)).split(per_batch)):
            file = draft.folder / f"found-{number}.safetensors"
            if not file.exists():
                began = time.monotonic()
                with randomness(seed, "attack", number, device=run.compute.torch_device):
                    _save_part(file, method.invert(target, ready, batch, run), target)
                clock.add("search", time.monotonic() - began)
            parts.append(_load_part(file, target))
        found = Found(
            torch.cat([p.pixels for p in parts]),
            torch.cat([p.labels for p in parts]),
            torch.cat([p.confidence for p in parts]),
        )
        write_found(draft.folder / FOUND, found, identities)
        facts = {
            "images": len(found.labels),
            "image_shape": list(target.image_shape),
            "queries": target.queries,
            "seconds": clock.seconds,
            "confidence": float(found.confidence.mean()),
            "diversity": diversity(found.pixels, found.labels),
            "notes": run.notes(),
        }
        kept = [GENERATOR] if (draft.folder / GENERATOR).exists() else []
        return draft.finish([FOUND, GAN_LOG, *kept], facts, sum(clock.seconds.values()), peak_memory_mib())

    return make(out, "attack", recipe, parents, build, progress)


def open_found(folder: str | Path) -> tuple[Found, Manifest]:
    """The reconstructions in a folder that `attack` made, and its manifest."""
    folder = Path(folder)
    manifest = open_artifact(folder, "attack")
    return read_found(folder / FOUND), manifest


def open_generator(folder: str | Path, method: Attack[TargetT, ReadyT], compute: Compute | None = None) -> Prior:
    """The generator that `method` trained with queries to the target and wrote to `folder`.

    Raises:
        UserError: the attack trains none, the folder belongs to another attack, or it was written by a version that did
            not store generators.
    """
    folder = Path(folder)
    config, manifest = method.own_prior(), open_artifact(folder, "attack")
    if config is None:
        raise UserError(
            f"{method.name} trains no generator with the target's help; it searches a prior of the public images or "
            "none. Open that prior with `trapmid.priors.open_prior`."
        )
    if manifest.recipe["attack"] != recorded(method):
        raise UserError(
            f"{folder} holds what another attack than this {method.name} found. Give the settings in its {MANIFEST}."
        )
    if GENERATOR not in manifest.files:
        raise UserError(
            f"{folder} holds no {GENERATOR}: it was made when attacks did not keep the generator they trained. Remove "
            "that folder and run the attack again."
        )
    channels, height, width = manifest.fact("image_shape", tuple[int, int, int])
    classes = len(manifest.recipe["identities"])
    return config.open_generator(folder, classes, (channels, height, width), compute or Compute())


def write_found(file: Path, found: Found, identities: tuple[str, ...]) -> None:
    """Write reconstructions as image Parquet, in the layout of our readers and the `datasets` library.

    Its columns are PNG bytes, identity, and the target's confidence.
    """
    rows = [
        {
            "image": {"bytes": to_png(pixels), "path": f"{identities[label]}-{i}.png"},
            "identity": identities[label],
            "label": label,
            "confidence": confidence,
        }
        for i, (pixels, label, confidence) in enumerate(
            zip(found.pixels, found.labels.tolist(), found.confidence.tolist(), strict=True)
        )
    ]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", image), ("identity", pa.string()), ("label", pa.int64()), ("confidence", pa.float32())]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def read_found(file: Path) -> Found:
    """The inverse of `write_found`."""
    rows = pq.read_table(file).to_pylist()
    pixels = torch.stack([from_png(row["image"]["bytes"]) for row in rows])
    return Found(
        pixels, torch.tensor([row["label"] for row in rows]), torch.tensor([row["confidence"] for row in rows])
    )


def diversity(pixels: Pixels, labels: Tensor) -> dict[str, float]:
    """Root mean square pixel distance, in [0, 1] units, between images of the same identity and between any two.

    A collapsed generator produces one picture per class. Its `within` is near zero, although the attack may look
    successful.
    """
    flat = pixels.flatten(1).float() / 255
    within = between = torch.zeros((), dtype=torch.float64)
    for rows, of in zip(flat.split(256), labels.split(256), strict=True):
        # by products of matrices, equal images would seem to be apart
        apart = torch.cdist(rows, flat, compute_mode="donot_use_mm_for_euclid_dist").double() / flat.shape[1] ** 0.5
        same = of[:, None] == labels
        within, between = within + (apart * same).sum(), between + (apart * ~same).sum()
    pairs = int(labels.unique(return_counts=True)[1].square().sum())
    return {
        "within": float(within) / max(1, pairs - len(labels)),
        "between": float(between) / max(1, len(labels) ** 2 - pairs),
    }


def _save_part(file: Path, found: Found, target: LabelTarget) -> None:
    queries = torch.tensor(target.queries)
    tensors = {
        "pixels": found.pixels.contiguous(),
        "labels": found.labels,
        "confidence": found.confidence,
        "queries": queries,
    }
    write_atomic(file, save(tensors))


def _load_part(file: Path, target: LabelTarget) -> Found:
    tensors = load_file(file)
    target.queries = int(tensors["queries"])
    return Found(tensors["pixels"], tensors["labels"], tensors["confidence"])


class _Clock:
    """Seconds by stage, accumulated over resumed runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        write_atomic(self.file, json.dumps(self.seconds))
