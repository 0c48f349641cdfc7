"""Access levels: the operations on a model that an attacker may use.

The type of target that an attack declares is the access level that it needs. Every query is counted.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from trapmid.files import alone, write_atomic
from trapmid.together import processes, rank, wait_for_all
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
"""Computes the signatures (num_classes, d), of unit length, when an access level needs them."""


class OpaqueModel(nn.Module, ABC):
    """A black-box model, which gives answers but no gradients.

    `trapmid.reach` implements models in files and behind URLs.

    Attributes:
        identities: the name of each class, in order.
        image_shape: (channels, height, width) of its images in [0, 1].
        answers: the kind of its answers.
        digest: sixteen hex digits that identify its known properties in manifests.
    """

    identities: tuple[str, ...]
    image_shape: tuple[int, int, int]
    answers: Literal["labels", "scores"]
    digest: str

    @abstractmethod
    def forward(self, images: Images) -> Tensor:
        """Log-probabilities (n, num_classes). If the model answers with labels, they are 0 and minus infinity."""


@final
class Budget:
    """The largest number of images with which a model may be queried.

    Args:
        images: the number of images.
        file: a file for the count, so that the queries of an interrupted run count in the run that resumes it; None to
            count only in memory.

    Attributes:
        shown: number of images queried so far, including those that a resumed run queries again.
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

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to send the count to another process if it is in memory only."""
        if self._file is None:
            raise UserError(
                "A budget that counts in memory cannot be shared with other processes. Give it a file for the count, "
                "Budget(images, file), or train on one device."
            )
        return self.__dict__

    def spend(self, images: int) -> None:
        """Count images before a query.

        Queries of other processes with the same file count as well.

        Raises:
            UserError: the remaining budget is too small.
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
        num_classes: number of its identities.
        image_shape: (channels, height, width) of its images.
        budget: the number of images that may be queried; None for no limit.

    Attributes:
        access: the name of this access level.
        shows: description of the additional information compared to the level below.
        knows_secrets: whether the level needs information that is derived from the defender's secrets, so that only
            models with secrets support it.
        num_classes: number of its identities.
        image_shape: (channels, height, width) of its images in [0, 1].
        queries: number of images queried so far.
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
        """Create a target with this access level. All levels have the same parameters.

        Args:
            model: any module from images in [0, 1] to logits or a `Prediction`.
            num_classes: number of its identities.
            image_shape: (channels, height, width) of its images.
            budget: the number of images that may be queried; None for no limit.
            signatures: computes the trapdoor signatures (num_classes, d). Only a level that needs them calls it.

        Raises:
            UserError: the model does not support this access level, or the level needs signatures and there are none.
        """
        del signatures
        return cls(model, num_classes, image_shape, budget=budget)

    def __init__(
        self, model: nn.Module, num_classes: int, image_shape: tuple[int, int, int], *, budget: Budget | None = None
    ) -> None:
        self._model, self._budget = model.eval().requires_grad_(False), budget
        self.num_classes, self.image_shape, self.queries = num_classes, image_shape, 0
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._asked_by_all = False

    def ask_together(self) -> None:
        """From now on, count the images of all processes, which share every batch equally and ask at the same time."""
        self._asked_by_all = True

    def _answer(self, images: Images) -> Prediction:
        together = self._asked_by_all
        asked = len(images) * (processes() if together else 1)
        if self._budget is not None:
            if not together or rank() == 0:
                self._budget.spend(asked)
            if together:
                wait_for_all()  # no process asks before the first one has counted for all
        self.queries += asked
        return prediction_of(self._model(images))

    def state_dict(self) -> dict[str, Any]:
        """The number of queries, so that a resumed attack continues to count."""
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
        """Probabilities (n, num_classes). Each row sums to one."""
        return self._answer(images).logits.softmax(1)


class WhiteBoxTarget(ScoreTarget):
    """A model whose weights the attacker has. Predictions are differentiable with respect to the images."""

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
        """A copy of the model, which the attacker may train. Its queries are not counted."""
        return copy.deepcopy(self._model).requires_grad_(True)


@final
class ViewedTarget(WhiteBoxTarget):
    """A wrapper that changes the predictions of a target. An adaptive attack passes it to its base attack.

    Queries are counted at the wrapped target, so both counts are the same.

    Args:
        behind: the wrapped target.
        view: returns predictions for images. It may query `behind` any number of times.
    """

    def __init__(self, behind: WhiteBoxTarget, view: Callable[[Images], Prediction]) -> None:
        self._behind, self._view, self._model = behind, view, behind._model
        self.num_classes, self.image_shape, self.device = behind.num_classes, behind.image_shape, behind.device

    def ask_together(self) -> None:
        """See `LabelTarget`. The wrapped target counts."""
        self._behind.ask_together()

    @property
    def queries(self) -> int:
        """Number of images with which the wrapped target was queried so far."""
        return self._behind.queries

    @queries.setter
    def queries(self, count: int) -> None:
        self._behind.queries = count

    def _answer(self, images: Images) -> Prediction:
        return self._view(images)


@final
class InformedTarget(WhiteBoxTarget):
    """A model whose attacker also knows its trapdoor signatures.

    It is only for adaptive attacks, which declare this access level.

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
    """Refuse a target with a lower access level than an attack needs.

    Raises:
        UserError: the access level is too low.
    """
    if not isinstance(target, needed):
        raise UserError(
            f"{attack} needs {needed.access} access and this target gives {target.access}: the attack asks for "
            f"{needed.shows}, the target shows only {target.shows}. Choose an attack for {target.access} targets: "
            "`trapmid list`."
        )
