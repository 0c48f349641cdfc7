"""What an attacker may do with a model.

The type an attack asks for is the access it needs; every image shown is counted.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from trapmid.files import alone, write_atomic
from trapmid.types import Images, Labels, Prediction, UserError, prediction_of

__all__ = [
    "Budget",
    "InformedTarget",
    "LabelTarget",
    "OpaqueModel",
    "ScoreTarget",
    "ViewedTarget",
    "WhiteBoxTarget",
    "demand",
]

Signatures: TypeAlias = Callable[[], Tensor]
"""Computes (num_classes, d), of unit length, when an access level asks for it."""


class OpaqueModel(nn.Module, ABC):
    """A model that is asked, not held: it answers without gradients.

    `trapmid.reach` has those that a file or a URL stands for.

    Attributes:
        identities: the name of each class, in order.
        image_shape: (channels, height, width) it takes, in [0, 1].
        answers: what it says about an image.
        digest: sixteen hex digits of what is known about it, for manifests.
    """

    identities: tuple[str, ...]
    image_shape: tuple[int, int, int]
    answers: Literal["labels", "scores"]
    digest: str

    @abstractmethod
    def forward(self, images: Images) -> Tensor:
        """(n, num_classes), log-probabilities; 0 and minus infinity where it answers with labels."""


@final
class Budget:
    """The most images that a model may be shown.

    Args:
        images: how many.
        file: keeps the count, so that what was shown before a run was killed counts in the one that resumes; None to
            count in memory alone.

    Attributes:
        shown: images shown so far, those that a resumed run shows once more included.
    """

    def __init__(self, images: int, file: Path | None = None) -> None:
        self.images, self._file = images, file
        self.shown = self._kept()

    def _kept(self) -> int:
        if self._file is None or not self._file.exists():
            return 0
        text = self._file.read_text(encoding="utf-8", errors="replace")
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise UserError(
                f"{self._file} does not hold the number of images that the target was shown. It was damaged or "
                "changed: write that number into it, or remove it if the target's count may begin again."
            )
        return int(text)

    def spend(self, images: int) -> None:
        """Count images that are about to be shown.

        Those that other processes with the same file have shown count as well.

        Raises:
            UserError: there is not as much left.
        """
        if self._file is None:
            self._take(images)
            return
        with alone(self._file):
            self.shown = self._kept()
            self._take(images)
            write_atomic(self._file, str(self.shown))

    def _take(self, images: int) -> None:
        if self.shown + images > self.images:
            raise UserError(
                f"The query budget of {self.images:,} images is spent: {self.shown:,} were shown and the next batch "
                f"has {images:,}. Raise --budget to go on from here, or lower the attack's candidates, searches or "
                "steps."
            )
        self.shown += images


class LabelTarget:
    """A model that answers with labels only.

    Args:
        model: any module from images in [0, 1] to logits or a `Prediction`.
        num_classes: identities it knows.
        image_shape: what it takes.
        budget: the images it may be shown; None for no limit.

    Attributes:
        access: the name of this access level.
        shows: what the attacker sees beyond the level below, in words.
        knows_secrets: whether the level takes something that follows from the defender's secrets, so that only models
            with secrets have it.
        num_classes: identities it knows.
        image_shape: (channels, height, width) it takes, in [0, 1].
        queries: images shown to it so far.
    """

    access, shows = "label-only", "the name of an identity for each image"
    knows_secrets: ClassVar[bool] = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        *,
        budget: Budget | None = None,
        signatures: Signatures | None = None,
    ) -> "LabelTarget":
        """A target with this access. All levels are built by the same call.

        Args:
            model: any module from images in [0, 1] to logits or a `Prediction`.
            num_classes: identities it knows.
            image_shape: (channels, height, width) of its images.
            budget: the images it may be shown; None for no limit.
            signatures: computes the trapdoors' signatures (num_classes, d). Only a level that knows them calls it.

        Raises:
            UserError: the model cannot give this access, or the level needs signatures and there are none.
        """
        del signatures
        return cls(model, num_classes, image_shape, budget=budget)

    def __init__(
        self, model: nn.Module, num_classes: int, image_shape: tuple[int, int, int], *, budget: Budget | None = None
    ) -> None:
        self._model, self._budget = model.eval().requires_grad_(False), budget
        self.num_classes, self.image_shape, self.queries = num_classes, image_shape, 0
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def _answer(self, images: Images) -> Prediction:
        if self._budget is not None:
            self._budget.spend(len(images))
        self.queries += len(images)
        return prediction_of(self._model(images))

    def state_dict(self) -> dict[str, Any]:
        """The count of queries, so that a resumed attack goes on counting."""
        return {"queries": self.queries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.queries = int(state_dict["queries"])

    @torch.no_grad()
    def labels(self, images: Images) -> Labels:
        """The predicted identity of each image."""
        return self._answer(images).logits.argmax(1)


class ScoreTarget(LabelTarget):
    """A model that answers with a probability for every identity."""

    access, shows = "score-only", "how likely every identity is"

    @torch.no_grad()
    def scores(self, images: Images) -> Tensor:
        """(n, num_classes), each row sums to one."""
        return self._answer(images).logits.softmax(1)


class WhiteBoxTarget(ScoreTarget):
    """A model whose weights the attacker holds: predictions carry gradients to the images."""

    access, shows = "white-box", "gradients with respect to the images, features and weights"

    def __init__(
        self, model: nn.Module, num_classes: int, image_shape: tuple[int, int, int], *, budget: Budget | None = None
    ) -> None:
        if isinstance(model, OpaqueModel):
            raise UserError(
                f"{type(model).__name__} answers with {model.answers} and carries no gradients, so it is no white-box "
                "target. Hold the weights in a module, or choose an attack that needs less: `trapmid list`."
            )
        super().__init__(model, num_classes, image_shape, budget=budget)

    def predict(self, images: Images) -> Prediction:
        """Logits and features, differentiable with respect to `images`."""
        return self._answer(images)

    def copy(self) -> nn.Module:
        """A copy of the model, free to be trained: who holds the weights may change them. It counts no queries."""
        return copy.deepcopy(self._model).requires_grad_(True)


@final
class ViewedTarget(WhiteBoxTarget):
    """A target seen through something: what an adaptive attack shows its base attack in the target's place.

    Images count where they end up, at the target behind; its count and this one's are the same.

    Args:
        behind: the target.
        view: answers for images, asking `behind` as often as it takes.
    """

    def __init__(self, behind: WhiteBoxTarget, view: Callable[[Images], Prediction]) -> None:
        self._behind, self._view, self._model = behind, view, behind._model
        self.num_classes, self.image_shape, self.device = behind.num_classes, behind.image_shape, behind.device

    @property
    def queries(self) -> int:
        """Images shown to the target behind so far."""
        return self._behind.queries

    @queries.setter
    def queries(self, count: int) -> None:
        self._behind.queries = count

    def _answer(self, images: Images) -> Prediction:
        return self._view(images)


@final
class InformedTarget(WhiteBoxTarget):
    """A model whose attacker also knows its trapdoor signatures.

    It is for adaptive attacks only, which say so by asking for it.

    Attributes:
        signatures: (num_classes, d), of unit length; see `trapmid.trapdoor.signature`.
    """

    access, shows = "informed", "the signatures of its trapdoors"
    knows_secrets: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        signatures: Tensor,
        *,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(model, num_classes, image_shape, budget=budget)
        self.signatures = signatures.to(self.device)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        *,
        budget: Budget | None = None,
        signatures: Signatures | None = None,
    ) -> "InformedTarget":
        """See `LabelTarget.of`."""
        if signatures is None:
            raise UserError(
                "An informed target needs the signatures of the model's trapdoors. Compute them with "
                "`trapmid.detection.known_signatures`, or choose an attack that does not know them: `trapmid list`."
            )
        return cls(model, num_classes, image_shape, signatures(), budget=budget)


def demand(target: LabelTarget, needed: type[LabelTarget], attack: str) -> None:
    """Refuse a target that gives less than an attack needs.

    Raises:
        UserError: it does.
    """
    if not isinstance(target, needed):
        raise UserError(
            f"{attack} needs {needed.access} access and this target gives {target.access}: the attack asks for "
            f"{needed.shows}, the target shows only {target.shows}. Choose an attack for {target.access} targets: "
            "`trapmid list`."
        )
