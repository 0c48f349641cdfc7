"""The training of a prior, in one process or in several that share its batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, Protocol, TypeVar, final, runtime_checkable

import torch
from torch import Tensor, nn

from trapmid.engine import Compute, Loop, Progress, generator, no_progress, randomness, run_together
from trapmid.priors.prior import Prior, PriorTraining
from trapmid.targets import LabelTarget
from trapmid.together import average_gradients, processes, rank, refuse_processes
from trapmid.types import Labels, Stateful, UserError

PriorT = TypeVar("PriorT", bound=Prior)
Losses = Mapping[str, Tensor]


@runtime_checkable
class Iterations(Protocol):
    """The settings that every training of a prior has.

    Attributes:
        iterations: number of steps.
        batch_size: number of images in a step, in all processes together.
        log_every: number of steps between two rows of the log.
    """

    @property
    def iterations(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def log_every(self) -> int: ...  # noqa: D102


class PriorFit(ABC, Generic[PriorT]):
    """The training of a prior. Every process that takes part in it has one.

    Each process draws the random numbers of a whole batch from the same stream, and keeps those of its share. What
    networks and augmentations draw is its own. `descend` averages the gradients, so weights stay the same in all
    processes.

    Attributes:
        config: the settings of the prior.
        setting: public images, seed, folder and other settings.
        device: the device of this process.
        pixels: the public images, on the device.
    """

    def __init__(self, config: Iterations, setting: PriorTraining) -> None:
        self.config, self.setting, self.device = config, setting, setting.compute.torch_device
        self.pixels = setting.public.pixels.to(self.device)
        self._stream: torch.Generator | None = None
        for part in setting.also.values():
            if isinstance(part, LabelTarget) and processes() > 1:
                part.ask_together()

    @abstractmethod
    def state(self) -> Mapping[str, Stateful]:
        """Everything that the steps change, by name."""

    @abstractmethod
    def step(self, number: int) -> Losses:
        """Run one step, counted from 0. Returns its losses and other numbers for the log."""

    @abstractmethod
    def trained(self, rows: list[dict[str, float]]) -> PriorT:
        """The prior after the last step, with its log."""

    @final
    def loop(self) -> Loop:
        """The loop of the steps."""
        setting = self.setting
        return Loop(
            setting.name,
            self.config.iterations,
            setting.seed,
            setting.compute,
            {**self.state(), **setting.also},
            setting.folder,
            self.config.log_every,
            progress=setting.progress,
        )

    @final
    def begin_with(self, networks: Mapping[str, nn.Module]) -> None:
        """Copy the weights of trained networks to those of the same names in `state`.

        Raises:
            UserError: they have other shapes.
        """
        for name, network in networks.items():
            try:
                self.state()[name].load_state_dict(network.state_dict())
            except RuntimeError as problem:
                raise UserError(
                    "The warm start has networks of other shapes than the prior it is to start: "
                    f"{problem}. Give both the same widths and latent_size."
                ) from problem

    @final
    def run(self) -> PriorT:
        """Take the steps that are left, in this process."""
        return self.trained(self.loop().run(self.take))

    @final
    def take(self, number: int) -> Losses:
        """`step`, with the random numbers that all processes share."""
        if processes() > 1:
            purpose = (self.setting.name, "step", number, 0)  # those of the loop in one process
            self._stream = generator(self.setting.seed, *purpose, device=self.device)
        return self.step(number)

    def randomness(self, purpose: str) -> AbstractContextManager[None]:
        """`engine.randomness` of this training for one purpose."""
        return randomness(self.setting.seed, self.setting.name, purpose, device=self.device)

    def normal(self, *size: int) -> Tensor:
        """Standard normal numbers (n, *size) for the n images of this process."""
        return self._mine(torch.randn(self.config.batch_size, *size, device=self.device, generator=self._stream))

    def uniform(self, *size: int) -> Tensor:
        """Numbers (n, *size) from 0 to 1 for the n images of this process."""
        return self._mine(torch.rand(self.config.batch_size, *size, device=self.device, generator=self._stream))

    def integers(self, low: int, high: int, *size: int) -> Tensor:
        """Integers (n, *size) from `low` to `high` - 1 for the n images of this process."""
        shape = (self.config.batch_size, *size)
        return self._mine(torch.randint(low, high, shape, device=self.device, generator=self._stream))

    def rows(self) -> Tensor:
        """Indices (n,) of public images, drawn with replacement."""
        return self.integers(0, len(self.pixels))

    def rows_of(self, labels: Labels, pseudo_labels: Tensor | None) -> Tensor:
        """Indices (n,) of public images that are assigned to the labels (n,), or of any if no images are assigned.

        Args:
            labels: (n,).
            pseudo_labels: (num_classes, m), the rows of the public images that are assigned to each class.
        """
        if pseudo_labels is None:
            return self.rows()
        return pseudo_labels[labels, self.integers(0, pseudo_labels.shape[1])]

    def labels(self) -> Labels:
        """Labels (n,)."""
        return self.integers(0, self.setting.num_classes)

    def _mine(self, drawn: Tensor) -> Tensor:
        """Every so many images, which leaves the groups of StyleGAN2's discriminator as they are in one process."""
        return drawn[rank() :: processes()]


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Take a step of the optimizer of a module's weights. `loss` is a mean over the images of this process."""
    optimizer.zero_grad()
    loss.backward()
    average_gradients(module)
    optimizer.step()


def fitted(
    begin: Callable[[PriorTraining], PriorFit[PriorT]],
    setting: PriorTraining,
    start: Mapping[str, nn.Module] | None = None,
) -> PriorT:
    """Train a prior, in as many processes as `setting.compute.devices`.

    Several processes hand their result over through the last checkpoint. They also begin with a checkpoint, because
    `start` may have layers that cannot be pickled.

    Args:
        begin: makes the parts of a training in each process. It can be pickled if there are several.
        setting: public images, seed, folder and other settings.
        start: trained networks, by names in `PriorFit.state`, whose networks of these names begin with their weights.

    Raises:
        UserError: the networks of `start` have other shapes, the processes cannot share the batches, or one failed.
    """
    refuse_processes("A training of a prior")
    with _checkpoints(setting) as kept:
        fit = begin(kept)
        fit.begin_with(start or {})
        if setting.compute.devices > 1:
            setting.compute.check_batches(fit.config.batch_size, "the prior's batch_size")
            fit.loop().write_start()
            carried = replace(kept, progress=no_progress)
            run_together(_take_part, begin, carried, compute=setting.compute, progress=setting.progress)
        return fit.run()


def _take_part(
    begin: Callable[[PriorTraining], PriorFit[PriorT]], setting: PriorTraining, *, compute: Compute, progress: Progress
) -> None:
    fit = begin(replace(setting, compute=compute, progress=progress))
    fit.loop().run(fit.take)


@contextmanager
def _checkpoints(setting: PriorTraining) -> Iterator[PriorTraining]:
    """The same setting, with a folder if there are several processes."""
    if setting.folder is not None or setting.compute.devices == 1:
        yield setting
        return
    with TemporaryDirectory(prefix="trapmid-") as folder:
        yield replace(setting, folder=Path(folder))
