"""Diff-MI's prior (Li et al. 2024): a diffusion model of public images, conditional on a label or on none."""

import copy
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from trapmid.config import AtLeastTwo, BatchSize, BelowOne, Count, NonNegative, Probability, Rate, ordered
from trapmid.data.images import to_unit
from trapmid.engine import Compute
from trapmid.priors.fitting import Losses, PriorFit, descend, fitted
from trapmid.priors.gan import GENERATOR, save_network
from trapmid.priors.noise_schedule import NoiseSchedule, evenly
from trapmid.priors.prior import Prior, PriorConfig, PriorTraining
from trapmid.priors.unet import UNet, UNetNetwork
from trapmid.reading import load_weights
from trapmid.types import Images, Labels, Stateful

_Variance = Annotated[float, Field(gt=0, le=0.5)]


@final
class DiffusionPrior(Prior):
    """A trained diffusion model. A latent is the noise that the generation of an image starts from.

    Attributes:
        generator: the U-Net.
        schedule: how noise is added to images.
        steps: number of time steps of the schedule.
    """

    generator: UNetNetwork

    def __init__(
        self, generator: UNetNetwork, config: "Diffusion", num_classes: int, image_shape: tuple[int, int, int]
    ) -> None:
        self.generator, self.config, self.num_classes, self.image_shape = generator, config, num_classes, image_shape
        self.latent_size, self.device = math.prod(image_shape), next(generator.parameters()).device
        self.steps, self.schedule = config.steps, NoiseSchedule(config.steps, *config.variances)
        self.rows: list[dict[str, float]] = []

    def decode(self, latents: Tensor, labels: Labels) -> Images:
        """Images (n, c, h, w) in [0, 1] from noise (n, latent_size), in `Diffusion.solver_steps` steps.

        If gradients are needed, the activations of each step are computed again in the backward pass, because those of
        all steps would take too much memory.
        """

        def noise_at(noisy: Images, time: int) -> Images:
            if torch.is_grad_enabled():
                given = (noisy, self.at(time, labels), labels)
                return checkpoint(self.noise, *given, use_reentrant=False, preserve_rng_state=False)
            return self.noise(noisy, self.at(time, labels), labels)

        times = evenly(self.steps - 1, self.config.solver_steps)
        return from_symmetric(self.schedule.dpm_solver(latents.unflatten(1, self.image_shape), times, noise_at))

    def denoise(self, noisy: Images, labels: Labels, time: int, count: int) -> Images:
        """Images in [-1, 1] without the noise of `noisy` (n, c, h, w) at a time step, in `count` steps of DDIM."""
        times = evenly(time, count)
        return self.schedule.ddim(noisy, times, lambda images, at: self.noise(images, self.at(at, labels), labels))

    def noise(self, noisy: Images, times: Tensor, labels: Labels) -> Images:
        """The predicted noise at time steps (n,), extrapolated from no label towards the labels (n,).

        That is classifier-free guidance (Ho & Salimans 2022) with the weight `Diffusion.guidance`.
        """
        nobody = torch.full_like(labels, self.num_classes)
        both = self.predicted(noisy.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([labels, nobody]))
        labelled, unlabelled = both.chunk(2)
        return unlabelled + self.config.guidance * (labelled - unlabelled)

    def predicted(self, noisy: Images, times: Tensor, labels: Labels) -> Images:
        """The predicted noise in images (n, c, h, w) at time steps (n,), for labels (n,), without guidance."""
        answer = self.generator(noisy, times, labels)
        return answer if self.config.predicts == "noise" else self.schedule.noise_of(noisy, times, answer)

    def at(self, time: int, labels: Labels) -> Tensor:
        """The time step of each of the labels (n,)."""
        return torch.full_like(labels, time)

    def copy(self) -> "DiffusionPrior":
        """The same model with a network of its own."""
        return DiffusionPrior(copy.deepcopy(self.generator), self.config, self.num_classes, self.image_shape)

    def save(self, folder: Path) -> list[str]:
        """Write the network to `folder`, and return the file name."""
        return [save_network(self.generator, folder / GENERATOR)]


