"""Where a classifier's weights come from before it sees a private image: a pretraining on public images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from trapmid.augment import AnyAugmentation, WarpAugmentation
from trapmid.config import BatchSize, Config, Count, Rate


class Start(Config):
    """A pretraining on public images. `trapmid pretrain` runs it, and audits run it themselves.

    The last layer is left out afterwards, because it names embeddings or people of the pretraining.

    Attributes:
        epochs: passes over the public images.
        batch_size: images in a step.
        rate: peak learning rate of AdamW, one cycle.
        augmentation: of the public images.
    """

    teaches: ClassVar[str]
    """What is learned, as notes and reports say it."""
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
    """What the start of a model, as a manifest records it, learned from; None if it has no start.

    It is the digest of a file, or `PUBLIC_IDENTITIES`.
    """
    start = model.get("start")
    if start is None:
        return None
    return str(start["teacher"]) if start["kind"] == "embedder" else PUBLIC_IDENTITIES
