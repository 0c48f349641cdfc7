"""What the comparisons of two orders of work share: a target, the identities under attack, and a folder."""

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmarks.timing import CLASSES, Bench
from trapmid.attacks import Found, Run
from trapmid.data.images import to_unit
from trapmid.engine import generator
from trapmid.models import Tiny
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.priors import DCGAN, GAN, Prior
from trapmid.priors.gan import GANConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, Logits, logits_of

P = TypeVar("P", bound=Prior)
Invert = Callable[[WhiteBoxTarget, P, Labels, Run], Found]


class Stage:
    """One target, attacked with untrained priors, since the time of an attack does not depend on its success.

    Attributes:
        compute: device and precision.
        size: height and width of images, in pixels.
        identities: (k,), the identities under attack.
        each: images of each identity.
        steps: steps of a search.
        dcgan: the prior of the attacks whose prior is trained without a target.
        target: the model under attack, with random weights.
    """

    def __init__(self, bench: Bench) -> None:
        self.compute, self.size = bench.compute, bench.size
        count, self.each, self.steps = (3, 2, 3) if bench.quick else (20, 5, 40)
        self.identities: Labels = torch.arange(count)
        self.dcgan = self.prior(DCGAN(width=16))
        pictures = self.dcgan.sample(torch.zeros(64, dtype=torch.int64), generator(0, "bench pictures"))
        network = Opinionated(Tiny().build(CLASSES, bench.size, 3), pictures)
        self.target = WhiteBoxTarget(self.compute.place(network), CLASSES, self.shape)

    def prior(self, config: GANConfig) -> GAN:
        """An untrained GAN. Its batch norm statistics are computed, so that its images differ from each other."""
        gan = config.build(CLASSES, self.size, 3, self.compute)
        latents = torch.randn(64, gan.latent_size, device=self.compute.torch_device)
        recalibrate_batch_norm(gan.generator, [(latents, torch.arange(64, device=latents.device) % CLASSES)])
        return gan.freeze()

    def attacking(self, identities: Labels) -> "Stage":
        """A copy with other identities."""
        other = copy.copy(self)
        other.identities = identities
        return other

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return 3, self.size, self.size

    def inside(self, work: Callable[[Run], Tensor], prior: Prior | None = None) -> Callable[[], Tensor]:
        """`work` with a run in a temporary folder."""

        def do() -> Tensor:
            with TemporaryDirectory() as folder:
                return work(Run(0, self.compute, Path(folder), prior))

        return do

    def ours(self, invert: Invert[P], prior: P, before: Callable[[Run], None] | None = None) -> Callable[[], Tensor]:
        """The attack as trapmid runs it, on all identities. Its result is (k * each, c, h, w) in [0, 1].

        Args:
            invert: the method `invert` of the attack.
            prior: the prior that it searches.
            before: writes into the run's folder what `prepare` would write there.
        """

        def work(run: Run) -> Tensor:
            if before is not None:
                before(run)
            return to_unit(invert(self.target, prior, self.identities, run).pixels)

        return self.inside(work, prior)


class Opinionated(nn.Module):
    """A network with random weights, whose logits are standardised, since they are nearly the same for all images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, images: Images) -> None:
        super().__init__()
        self.network = network.eval()
        with torch.no_grad():
            said = logits_of(self.network(images))
        self.register_buffer("mean", said.mean(0))
        self.register_buffer("deviation", said.std(0))

    def forward(self, images: Images) -> Logits:
        """Logits (n, classes)."""
        return (logits_of(self.network(images)) - self.mean) / self.deviation
