"""DP-SGD (Abadi et al., CCS 2016) through Opacus: gradients are clipped image by image, and noise is added."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, final

import torch
from torch import Tensor

from trapmid.config import Fraction, Positive
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense, Findings
from trapmid.defenses.runs import DefenseRun, PlainRun
from trapmid.errors import needs
from trapmid.models import Classifier
from trapmid.models.batchnorm import group_norm_for_batch_norm
from trapmid.types import Images, Labels, UserError


@final
class DPSGD(Defense):
    """`dpsgd`: differentially private training; needs the extra `trapmid[dp]`.

    The noise is the smallest for which all steps of the training together stay within the target epsilon, by Opacus'
    RDP accountant. The manifest's fact `epsilon`, a note on the console and a column of the report say what was
    achieved. Batches are drawn as the accountant assumes: every image with probability batch_size / images, so their
    sizes vary. Batch norms are replaced by group norms, since a batch norm mixes images.

    The guarantee covers the weights, for the training images. It does not cover the losses in the log, the validation
    images that choose the epoch, or the mean colour if stacked with `midre`. Batches and noise follow from the seed,
    which `manifest.json` names, so the guarantee does not hold against someone who reads the manifest. Publish the
    weights alone.

    Attributes:
        epsilon: the target.
        delta: the probability with which epsilon may not hold; it should be well below 1 / images.
        clip: the largest L2 norm of an image's gradient; longer gradients are shortened to it.
    """

    title = "DP-SGD"
    paper = "DP-SGD (Abadi et al., CCS 2016) with Opacus (Yousefpour et al. 2021)"
    kind: Literal["dpsgd"] = "dpsgd"
    epsilon: Positive = 8.0
    delta: Fraction = 1e-5
    clip: Positive = 1.0

    def changes(self) -> Changes:
        """Network, batches, losses and steps."""
        return Changes(network=per_image, batches=poisson_samples, run=SampledRun, update=self.updater)

    def updater(self, context: TrainingContext) -> Callable[[Tensor], None]:
        """Find the noise and hook into the layers of the network; returns the function that takes noisy steps.

        Raises:
            UserError: Opacus is not installed, or the network has layers whose gradients it cannot compute image by
                image.
        """
        with _opacus():
            from opacus.grad_sample import GradSampleHooks
            from opacus.optimizers import DPOptimizer

            problems = GradSampleHooks.validate(context.model, strict=False)
            if problems:
                raise UserError(
                    f"dpsgd cannot compute the gradients of this network image by image: {problems[0]}. Use --model "
                    "tiny, small-resnet or vgg16."
                )
            hooks = GradSampleHooks(context.model)
            optimizer = DPOptimizer(
                context.optimizer,
                noise_multiplier=self.noise_multiplier(context),
                max_grad_norm=self.clip,
                expected_batch_size=context.batch_size,
            )
        return NoisyUpdate(hooks, optimizer)

    def noise_multiplier(self, context: TrainingContext) -> float:
        """Standard deviation of the noise in units of `clip`."""
        return least_noise(self.epsilon, self.delta, _sample_rate(context), context.steps)

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """The privacy guarantee, the noise, and a warning if delta is too large for the number of images."""
        del last
        noise, count = self.noise_multiplier(context), context.images.count
        spent = spent_epsilon(noise, self.delta, _sample_rate(context), context.steps)
        facts = {"epsilon": spent, "delta": self.delta, "noise_multiplier": noise}
        note = f"Differentially private with epsilon {spent:.2f} at delta {self.delta:g}, for {count} training images."
        if self.delta * count < 1:
            return Findings(facts, notes=(note,))
        warning = (
            f"delta {self.delta:g} is no guarantee for {count} images: one of them may be given away outright. "
            f"Set defenses.dpsgd.delta below {1 / count:.0e}."
        )
        return Findings(facts, notes=(note,), warnings=(warning,))


def per_image(model: Classifier) -> Classifier:
    """The same network without batch norm, and without in-place activations, which backward hooks do not support."""
    group_norm_for_batch_norm(model)
    for layer in model.modules():
        if isinstance(vars(layer).get("inplace"), bool):
            vars(layer)["inplace"] = False
    return model


def poisson_samples(labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
    """Rows for each step of an epoch: every image with probability batch_size / images, independently."""
    drawn = torch.rand(len(labels) // batch_size, len(labels), generator=rng) < batch_size / len(labels)
    return [row.nonzero().squeeze(1) for row in drawn]


@final
class SampledRun(DefenseRun):
    """A plain training whose batches may be empty."""

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self.plain = PlainRun(context)

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The plain losses. Those of an empty sample are zero, so that its step consists of noise alone."""
        if len(images):
            return self.plain.losses(images, labels, epoch)
        nothing = images.new_zeros(1, *self.context.images.shape)
        losses, notes = self.plain.losses(nothing, labels.new_zeros(1), epoch)
        return {name: 0 * loss for name, loss in losses.items()}, notes


@final
class NoisyUpdate:
    """Clips the gradient of each image, adds noise, takes a step.

    Attributes:
        hooks: Opacus' hooks in the layers, which compute the gradients image by image.
        optimizer: Opacus' optimizer around the recipe's.
    """

    def __init__(self, hooks: Any, optimizer: Any) -> None:
        self.hooks, self.optimizer = hooks, optimizer

    def __call__(self, loss: Tensor) -> None:
        """Take one step against the loss of a batch."""
        self.optimizer.zero_grad()
        with _opacus():
            loss.backward()
        self.optimizer.step()


def _sample_rate(context: TrainingContext) -> float:
    return context.batch_size / context.images.count


@cache
def least_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The smallest noise multiplier whose `spent_epsilon` is at most 0.01 below `epsilon`."""
    with _opacus():
        from opacus.accountants.utils import get_noise_multiplier

        return float(
            get_noise_multiplier(
                target_epsilon=epsilon, target_delta=delta, sample_rate=sample_rate, steps=steps, accountant="rdp"
            )
        )


def spent_epsilon(noise_multiplier: float, delta: float, sample_rate: float, steps: int) -> float:
    """Epsilon after so many steps on Poisson samples, by Renyi differential privacy: an upper bound."""
    with _opacus():
        from opacus.accountants import RDPAccountant

        accountant = RDPAccountant()
        accountant.history = [(noise_multiplier, sample_rate, steps)]
        return float(accountant.get_epsilon(delta))


@contextmanager
def _opacus() -> Iterator[None]:
    """Opacus without its warnings about hooks, memory layout and search bounds, which no user could act on."""
    with needs("dp", "dpsgd"):
        import opacus  # noqa: F401
    with warnings.catch_warnings():
        for message in (
            "Optimal order is the (largest|smallest) alpha",
            "Full backward hook is firing when gradients are computed",
            "grad and param do not obey the gradient layout contract",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
