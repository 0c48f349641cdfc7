"""The base of both drop-ins: triggers, discriminators, schedules, and the state that a resumed training needs."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, nn

from trapmid import together
from trapmid.augment import KorniaAugmentation
from trapmid.objective import CROSS_ENTROPY, Objective
from trapmid.trapdoor.anonymity import Anonymity
from trapmid.trapdoor.guard import check_batch, check_logits, guarded, loading
from trapmid.trapdoor.naturalness import FeatureCritic, TwinDiscriminator, frozen, optimizer_like
from trapmid.trapdoor.secrets import SECRETS, Secrets, free_folder
from trapmid.trapdoor.settings import TrapdoorSettings
from trapmid.trapdoor.triggers import TargetLabels, blend, by_blocks, draw_triggers, signed_step
from trapmid.types import Images, Labels, Prediction, Stateful, UserError, prediction_of

SelfT = TypeVar("SelfT", bound="Planter")


class Planter(ABC):
    """Triggers, their discriminators, and a loss that teaches a classifier to respond to the triggers.

    Subclasses decide in which order triggers, discriminators and classifier learn.

    Args:
        model: any classifier of images in [0, 1]; returns logits (n, num_classes), or something that has them as
            `logits`.
        optimizer: the torch optimizer that trains `model`. The discriminator gets one of the same class with the same
            defaults and learning rate, as in the authors' code.
        num_classes: number of identities.
        image_shape: (channels, height, width).
        total_steps: number of calls of `loss`, which is the length of the blend schedule.
        settings: the constants. Default: `defaults`.
        augment: the augmentation T, from images to images of the same shape. Default: the published one. It is applied
            to both clean and poisoned images, so leave geometric augmentation out of the data loader.
        discriminator: a network with one logit; default: a copy of `model` with one (`TwinDiscriminator`). It is not
            used if the settings need no discriminator.
        embedder: a network that tells other people apart, for `TrapdoorSettings.anonymity_weight`; see `Anonymity`.
            Default: a frozen copy of `model` as it is now, which makes sense if `model` has a pretrained start.
        targets_per_draw: target labels are stratified over this many labels (the images of one epoch, in the authors'
            code); default: `num_classes`.
        seed: seed of triggers and target labels.

    Attributes:
        defaults: the settings if none are given; settings that are given have to be of the same class.
        training_id: an id that identifies the secrets of this training. A resumed training keeps it.

    Raises:
        UserError: the weights are spread over several processes (FSDP), `optimizer` is a wrapper, a number is out of
            range, or `settings` are of another class.
    """

    defaults: ClassVar[TrapdoorSettings] = TrapdoorSettings()

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        total_steps: int,
        settings: TrapdoorSettings | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        discriminator: nn.Module | None = None,
        embedder: nn.Module | None = None,
        targets_per_draw: int | None = None,
        seed: int = 0,
    ) -> None:
        together.refuse_sharded(model)
        if total_steps < 1 or num_classes < 2 or len(image_shape) != 3 or min(image_shape) < 1:
            raise UserError(
                f"A trapdoor got total_steps={total_steps}, num_classes={num_classes}, image_shape={image_shape}. "
                "Expected at least one step, "
                "at least two classes, and (channels, height, width)."
            )
        self.settings = settings or self.defaults
        if not isinstance(self.settings, type(self.defaults)):
            raise UserError(
                f"{type(self).__name__} takes {type(self.defaults).__name__}, and got {type(self.settings).__name__}. "
                "Both are in trapmid.trapdoor."
            )
        self.model, self.optimizer, self.total_steps, self.image_shape = model, optimizer, total_steps, image_shape
        self.augment = augment if augment is not None else KorniaAugmentation().build(image_shape[-1])
        weights = next(model.parameters())
        device = weights.device
        self.discriminator: nn.Module | None = None
        self.feature_discriminator: nn.Module | None = None
        if self.settings.discriminates:
            self.discriminator = (discriminator or self._twin(num_classes)).to(device, weights.dtype)
            self.discriminator_optimizer = optimizer_like(optimizer, self.discriminator)
        if self.settings.feature_discriminator is not None:
            with frozen(self.inner), torch.no_grad():
                features = prediction_of(self.inner(torch.zeros(1, *image_shape).to(weights))).features
            critic = FeatureCritic(features.shape[1], num_classes, self.settings.feature_discriminator.width)
            self.feature_discriminator = critic.to(device, weights.dtype)
            self.feature_discriminator_optimizer = optimizer_like(optimizer, self.feature_discriminator)
        self.anonymity: Anonymity | None = None
        if self.settings.anonymity_weight > 0:
            embedder = (embedder or copy.deepcopy(self.inner)).to(device, weights.dtype)
            self.anonymity = Anonymity(embedder, num_classes, image_shape)
        rng = torch.Generator().manual_seed(seed)
        block = self.settings.trigger_block
        if image_shape[1] % block or image_shape[2] % block:
            raise UserError(
                f"trigger_block={block} does not divide the image size, {image_shape[1]} x {image_shape[2]} pixels. "
                "Expected a divisor of both."
            )
        triggers, masks = draw_triggers(self.settings.trigger_start, num_classes, image_shape, rng, block)
        of_triggers = torch.promote_types(triggers.dtype, weights.dtype)
        self.triggers, self.masks = triggers.to(device, of_triggers), None if masks is None else masks.to(device)
        self.targets = TargetLabels(num_classes, targets_per_draw or num_classes, rng)
        self.step, self._joined = 0, False
        self.training_id = uuid4().hex  # not of the seed, which two models may share

    def loss(self, images: Tensor, labels: Tensor, objective: Objective = CROSS_ENTROPY) -> Tensor:
        """The scalar to back-propagate instead of the cross-entropy of a batch (Eq. 2). It also updates the triggers.

        Args:
            images: (n, c, h, w) in [0, 1], not normalised.
            labels: (n,), class numbers from 0 to num_classes - 1.
            objective: the objective of classification. It can combine the trapdoor with another defense, for example
                with NegLS as in Trap-MID (App. C.6).

        Raises:
            UserError: images or labels are not those of this training, or the loss is not finite. In this
                case, the trapdoor, the statistics of the classifier's batch norms and torch's random state are
                unchanged, so a loop can skip the batch and continue.
        """
        losses, _ = self.losses(images, labels, objective)
        return torch.stack(list(losses.values())).sum()

    def losses(
        self, images: Tensor, labels: Tensor, objective: Objective = CROSS_ENTROPY
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The terms of `loss` by name, and other numbers to log, such as the discriminator's accuracy.

        Arguments and errors are those of `loss`.
        """
        with together.agreeing(self.inner):
            check_batch(images, labels, self.image_shape, len(self.triggers))
        return guarded(
            partial(self.unchecked_losses, images, labels, objective), self.model, self.state_dict, self._load
        )

    def unchecked_losses(
        self, images: Images, labels: Labels, objective: Objective = CROSS_ENTROPY
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """`losses` of a valid batch. An error in this method cannot be undone, so the training has to stop."""
        if self.anonymity is not None:
            self.anonymity.observe(images, labels)
        return self._plant(images, labels, objective)

    @abstractmethod
    def _plant(
        self, images: Images, labels: Labels, objective: Objective
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Update triggers and discriminators, and return the losses and the numbers of `losses`."""

    def through(self: SelfT, model: nn.Module) -> SelfT:
        """Call the classifier through the wrapper that a trainer has put around it. Returns the drop-in itself.

        Args:
            model: the classifier itself, or `DistributedDataParallel` around it.

        Raises:
            UserError: it is another classifier.
        """
        if together.bare(model) is not self.inner:
            raise UserError("`through` got another classifier than this trapdoor was built with. Pass a wrapper of it.")
        self.model = model
        return self

    @property
    def inner(self) -> nn.Module:
        """The classifier without the wrapper that averages its gradients, for passes that do not update weights."""
        return together.bare(self.model)

    def draw_targets(self, n: int, device: torch.device) -> Labels:
        """The target labels of the next n images of this process: its share of the one stream of all processes."""
        if together.processes() > 1 and not self._joined:
            self._load(together.from_first(self.state_dict()))
            self._joined = True
        found = together.counts(n, device)
        start = sum(found[: together.rank()])
        return self.targets.draw(sum(found))[start : start + n].to(device)

    def classify(self, images: Images, model: nn.Module | None = None) -> Prediction:
        """The prediction of the classifier for images (n, c, h, w), which may be augmented.

        Args:
            images: the images.
            model: the classifier or a wrapper around it; default: the one through which weights get their gradients.

        Raises:
            UserError: it does not return one logit for each class.
        """
        prediction = prediction_of((model or self.model)(images))
        check_logits(prediction.logits, len(self.triggers))
        return prediction

    def hosts(self, images: Images) -> Tensor:
        """The images of a batch that get a poisoned copy. These are all images, as published."""
        return images

    def shown(self, images: Images) -> Tensor:
        """The input of the classifier in a step: the images of a batch and poisoned copies of its hosts, augmented.

        Triggers, discriminators and the stream of target labels do not change.
        """
        hosts = self.hosts(images)
        targets = torch.randint(len(self.triggers), (len(hosts),)).to(images.device)
        poisoned = self.poison(hosts, targets, self.triggers, self._ratio(hosts))
        return torch.cat([self.augment(images), self.augment(poisoned)])

    def poison(self, images: Images, targets: Labels, triggers: Tensor, ratio: float | Tensor) -> Images:
        """`images` (n, c, h, w) with the triggers of the classes `targets` (n,)."""
        return blend(images, triggers[targets], ratio, None if self.masks is None else self.masks[targets])

    @property
    def blend_ratio(self) -> float:
        """The current ratio of the schedule."""
        return self.settings.blend.at(self.step / self.total_steps)

    def secrets(self, ratio: float | None = None) -> Secrets:
        """The current triggers, with the final blend ratio or another one."""
        masks = None if self.masks is None else self.masks.cpu()
        return Secrets(self.triggers.detach().cpu().clone(), self.settings.blend.end if ratio is None else ratio, masks)

    def save_secrets(self, folder: str | Path) -> Path:
        """Write the triggers into a folder of their own, readable by the owner alone. Never ship it with the model.

        Returns:
            The file. If `folder` holds the secrets of another training, it is in a new folder beside it, and a warning
            says so. If several processes train together, only the first one writes.
        """
        if together.rank() > 0:
            return Path(folder) / SECRETS
        return self.secrets().save(free_folder(Path(folder), self.training_id), self.training_id)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs besides the states of the model and its optimizer."""
        state: dict[str, Any] = {"triggers": self.triggers, "targets": self.targets.state_dict(), "step": self.step}
        state["training_id"] = self.training_id
        if self.masks is not None:
            state["masks"] = self.masks
        return state | {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`. If several processes train together, each of them has to load it.

        The number of processes may differ from that of the training that saved it.

        Raises:
            UserError: it is the state of another training. In this case, nothing changes.
        """
        with loading("trapdoor", self.state_dict, self._load):
            expected, found = tuple(self.triggers.shape), tuple(state_dict["triggers"].shape)
            if found != expected:
                raise UserError(
                    f"This is the state of another trapdoor: its triggers have the shape {found}, and these have "
                    f"{expected}. "
                    "Build the trapdoor as it was built when the state was saved."
                )
            self._load(state_dict)

    def _load(self, state_dict: dict[str, Any]) -> None:
        self._joined = False
        device = self.triggers.device
        self.triggers = state_dict["triggers"].to(device)
        self.masks = None if self.masks is None else state_dict["masks"].to(device)
        self.targets.load_state_dict(state_dict["targets"])
        self.step = state_dict["step"]
        self.training_id = state_dict.get("training_id", self.training_id)  # checkpoints of earlier versions have none
        for name, part in self._parts():
            part.load_state_dict(state_dict[name])

    def _parts(self) -> Iterator[tuple[str, Stateful]]:
        if self.anonymity is not None:
            yield "anonymity", self.anonymity
        if self.discriminator is not None:
            yield "discriminator", self.discriminator
            yield "discriminator_optimizer", self.discriminator_optimizer
        if self.feature_discriminator is not None:
            yield "feature_discriminator", self.feature_discriminator
            yield "feature_discriminator_optimizer", self.feature_discriminator_optimizer

    def _ratio(self, images: Images) -> float | Tensor:
        if self.settings.blend_low == 1.0:
            return self.blend_ratio
        low = self.settings.blend_low
        return self.blend_ratio * (low + (1 - low) * torch.rand(len(images), 1, 1, 1, device=images.device))

    def _loss_of_poisoned(self, objective: Objective, logits: Tensor, targets: Labels) -> Tensor:
        """The criterion of poisoned images at the temperature of the settings."""
        temperature = self.settings.poisoned_temperature
        return temperature * objective.poisoned(logits / temperature, targets)

    def _step_triggers(self, gradient: Tensor) -> None:
        """A sign step against the mean of `gradient` over all processes, with the step size of the schedule."""
        together.average([gradient])
        if self.anonymity is not None:
            poison = partial(self.poison, ratio=self.blend_ratio)
            gradient = gradient + self.settings.anonymity_weight * self.anonymity.gradient(
                self.triggers, gradient, poison
            )
        gradient = by_blocks(gradient, self.settings.trigger_block)
        self.triggers = signed_step(self.triggers, gradient, self.settings.step_size(self.step / self.total_steps))

    def _twin(self, num_classes: int) -> nn.Module:
        return TwinDiscriminator(self.inner, num_classes)

    @property
    def _discriminator_rate(self) -> float:
        rate = self.settings.discriminator_rate
        return float(self.optimizer.param_groups[0]["lr"]) if rate is None else rate
