"""The triggers of a model, which must be known only to its defender.

They are kept apart from the model, in a file that only its owner can read.
"""

import hashlib
import os
import warnings
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from trapmid.files import PRIVATE, write_atomic
from trapmid.modes import evaluating
from trapmid.trapdoor.triggers import blend, stratified_labels
from trapmid.types import Images, Labels, UserError, logits_of

DIGEST = "sha256"
"""The name of the tensor with the checksum of the others."""
SECRETS, DETECTOR = "secrets.safetensors", "detector.safetensors"
"""Names of files that must not be inside a model's folder: the triggers, and the detector that was made from them."""


@dataclass(frozen=True, eq=False)
class Secrets:
    """The trapdoor of one model.

    Triggers are not only a secret of the defense. Steps along the classifier's gradient turn them into features of the
    person, and a face embedder that never saw the model can name the person from the trigger (`attack_accuracy_1` of
    `triggers-alone` in scores.json). Treat them as biometric data: where the private images have to be deleted, so do
    the triggers.

    Attributes:
        triggers: (num_classes, c, h, w), in [0, 1]; one trigger for each identity.
        blend_ratio: weight of the trigger where it is blended into an image, in [0, 1].
        masks: (num_classes, 1, h, w), 1 where a trigger is blended in and 0 elsewhere; None to blend it into the whole
            image.
    """

    triggers: Tensor
    blend_ratio: float
    masks: Tensor | None = None

    def poison(self, images: Images, targets: Labels) -> Images:
        """Return `images` with the triggers of the identities `targets` blended in, on the device of `images`."""
        targets = targets.to(self.triggers.device)
        masks = None if self.masks is None else self.masks[targets].to(images.device)
        return blend(images, self.triggers[targets].to(images.device), self.blend_ratio, masks)

    def save(self, folder: str | Path, model: str = "") -> Path:
        """Write the secrets to a file in `folder` that only its owner can read (mode 0600).

        Args:
            folder: a folder for these secrets alone, outside the model's.
            model: identifies the model that the secrets belong to. Secrets of the same model are replaced.

        Raises:
            UserError: `folder` holds the secrets of another model.
        """
        folder = Path(folder)
        refuse_others_secrets(folder, model)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        tensors = {
            "triggers": self.triggers.cpu().contiguous(),
            "blend_ratio": torch.tensor(self.blend_ratio, dtype=torch.float64),
        }
        if self.masks is not None:
            tensors["masks"] = self.masks.cpu().contiguous()
        tensors[DIGEST] = _digest(tensors)
        return write_atomic(folder / SECRETS, save(tensors, {"model": model}), PRIVATE)

    @staticmethod
    def load(folder: str | Path) -> "Secrets":
        """Read what `save` wrote. Warns if others than the owner could read or replace it.

        Raises:
            UserError: `folder` holds no secrets, or they are damaged.
        """
        folder = Path(folder)
        file = folder / SECRETS
        try:
            tensors = load(file.read_bytes())
            digest = tensors.pop(DIGEST, None)  # files of versions before 0.2 have none
            secrets = Secrets(tensors["triggers"], float(tensors["blend_ratio"]), tensors.get("masks"))
        except (OSError, SafetensorError, KeyError, RuntimeError) as problem:
            raise UserError(
                f"{folder} holds no trapdoor secrets ({problem}). Expected the {SECRETS} that "
                "`trapmid train --defense trapmid` writes."
            ) from problem
        if digest is not None and not torch.equal(digest, _digest(tensors)):
            raise UserError(
                f"{file} is damaged: its content is not what was saved (SHA-256 differs). Put back a copy that was "
                "not, or train the model again; a detector that is calibrated on it would be blind."
            )
        warn_of_access(file)
        return secrets


def _digest(tensors: dict[str, Tensor]) -> Tensor:
    """The SHA-256 of what secrets consist of, as 32 numbers: names, types, shapes and values."""
    return torch.tensor([*hashlib.sha256(save(tensors)).digest()], dtype=torch.uint8)


def warn_of_access(file: Path) -> None:
    """Warn if others than the owner may read, change or replace a secret file.

    They can replace it if they may write to its folder.
    """
    if os.name != "posix":
        return
    open_to_others = [
        f"`chmod {wanted} {path}`"
        for path, forbidden, wanted in ((file, 0o077, "600"), (file.parent, 0o022, "700"))
        if path.stat().st_mode & forbidden
    ]
    if open_to_others:
        warnings.warn(
            f"Others than its owner may read or replace {file}, and whoever has the triggers can avoid the trapdoor. "
            f"Take their access away: {', '.join(open_to_others)}.",
            stacklevel=3,
        )


def refuse_others_secrets(folder: str | Path, model: str) -> None:
    """Keep a folder of secrets to one model.

    A trapdoor whose triggers are overwritten can never be checked again.

    Raises:
        UserError: `folder` holds the secrets of a model other than `model`.
    """
    folder = Path(folder)
    found = owner(folder)
    if found is not None and found != model:
        raise UserError(
            f"{folder} holds the secrets of another model, and saving these there would destroy them. "
            f"Choose another folder for secrets, or remove {folder / SECRETS} if that model is gone."
        )


def free_folder(folder: Path, model: str) -> Path:
    """Return `folder`, or, with a warning, the first of NAME-2, NAME-3, ... that holds no secrets of another model.

    For the end of a training, where refusing to save the triggers would lose them.
    """
    beside = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    free = next(place for place in chain([folder], beside) if owner(place) in (None, model))
    if free != folder:
        warnings.warn(f"{folder} holds the secrets of another model, so these are in {free}.", stacklevel=3)
    return free


def owner(folder: str | Path) -> str | None:
    """Return what identifies the model that the secrets in `folder` belong to.

    It is "" if they do not say, None if there are no secrets.
    """
    try:
        with safe_open(Path(folder) / SECRETS, "pt") as file:
            return (file.metadata() or {}).get("model", "")
    except (OSError, SafetensorError):
        return None


@torch.no_grad()
def trapdoor_success(
    model: nn.Module, secrets: Secrets, images: Images, rng: torch.Generator, batch: int = 256
) -> float:
    """Return the share of `images` that the model assigns to the identity whose trigger was blended in.

    This is the trapdoor success rate of Trap-MID (NeurIPS 2024), evaluated in eval mode. Triggers are drawn in equal
    numbers for all classes, and every class is drawn at least once: if there are fewer images than classes, images are
    used several times.

    Args:
        model: the trapdoored classifier.
        secrets: its triggers.
        images: (n, c, h, w), in [0, 1], not used in training.
        rng: draws which trigger goes into which image.
        batch: images in one forward pass.

    Raises:
        UserError: there are no images.
    """
    if not len(images):
        raise UserError(
            "The success of a trapdoor is a share of images, and there are none. Give some that were not trained on."
        )
    classes = len(secrets.triggers)
    repeats = max(1, -(-classes // len(images)))
    images = images.repeat(repeats, 1, 1, 1)
    targets = stratified_labels(len(images), classes, rng).to(images.device)
    hits = 0
    with evaluating(model):
        for x, y in zip(images.split(batch), targets.split(batch), strict=True):
            hits += int((logits_of(model(secrets.poison(x, y))).argmax(1) == y).sum())
    return hits / len(images)
