"""The interface of a data source, which every reader of images implements."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from trapmid.config import Config
from trapmid.data.images import ImageSet
from trapmid.registry import Registry

ReadProgress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of finished images, and with their total; None if it is unknown."""


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
        """Whether the data set names the person in each image. If not, every image counts as a separate person."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The title of the data set in reports and messages."""

    @property
    def depicts(self) -> str:
        """The content of the images for reports, in the plural."""
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
"""All readers, including those of other packages."""

AnySource: TypeAlias = Annotated[Source, SOURCES]
"""The type of a config's field that takes any source: an instance, or its JSON, in which `kind` names the reader."""
