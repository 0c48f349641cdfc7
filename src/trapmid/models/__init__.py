"""Classifiers: their interface, and all architectures for targets and judges."""

from typing import Annotated, get_args

from pydantic import Field

from trapmid.models.classifier import STARTS, Classifier, ModelConfig
from trapmid.models.embedder import Embedder
from trapmid.models.ir import IR152, FaceNet64
from trapmid.models.start import AnyStart, EmbedderStart, IdentityStart, Start, teacher_of
from trapmid.models.tiny import SmallResNet, Tiny
from trapmid.models.vgg16 import VGG16
from trapmid.models.zoo import Zoo
from trapmid.types import UserError

AnyModel = Annotated[Tiny | SmallResNet | VGG16 | FaceNet64 | IR152 | Zoo, Field(discriminator="kind")]
MODELS: tuple[type[ModelConfig], ...] = get_args(get_args(AnyModel)[0])


def parse_model(text: str) -> ModelConfig:
    """Return the architecture for a name from the command line: a kind, or `zoo:NAME`.

    Raises:
        UserError: there is no such kind.
    """
    if text.startswith("zoo:"):
        return Zoo(name=text.removeprefix("zoo:"))
    kinds = {model.model_fields["kind"].default: model for model in MODELS if model is not Zoo}
    if text not in kinds:
        raise UserError(f"{text!r} is not a model. Expected one of {', '.join(kinds)}, or zoo:NAME with a timm name.")
    return kinds[text]()


__all__ = [
    "IR152",
    "MODELS",
    "STARTS",
    "VGG16",
    "AnyModel",
    "AnyStart",
    "Classifier",
    "Embedder",
    "EmbedderStart",
    "FaceNet64",
    "IdentityStart",
    "ModelConfig",
    "SmallResNet",
    "Start",
    "Tiny",
    "Zoo",
    "parse_model",
    "teacher_of",
]
