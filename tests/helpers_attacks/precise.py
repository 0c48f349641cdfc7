"""Trainings of priors in double precision and without anything that couples the images of a process."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from helpers.in_processes import PreciseNetwork
from helpers_attacks import (
    CLASSES,
    SIZE,
    STYLE_TINY,
    TINY_DCGAN,
    TINY_DIFFUSION,
    TINY_GAN,
    TINY_SEMIGAN,
    TINY_TACGAN,
    faces,
)
from trapmid.attacks.plgmi import TargetGuidance
from trapmid.augment import NoAugmentation
from trapmid.engine import Compute, Progress, no_progress
from trapmid.priors import PriorTraining
from trapmid.priors.cgan import CGANFit
from trapmid.priors.dcgan import DCGANFit
from trapmid.priors.diffusion import DiffusionFit
from trapmid.priors.fitting import PriorFit
from trapmid.priors.semigan import SemiGANFit
from trapmid.priors.style_layers import StyledConvolution
from trapmid.priors.stylegan2 import StyleGAN2Fit
from trapmid.priors.tacgan import TACGANFit
from trapmid.targets import Budget, LabelTarget, WhiteBoxTarget
from trapmid.together import rank
from trapmid.types import Images, Labels

STEPS, PERIOD = 4, 2
PSEUDO_LABELS = torch.arange(3 * CLASSES).view(CLASSES, 3)
SOFT_LABELS = torch.rand(24, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)
CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "cgan": (CGANFit, TINY_GAN, {"pseudo_labels": PSEUDO_LABELS}),
    "cgan, verdicts apart": (CGANFit, TINY_GAN.model_copy(update={"verdicts": "apart", "ema": None}), {}),
    "dcgan": (DCGANFit, TINY_DCGAN, {}),
    "semigan": (SemiGANFit, TINY_SEMIGAN.model_copy(update={"company": "batch"}), {"soft_labels": SOFT_LABELS}),
    "semigan, company kept": (SemiGANFit, TINY_SEMIGAN, {"soft_labels": SOFT_LABELS}),
    "tacgan": (TACGANFit, TINY_TACGAN, {}),
    "stylegan2": (StyleGAN2Fit, STYLE_TINY, {}),
    "diffusion": (DiffusionFit, TINY_DIFFUSION, {"pseudo_labels": PSEUDO_LABELS}),
}
"""Every kind of prior: its training, its config, and what its training knows."""


def setting_of(
    name: str,
    compute: Compute,
    folder: Path | None = None,
    steps: int = STEPS,
    progress: Progress = no_progress,
    budget: Budget | None = None,
) -> tuple[Callable[[PriorTraining], PriorFit[Any]], PriorTraining]:
    """What `fitted` is given for a case. The training counts the queries to a target."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    target = WhiteBoxTarget(PreciseNetwork(CLASSES, SIZE, 3), CLASSES, (3, SIZE, SIZE), budget=budget)
    kind, config, more = CASES[name]
    if name == "cgan":
        more = {**more, "guidance": TargetGuidance(target, NoAugmentation().build(SIZE), 0.2, ())}
    if name == "tacgan":
        more = {**more, "labeller": partial(labelled_by, target)}
    changed = config.model_copy(update={"iterations": steps, "log_every": PERIOD})
    setting = PriorTraining(faces(6, 4), CLASSES, 0, compute, folder, progress, also={"target": target})
    return partial(precise, kind, changed, **more), setting


def precise(kind: Callable[..., PriorFit[Any]], config: Any, setting: PriorTraining, **more: Any) -> PriorFit[Any]:
    """A training in float64, without batch norm and with the fixed noise of StyleGAN2's evaluation.

    Those two differ between processes: batch norm knows the images of one process only, and each process draws the
    noise within its network itself.
    """
    torch.set_default_dtype(torch.float64)
    fit = kind(config, setting, **more)
    average = getattr(fit, "average", None)
    networks = [part for part in fit.state().values() if isinstance(part, nn.Module)]
    for network in networks if average is None else [*networks, average.module]:
        _make_precise(network)
    return fit


def every_case(*, compute: Compute, progress: Progress) -> dict[str, Any]:
    """The state after the steps of each case: the part of one process, or everything in one."""
    del progress
    found: dict[str, Any] = {}
    for name in CASES:
        begin, setting = setting_of(name, compute)
        fit = begin(setting)
        rows = fit.loop().run(fit.take)
        state = {part: value.state_dict() for part, value in fit.loop().state.items()}
        found[name] = {"state": state, "rows": [row | {"seconds": 0.0} for row in rows]}
    return found if rank() == 0 else {}


def labelled_by(target: LabelTarget, images: Images) -> Labels:
    """The labels of images in double precision."""
    return target.labels(images.double())


def _make_precise(network: nn.Module) -> None:
    for module in list(network.modules()):
        module.register_forward_pre_hook(_in_double)
        if isinstance(module, StyledConvolution):
            module.train = partial(_stay_in_eval_mode, module)  # type: ignore[method-assign]
        if isinstance(module, nn.Sequential):
            for layer, following in pairwise(module):
                if isinstance(following, nn.InstanceNorm2d):
                    layer.bias = None  # its gradient is nothing but rounding errors, which Adam magnifies
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.Identity())


def _in_double(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    del module
    return tuple(one.double() if isinstance(one, Tensor) and one.is_floating_point() else one for one in given)


def _stay_in_eval_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return nn.Module.train(module, False)
