"""How much memory an audit of a model that is given takes: what is measured here, and a search that is not run."""

from collections.abc import Iterable

import psutil
import torch
from torch import Tensor, nn

from trapmid.attacks import PLGMI
from trapmid.attacks.memory import HEADROOM, bytes_per_image
from trapmid.engine import peak_memory_mib
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.models import ModelConfig
from trapmid.recipes.celeba64_cpu import celeba64_cpu
from trapmid.recipes.durations import EFFORTS, PUBLIC
from trapmid.recipes.given import QUICK_IDENTITIES, battery_of
from trapmid.recipes.judging import Effort
from trapmid.subjects import Subject
from trapmid.targets import WhiteBoxTarget
from trapmid.types import logits_of

JUDGES = 150 * 2**20
"""Bytes that the face embedder takes with its runtime."""


def memory(subject: Subject, identities: int, image_size: int, channels: int) -> dict[Effort, int]:
    """Bytes of memory that one task of an audit takes at most, by effort. `--jobs` tasks run at once.

    It is called after the examination and after `generator_speeds`, because it starts from what this process has taken
    for them: the libraries, the model, the private images, and training steps of every generator. A search is added by
    what autograd keeps for its images. A model that is asked and not held computes elsewhere, and is left out.

    Args:
        subject: the model.
        identities: how many private identities there are.
        image_size: height and width of the audit's images in pixels.
        channels: of the images.
    """
    now, peak = psutil.Process().memory_info().rss, int(peak_memory_mib() * 2**20)
    images = PUBLIC * channels * image_size**2
    found: dict[Effort, int] = {}
    for effort in EFFORTS:
        people = min(identities, QUICK_IDENTITIES) if effort == "quick" else identities
        kept = [0]
        if subject.access is WhiteBoxTarget:
            battery = battery_of(subject.gives, effort, people)
            each = _of_search(
                next(one for one in battery if isinstance(one, PLGMI)), subject.module, image_size, channels
            )
            kept += [each * min(one.effort.chunk, people * one.effort.images_per_identity) for one in battery]
        if effort != "quick":
            kept += _of_classifiers(people, image_size, channels)
        found[effort] = max(peak, now + int(HEADROOM * max(kept))) + images + JUDGES
    return found


def _of_search(attack: PLGMI, module: nn.Module, image_size: int, channels: int) -> int:
    """Bytes that a step of PLG-MI's search keeps for an image: of the generator, and of the model for each draw."""
    pair, augment = attack.prior.pair(2, image_size, channels), attack.search_augmentation.build(image_size)
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    generator, labels = pair.generator.to(device), torch.zeros(2, dtype=torch.int64, device=device)

    def loss(latents: Tensor, part: slice) -> Tensor:
        images = generator(latents, labels[part])
        return torch.stack([logits_of(module(augment(images))).amax(1) for _ in range(attack.augmentations)]).sum(0)

    return bytes_per_image(loss, torch.randn(2, pair.latent_size, device=device, requires_grad=True))


def _of_classifiers(people: int, image_size: int, channels: int) -> Iterable[int]:
    """Bytes that a training step of each classifier keeps that judges an audit."""
    for judge in celeba64_cpu().judges:
        if isinstance(judge, EvaluationClassifier):
            yield judge.training.batch_size * _of_training(judge.model, people, image_size, channels)


def _of_training(config: ModelConfig, people: int, image_size: int, channels: int) -> int:
    network = config.build(people, image_size, channels)
    images = torch.rand(2, channels, image_size, image_size, requires_grad=True)
    network.eval()  # batch norm of one image has no variance; it keeps as much
    return bytes_per_image(lambda batch, _: network(batch).logits.amax(1), images)
