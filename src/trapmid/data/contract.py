"""The contract of a data source: what every reader of images says and does, whether it is part of trapmid or not."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from trapmid.config import Config
from trapmid.data.images import ImageSet
from trapmid.registry import Registry

ReadProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of images that are done, and with their total where it is known."""


class Source(Config, ABC):
    """A data set of images. A reader is a subclass with a `kind` of its own.

    Most readers read files: they derive from `StoredSource` and only list their records.

    Attributes:
        kind: names the reader in recipes; a `Literal` with its value as the default.
    """

    kind: str

    @property
    @abstractmethod
    def names_identities(self) -> bool:
        """Whether the data set says who is in each image. If not, every image counts as a person of its own."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What reports and messages call the data set."""

    @property
    def depicts(self) -> str:
        """What the images are, in the plural, as a report names them."""
        return "photographs"

    @property
    def identity_count(self) -> int | None:
        """The number of identities, if the source knows it before any image is read."""
        return None

    @abstractmethod
    def load(self, image_size: int, channels: Literal[1, 3] = 3, progress: ReadProgress | None = None) -> ImageSet:
        """All images, resized to (n, channels, image_size, image_size). The order does not depend on the machine.

        Raises:
            UserError: the data set cannot be read, or shows fewer than two identities.
        """


SOURCES: Registry[Source] = Registry(
    Source,  # type: ignore[type-abstract]
    "source",
    "trapmid.readers",
    "trapmid.data.sources:READERS",
)
"""Every reader, those of other packages included."""

AnySource: TypeAlias = Annotated[Source, SOURCES]
"""The type of a config's field that takes any source: an instance, or its JSON, in which `kind` names the reader."""
