"""An external classifier: its properties, and how it is opened."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, final

import torch
from torch import nn

from trapmid.config import Member, Side
from trapmid.engine import Compute
from trapmid.errors import did_you_mean
from trapmid.modes import evaluating
from trapmid.reach.limits import MOST_SIDE
from trapmid.subjects.inputs import Normalisation, Normalise
from trapmid.subjects.network import Chosen, Network, Resized, check_answer, is_probabilities
from trapmid.targets import Budget, LabelTarget, OpaqueModel, ScoreTarget, Signatures, WhiteBoxTarget
from trapmid.types import UserError

AccessName: TypeAlias = Literal["white-box", "scores", "labels"]
ACCESS: dict[AccessName, type[LabelTarget]] = {
    "white-box": WhiteBoxTarget,
    "scores": ScoreTarget,
    "labels": LabelTarget,
}
"""Access levels by their name for `--access`."""

T = TypeVar("T", bound=LabelTarget)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model as loaded from a file, a folder or an address, before the format of its input is determined.

    Attributes:
        module: maps images, in the model's own input format, to scores.
        access: the highest access level that the model supports.
        digest: sixteen hex digits that change if the model changes.
        shape: (channels, height, width) of its images; None if unknown.
        names: the names of its classes in order; empty if unknown.
        normalise: the normalisation of its own preprocessing, for images in [0, 1]; None if unknown.
        architecture: the config if the model is a network of trapmid. It serves to detect judges of the same
            architecture.
        numbers: whether the model accepts arbitrary numbers, or only images in [0, 1].
    """

    module: nn.Module
    access: type[LabelTarget]
    digest: str
    shape: tuple[int, int, int] | None = None
    names: tuple[str, ...] = ()
    normalise: Normalise | None = None
    architecture: dict[str, Any] | None = None
    numbers: bool = True


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A classifier under audit, ready for queries.

    Attributes:
        module: maps images (n, c, h, w) in [0, 1] to logits or log-probabilities (n, classes).
        identities: the name of each class that is audited, in order.
        classes: number of classes of the module. There is one more class than identities if the last class represents
            all other classes of the model.
        image_shape: (channels, height, width) of its images.
        access: the highest access level that the model supports.
        digest: sixteen hex digits that change if the model or the way in which it is queried changes.
        named: whether the model or the user gives the names of the classes.
        normalise: the normalisation of images in [0, 1] before they are passed to the model.
        probabilities: whether the model returns probabilities. In this case, `module` returns their logarithm.
        architecture: see `Loaded`.
        numbers: see `Loaded`.
    """

    module: nn.Module
    identities: tuple[str, ...]
    classes: int
    image_shape: tuple[int, int, int]
    access: type[LabelTarget]
    digest: str
    named: bool
    normalise: Normalise
    probabilities: bool
    architecture: dict[str, Any] | None = None
    numbers: bool = True

    @property
    def gives(self) -> AccessName:
        """The name of the access level."""
        return next(name for name, level in ACCESS.items() if level is self.access)

    def target(self, access: type[T], budget: Budget | None = None, signatures: Signatures | None = None) -> T:
        """The model with exactly the requested access level.

        Args:
            access: the access level that an attack needs.
            budget: the number of images that may be queried; None for no limit.
            signatures: computes the signatures of its trapdoors. They are known only to the defender.

        Raises:
            UserError: the model does not support this access level.
        """
        if not issubclass(self.access, access) and not (access.knows_secrets and self.access is WhiteBoxTarget):
            raise UserError(
                f"The attack needs {access.access} access and this model gives {self.access.access}: the attack asks "
                f"for {access.shows}. Choose an attack for {self.access.access} targets: `trapmid list`."
            )
        made = access.of(self.module, self.classes, self.image_shape, budget=budget, signatures=signatures)
        return cast("T", made)

    def limited(self, access: type[LabelTarget]) -> "Subject":
        """The same model, limited to this access level.

        Raises:
            UserError: the model does not support it.
        """
        if not issubclass(self.access, access):
            raise UserError(
                f"The model gives {self.access.access} access, and {access.access} access was asked for. "
                f"Choose attacks for {self.access.access} access, or give --access {self.gives}."
            )
        return replace(self, access=access)

    def showing(self, people: Sequence[str], everybody: Sequence[str], image_size: int, channels: int) -> "Subject":
        """The model as an audit uses it: its classes in the order of `people`, for square images of one size.

        Classes of the model that are not audited are merged into one more class, whose score is their highest score.
        In this way, the model's decision about every image stays the same.

        Args:
            people: the audited identities, in order.
            everybody: all identities of the private images, in order. If the model's classes have no names, these names
                are used.
            image_size: height and width of the audit's images in pixels. Images are resized to the model's own size.
            channels: number of channels of the audit's images, one or three.

        Raises:
            UserError: the model lacks a class for some of `people`, or its classes cannot be identified.
        """
        names = self.identities
        if not self.named:
            if len(everybody) != self.classes:
                raise UserError(
                    f"The model has {self.classes:,} classes without names, and the private images show "
                    f"{len(everybody):,} identities. Give --classes FILE, with the name of one class on each line, in "
                    "the model's order, as the private images name them."
                )
            names = tuple(everybody)
        number = {name: place for place, name in enumerate(names)}
        if missing := [name for name in people if name not in number]:
            raise UserError(
                f"{len(missing)} of {len(people)} private identities are no class of the model, such as "
                f"{missing[0]!r}.{did_you_mean(missing[0], names)} Its classes are {_some(names)}. Rename the "
                "folders of the private images, or give --classes FILE with their names in the model's order."
            )
        rows = [number[name] for name in people]
        module = Resized(Chosen(self.module, rows, self.classes), self.image_shape, image_size, channels)
        others = len(rows) < self.classes
        return replace(
            self,
            module=module.eval(),
            identities=tuple(people),
            classes=len(rows) + others,
            image_shape=(channels, image_size, image_size),
            named=True,
        )


class SubjectConfig(Member, ABC):
    """The location of a classifier, and the properties of it that the user states.

    Attributes:
        path: the file, folder, address or name.
        classes: the name of each class in the model's order; empty if the model defines them, or if they have none.
        image_size: height and width in pixels of its images; None if the model defines them.
        channels: one or three; None for the number that the model defines, or otherwise three.
        normalise: the normalisation of images in [0, 1] before they are passed to the model; None for the one in the
            model's own files, or otherwise none.
    """

    path: str
    classes: tuple[str, ...] = ()
    image_size: Side | None = None
    channels: Literal[1, 3] | None = None
    normalise: Normalisation | None = None

    @classmethod
    @abstractmethod
    def named(cls, text: str, weights: Path | None) -> "SubjectConfig | None":
        """The config for a text from the command line; None if the text does not name a model of this kind."""

    @abstractmethod
    def load(self, access: type[LabelTarget]) -> Loaded:
        """Open the model on the CPU, in eval mode.

        Args:
            access: the access level that is needed. A model that can be opened in several ways chooses one by it.

        Raises:
            UserError: the model cannot be opened.
        """

    @property
    def heading(self) -> str:
        """The label, or the location of the model if there is none."""
        return self.label or self.path

    @final
    def open(self, access: AccessName | None = None, compute: Compute | None = None) -> Subject:
        """Open the model, and check its input and its answers.

        Args:
            access: the access level that is needed; None for the highest one that the model supports.
            compute: device and precision.

        Raises:
            UserError: the model cannot be opened or does not support the access level, its input is unknown, or its
                answers are not scores.
        """
        wanted = WhiteBoxTarget if access is None else ACCESS[access]
        loaded = self.load(wanted)
        shape = self._shape(loaded)
        normalise = Normalise.of(self.normalise) if self.normalise is not None else loaded.normalise
        normalise = normalise or Normalise.of("unit")
        if not loaded.numbers and normalise != Normalise.of("unit"):
            raise UserError(f"{self.path} takes pictures, which are not normalised. Leave out --normalize.")
        network = Network(loaded.module, normalise, shape[0])
        opaque = isinstance(loaded.module, OpaqueModel)
        module = network if opaque else (compute or Compute()).place(network)
        with evaluating(module), torch.no_grad():
            device = next((p.device for p in module.parameters()), torch.device("cpu"))
            probe = torch.stack([torch.zeros(shape), torch.ones(shape), torch.full(shape, 0.5)]).to(device)
            answer = check_answer(network, probe, self.path)
        network.probabilities = not opaque and is_probabilities(answer)
        names = self.classes or loaded.names
        if names and len(names) != answer.shape[1]:
            raise UserError(
                f"{self.path} has {answer.shape[1]:,} classes, and {len(names):,} names were given. Expected one for "
                "each."
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{self.path}: two classes have the name {twice!r}. Give --classes FILE with unique names.")
        subject = Subject(
            module=module.eval().requires_grad_(False),
            identities=names or tuple(f"class-{number:05d}" for number in range(answer.shape[1])),
            classes=answer.shape[1],
            image_shape=shape,
            access=loaded.access,
            digest=loaded.digest,
            named=bool(names),
            normalise=normalise,
            probabilities=network.probabilities,
            architecture=loaded.architecture,
            numbers=loaded.numbers,
        )
        return subject if access is None else subject.limited(wanted)

    def _shape(self, loaded: Loaded) -> tuple[int, int, int]:
        if loaded.shape is None:
            if self.image_size is None:
                raise UserError(
                    f"{self.path} does not say which images it takes. Give --image-size, the height and width in "
                    "pixels that it was trained with."
                )
            return (self.channels or 3, self.image_size, self.image_size)
        found = loaded.shape
        if self.image_size is not None and found[1:] != (self.image_size, self.image_size):
            raise UserError(f"{self.path} takes images of {found[2]} x {found[1]} px, not {self.image_size}.")
        if not all(1 <= side <= MOST_SIDE for side in found[1:]):
            raise UserError(
                f"{self.path} takes images of {found[2]:,} x {found[1]:,} px. Expected 1 to {MOST_SIDE:,} on each side."
            )
        if found[0] not in (1, 3) or self.channels not in (None, found[0]):
            raise UserError(f"{self.path} takes images of {found[0]} channels. Expected {self.channels or '1 or 3'}.")
        return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
