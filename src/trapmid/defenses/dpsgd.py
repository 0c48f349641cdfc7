"""DP-SGD (Abadi et al., CCS 2016) through Opacus: every image's gradient is clipped and noise is added, for a stated epsilon and delta."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from trapmid.config import Fraction, Positive
from trapmid.defenses.defense import Decision, Defense, DefenseRun, PlainRun, Setting
from trapmid.models import Classifier
from trapmid.models.batchnorm import group_norm_for_batch_norm
from trapmid.types import Images, Labels, UserError


@final
class DPSGD(Defense):
    """`dpsgd`: differentially private training; needs the extra `trapmid[dp]`.

    The noise is the least, to Opacus' RDP accountant, that keeps all steps of the training within the target epsilon; what was
    achieved is the manifest's fact `epsilon`, a note on the console and a column of the report. Batches are drawn as the accountant assumes: every image with probability
    batch_size / images, so their sizes vary. Batch norms become group norms, since they mix images.

    The guarantee is for the training images and the weights. It covers neither the losses in the log, nor the validation images
    that choose the epoch, nor the mean colour if stacked with `midre`. Batches and noise follow from the seed, which `manifest.json`
    names, as everything here does: the guarantee is void for who reads the manifest. Publish the weights alone.

    Attributes:
        epsilon: to be kept to.
        delta: probability with which epsilon may not hold; should be well below one in the number of images.
        clip: largest L2 norm of an image's gradient.
    """

    title = "DP-SGD"
    paper = "DP-SGD (Abadi et al., CCS 2016) with Opacus (Yousefpour et al. 2021)"
    decides: ClassVar[frozenset[Decision]] = frozenset({"which images make a batch", "how the weights take a step"})
    kind: Literal["dpsgd"] = "dpsgd"
    epsilon: Positive = 8.0
    delta: Fraction = 1e-5
    clip: Positive = 1.0

    @property
    def is_in_its_losses(self) -> bool:
        """No: it takes the steps, draws the batches and changes the network."""
        return False

    def adapt(self, model: Classifier) -> Classifier:
        """The same network without batch norm, and without activations in place, which layers with backward hooks do not bear."""
        group_norm_for_batch_norm(model)
        for layer in model.modules():
            if isinstance(vars(layer).get("inplace"), bool):
                vars(layer)["inplace"] = False
        return model

    def batches(self, labels: Labels, batch_size: int, rng: torch.Generator) -> Sequence[Tensor]:
        """Poisson samples."""
        drawn = torch.rand(len(labels) // batch_size, len(labels), generator=rng) < batch_size / len(labels)
        return [row.nonzero().squeeze(1) for row in drawn]

    def start(self, setting: Setting) -> DefenseRun:
        """Find the noise and hook into the network's layers.

        Raises:
            UserError: Opacus is not installed, or the network has layers it cannot take apart by image.
        """
        return DPSGDRun(self, setting)

    def noise_multiplier(self, setting: Setting) -> float:
        """Standard deviation of the noise in units of `clip`."""
        return least_noise(self.epsilon, self.delta, setting.batch_size / setting.images, setting.steps)

    def facts(self, setting: Setting) -> Mapping[str, Any]:
        """What was achieved, and by how much noise."""
        noise = self.noise_multiplier(setting)
        spent = spent_epsilon(noise, self.delta, setting.batch_size / setting.images, setting.steps)
        return {"epsilon": spent, "delta": self.delta, "noise_multiplier": noise}

    def notes(self, setting: Setting) -> Iterator[str]:
        """The guarantee."""
        spent = self.facts(setting)["epsilon"]
        yield f"Differentially private with epsilon {spent:.2f} at delta {self.delta:g}, for {setting.images} training images."

    def advice(self, setting: Setting, last: Mapping[str, float]) -> Iterator[str]:
        """Whether delta means anything for so many images."""
        del last
        if self.delta * setting.images >= 1:
            yield (
                f"delta {self.delta:g} is no guarantee for {setting.images} images: one of them may be given away outright. "
                f"Set defenses.dpsgd.delta below {1 / setting.images:.0e}."
            )


@final
class DPSGDRun(DefenseRun):
    """One training with noise."""

    def __init__(self, config: DPSGD, setting: Setting) -> None:
        super().__init__(setting)
        self.plain = PlainRun(setting)
        with _opacus():
            from opacus.grad_sample import GradSampleHooks
            from opacus.optimizers import DPOptimizer

            problems = GradSampleHooks.validate(setting.classifier, strict=False)
            if problems:
                raise UserError(
                    f"dpsgd cannot take this network's gradients apart by image: {problems[0]}. Use --model tiny, small-resnet or vgg16."
                )
            self.hooks = GradSampleHooks(setting.classifier)
            self.optimizer = DPOptimizer(
                setting.optimizer,
                noise_multiplier=config.noise_multiplier(setting),
                max_grad_norm=config.clip,
                expected_batch_size=setting.batch_size,
            )

    def losses(self, images: Images, labels: Labels, epoch: int) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The plain losses; those of an empty sample are zero, so that its step is noise alone."""
        if len(images):
            return self.plain.losses(images, labels, epoch)
        nothing = images.new_zeros(1, *self.setting.image_shape)
        losses, notes = self.plain.losses(nothing, labels.new_zeros(1), epoch)
        return {name: 0 * loss for name, loss in losses.items()}, notes

    def update(self, loss: Tensor) -> None:
        """Clip, add noise, step."""
        self.optimizer.zero_grad()
        with _opacus():
            loss.backward()
        self.optimizer.step()


@cache
def least_noise(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise multiplier whose `spent_epsilon` is within 0.01 below `epsilon`."""
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
    """Opacus, without warnings that are about nothing the user could change: of bounds passed on the way, hooks, memory layout."""
    try:
        import opacus  # noqa: F401
    except ImportError as problem:
        raise UserError("dpsgd needs Opacus. Install it with `pip install 'trapmid[dp]'`.") from problem
    with warnings.catch_warnings():
        for message in (
            "Optimal order is the (largest|smallest) alpha",
            "Full backward hook is firing when gradients are computed",
            "grad and param do not obey the gradient layout contract",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