@final
class Diffusion(PriorConfig):
    """`diffusion`: Diff-MI's prior; the defaults are the published constants.

    Attributes:
        networks: the network.
        iterations: number of training steps.
        batch_size: number of images in a step.
        rate: learning rate of Adam.
        ema: decay of the moving average of weights that is used after training; None for no average.
        steps: number of time steps.
        variances: variance that the first and the last time step add. Those between grow linearly.
        unlabelled: share of images that are shown without their label.
        guidance: weight of classifier-free guidance; at 1, there is none.
        predicts: what the network computes: the `noise`, as published, or the `velocity` (Salimans & Ho 2022), from
            which the noise follows. A narrow network learns the velocity much sooner, because the noise itself need not
            pass through it.
        solver_steps: number of steps in which an image is generated.
        log_every: number of iterations between two rows of the log.
    """

    title: ClassVar[str] = "Diffusion model"
    paper: ClassVar[str] = "Diff-MI (Li et al. 2024); Ho et al. 2020; Ho & Salimans 2022; Lu et al. 2022"
    kind: Literal["diffusion"] = "diffusion"
    networks: UNet = UNet()
    iterations: Count = 50_000
    batch_size: BatchSize = 150
    rate: Rate = 1e-4
    ema: BelowOne | None = 0.9999
    steps: AtLeastTwo = 1000
    variances: Annotated[tuple[_Variance, _Variance], AfterValidator(ordered)] = (1e-4, 0.02)
    unlabelled: Probability = 0.1
    guidance: NonNegative = 3.0
    predicts: Literal["noise", "velocity"] = "noise"
    solver_steps: Count = 10
    log_every: Count = 100

    def fit(
        self, setting: PriorTraining, *, pseudo_labels: Tensor | None = None, start: DiffusionPrior | None = None
    ) -> DiffusionPrior:
        """Train the network on public images.

        Args:
            setting: public images, seed, folder and other settings.
            pseudo_labels: (num_classes, n), the rows of `public` that are assigned to each class; None to draw images
                and labels independently, which trains a prior without knowledge of the classes.
            start: initial weights, of the same shapes.
        """
        first = None if start is None else {"network": start.generator}
        return fitted(partial(DiffusionFit, self, pseudo_labels=pseudo_labels), setting, first)

    def open(
        self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute
    ) -> DiffusionPrior:
        """Load the network that `DiffusionPrior.save` wrote to `folder`. `image_shape` is (channels, height, width)."""
        channels, size, _ = image_shape
        network = self.networks.build(num_classes, size, channels)
        load_weights(network, folder / GENERATOR)
        return DiffusionPrior(compute.place(network), self, num_classes, image_shape)

    def open_generator(
        self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute
    ) -> DiffusionPrior:
        """`open`, for samples: without gradients of the weights."""
        prior = self.open(folder, num_classes, image_shape, compute)
        prior.generator.requires_grad_(False)
        return prior


@final
class DiffusionFit(PriorFit[DiffusionPrior]):
    """The training of a `Diffusion`: the mean squared error of what the network computes."""

    config: Diffusion

    def __init__(self, config: Diffusion, setting: PriorTraining, pseudo_labels: Tensor | None = None) -> None:
        super().__init__(config, setting)
        public, classes = setting.public, setting.num_classes
        with self.randomness("weights"):
            network = config.networks.build(classes, public.image_size, public.channels)
        self.network = setting.compute.place(network)
        shape = (public.channels, public.image_size, public.image_size)
        self.prior = DiffusionPrior(self.network, config, classes, shape)
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.rate)
        self.average: AveragedModel | None = None
        if config.ema is not None:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.pseudo_labels = None if pseudo_labels is None else pseudo_labels.to(self.device)

    def state(self) -> Mapping[str, Stateful]:
        """The network with its optimizer, and the moving average if there is one."""
        state: dict[str, Stateful] = {"network": self.network, "optimizer": self.optimizer}
        if self.average is not None:
            state["average"] = self.average
        return state

    def step(self, number: int) -> Losses:
        """Predict the noise of a batch, each image at a time step of its own."""
        del number
        labels = self.labels()
        images = to_symmetric(to_unit(self.pixels[self.rows_of(labels, self.pseudo_labels)]))
        hidden = self.uniform() < self.config.unlabelled
        times, noise = self.integers(0, self.config.steps), self.normal(*images.shape[1:])
        shown = labels.masked_fill(hidden, self.setting.num_classes)
        noisy = self.prior.schedule.noised(images, times, noise)
        wanted = noise if self.config.predicts == "noise" else self.prior.schedule.velocity(images, times, noise)
        loss = F.mse_loss(self.network(noisy, times, shown), wanted)
        descend(loss, self.optimizer, self.network)
        if self.average is not None:
            self.average.update_parameters(self.network)
        return {"denoising": loss}

    def trained(self, rows: list[dict[str, float]]) -> DiffusionPrior:
        """The model. If there is a moving average of weights, it gets these weights."""
        self.prior.rows = rows
        if self.average is not None:
            self.network.load_state_dict(self.average.module.state_dict())
        return self.prior


def to_symmetric(images: Images) -> Images:
    """Images in [-1, 1] of images in [0, 1]."""
    return 2 * images - 1


def from_symmetric(images: Images) -> Images:
    """Images in [0, 1] of images in [-1, 1]. What is outside of that is clipped."""
    return ((images + 1) / 2).clamp(0, 1)
