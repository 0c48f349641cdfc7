"""Configs of the pretraining on public images that produces the initial weights of a classifier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from trapmid.augment import AnyAugmentation, WarpAugmentation
from trapmid.config import BatchSize, Config, Count, Rate


class Start(Config):
    """A pretraining on public images. `trapmid pretrain` runs it, and audits run it automatically.

    The last layer is removed afterwards, because it is specific to the embeddings or people of the pretraining.

    Attributes:
        epochs: number of passes over the public images.
        batch_size: number of images in a step.
        rate: peak learning rate of AdamW with a one-cycle schedule.
        augmentation: augmentation of the public images.
    """

    teaches: ClassVar[str]
    """A description of what is learned, for notes and reports."""
    epochs: Count = 19
    batch_size: BatchSize = 128
    rate: Rate = 3e-3
    augmentation: AnyAugmentation = WarpAugmentation(
        rotation_degrees=10.0, jitter_probability=0.5, brightness=0.2, contrast=0.2
    )


class EmbedderStart(Start):
    """`embedder`: learns to give every public image the embedding that a face embedder gives it (cosine loss).

    Attributes:
        teacher: the embedder, an ONNX file that takes aligned faces of 112 px; see `Embedder`.
    """

    paper = "knowledge distillation (Hinton et al. 2015); cosine loss on embeddings"
    teaches = "a face embedder's embeddings of public images"
    kind: Literal["embedder"] = "embedder"
    teacher: Path | None = None


class IdentityStart(Start):
    """`identities`: learns to tell the people of the public images apart (cross-entropy)."""

    paper = "none: the usual pretraining on other people's faces"
    teaches = "who is who in public images"
    kind: Literal["identities"] = "identities"


AnyStart = Annotated[EmbedderStart | IdentityStart, Field(discriminator="kind")]
PUBLIC_IDENTITIES = "the names of public identities"


def teacher_of(model: Mapping[str, Any]) -> str | None:
    """The teacher of a model's pretraining, as a manifest records it; None if the model has no pretraining.

    The teacher is the digest of a file, or `PUBLIC_IDENTITIES`.
    """
    start = model.get("start")
    if start is None:
        return None
    return str(start["teacher"]) if start["kind"] == "embedder" else PUBLIC_IDENTITIES
