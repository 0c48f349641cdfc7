"""Opening a trained model from its folder, and its predictions on a whole set of images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor, nn

from trapmid.config import Config, Side, explain, fingerprint
from trapmid.data.images import ImageSet, to_unit
from trapmid.defenses.union import AnyDefense
from trapmid.engine import Compute, randomness
from trapmid.manifests import MANIFEST, Manifest, open_artifact
from trapmid.models import AnyModel
from trapmid.modes import evaluating
from trapmid.reading import load_weights
from trapmid.trapdoor import DETECTOR, SECRETS, Secrets, owner
from trapmid.types import UserError, logits_of

WEIGHTS = "model.safetensors"


@torch.no_grad()
def logits_on(model: nn.Module, images: ImageSet, batch: int = 256) -> Tensor:
    """Logits (n, classes), on the CPU, of a model in eval mode for a whole set of images.

    A model that draws random numbers (`mid`) draws the same ones each time.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with evaluating(model), randomness(0, "evaluate", device=device):
        return torch.cat(
            [logits_of(model(to_unit(pixels.to(device)))).float().cpu() for pixels in images.pixels.split(batch)]
        )


def accuracy_on(model: nn.Module, images: ImageSet) -> float:
    """Share of a set of images that the model, in eval mode, classifies correctly."""
    return float((logits_on(model, images).argmax(1) == images.labels).double().mean())


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model opened from its folder. It holds no secrets."""

    classifier: nn.Module
    manifest: Manifest
    identities: tuple[str, ...]
    image_shape: tuple[int, int, int]


class _Trained(Config):
    """What a model's manifest says of its training, as far as opening the model takes it."""

    model_config = ConfigDict(extra="ignore")

    model: AnyModel
    defense: AnyDefense
    image_shape: tuple[Literal[1, 3], Side, Side]
    identities: tuple[str, ...] = Field(min_length=2)


def open_model(folder: str | Path, compute: Compute | None = None) -> TrainedModel:
    """The trained classifier in `folder`, in eval mode, on the device of `compute`.

    Raises:
        UserError: the folder is no model, is damaged or holds weights that are not finite, its defense is not known
            here, or triggers or a detector lie anywhere inside the folder.
    """
    folder = Path(folder)
    manifest = open_artifact(folder, "model")
    if given_away := next((file for name in (SECRETS, DETECTOR) for file in folder.rglob(name)), None):
        raise UserError(
            f"{given_away} lies within the model's folder: whoever gets the model gets its trapdoor. Move the secrets "
            "elsewhere."
        )
    try:
        trained = _Trained.from_file(manifest.recipe)
    except ValidationError as problem:
        raise UserError(
            f"{folder / MANIFEST} does not describe a training that this trapmid knows: {explain(problem)}."
        ) from problem
    channels, size, _ = trained.image_shape
    classifier = trained.model.without_pretraining().build(len(trained.identities), size, channels)
    change = trained.defense.changes().network
    if change is not None:
        classifier = change(classifier)
    load_weights(classifier, folder / WEIGHTS)
    if not all(bool(value.isfinite().all()) for value in classifier.state_dict().values()):
        raise UserError(
            f"The weights in {folder} are not finite numbers: the training diverged, and an earlier version kept the "
            "result. "
            "Remove that folder and what was made from it, or choose another --out, and train with a lower learning "
            "rate."
        )
    placed = (compute or Compute()).place(classifier).eval()
    return TrainedModel(placed, manifest, trained.identities, (channels, size, size))


def open_secrets(folder: Path, model: TrainedModel) -> Secrets:
    """The triggers of `model`, read from `folder`.

    Raises:
        UserError: there are none, they belong to another model, or their number or size does not fit the model.
    """
    secrets = Secrets.load(folder)
    if owner(folder) not in ("", owner_name(model.manifest.recipe, model.manifest.parents)):
        raise UserError(
            f"{folder} holds the secrets of another model than this one. Give those that its training wrote."
        )
    expected = (len(model.identities), *model.image_shape)
    if tuple(secrets.triggers.shape) != expected:
        raise UserError(
            f"{folder} holds triggers of shape {tuple(secrets.triggers.shape)}, and this model's have {expected}: they "
            "are another model's. Give those that its training wrote."
        )
    return secrets


def owner_name(recipe: dict[str, Any], parents: dict[str, str]) -> str:
    """The name that secrets give the model they belong to: sixteen hex digits of a hash of what it is trained from."""
    return fingerprint([recipe, parents])
