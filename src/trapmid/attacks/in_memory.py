"""Inversion of a classifier in memory with one function call."""

import copy
import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from trapmid.attacks.attack import Attack, Found, ReadyT, TargetT
from trapmid.attacks.inversion import attack, open_found
from trapmid.data.images import ImageSet
from trapmid.engine import Compute, Progress, no_progress
from trapmid.priors import open_prior, pretrain
from trapmid.targets import Budget, Signatures


def invert(
    model: nn.Module,
    public: ImageSet,
    method: Attack[TargetT, ReadyT],
    *,
    identities: Sequence[str],
    out: str | Path | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    signatures: Signatures | None = None,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Found:
    """Reconstruct images of a classifier's identities.

    Args:
        model: any module from images (n, c, h, w) in [0, 1] to logits or a `Prediction`. A copy in eval mode is
            attacked.
        public: the attacker's images of other people, in the size of the model's images.
        method: the attack, e.g. `PLGMI()`. It gets exactly the access that it needs.
        identities: the names of the model's classes, in order.
        out: the output folder. The same call with the same folder resumes an interrupted attack, and returns finished
            results at once. None for a temporary folder, which is deleted.
        seed: seed of the prior, the attack and its search.
        budget: the largest number of images that may be queried; None for no limit.
        signatures: computes the trapdoors' signatures (num_classes, d), for attacks that know them.
        compute: device and precision.
        progress: called with the progress of the attack.

    Returns:
        The reconstructions, the same number for each identity, with the model's confidence in each.

    Raises:
        UserError: the model does not support the access that the attack needs or takes images of another shape, or
            `out` has other content.
    """
    with TemporaryDirectory(prefix="trapmid-") if out is None else nullcontext(out) as root:
        compute = compute or Compute()
        shape = (public.channels, public.image_size, public.image_size)
        own = compute.place(copy.deepcopy(model))  # a target freezes its model, and the caller may continue to train it
        target: Any = method.needs.of(own, len(identities), shape, budget=budget, signatures=signatures)
        parents, prior, wanted = {"model": digest(model), "public": public.digest()}, None, method.public_prior()
        if wanted is not None:
            folder = Path(root) / f"prior-{wanted.fingerprint()[:6]}"
            pretrain(folder, wanted, public, len(identities), seed=seed, compute=compute, progress=progress)
            prior, manifest = open_prior(folder, wanted, compute)
            parents["prior"] = manifest.digest()
        place = Path(root) / f"{method.name}-s{seed}"
        attack(
            place,
            target,
            public,
            method=method,
            identities=tuple(identities),
            seed=seed,
            parents=parents,
            prior=prior,
            compute=compute,
            progress=progress,
        )
        return open_found(place)[0]


def digest(model: nn.Module) -> str:
    """Sixteen hex digits that change if a weight of the model changes."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()[:16]
