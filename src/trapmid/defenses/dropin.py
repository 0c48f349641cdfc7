"""Defenses in your own training loop: `loss = defended.loss(images, labels)`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from trapmid import together
from trapmid.augment import KorniaAugmentation
from trapmid.defenses.context import TrainingContext, TrainingImages
from trapmid.defenses.defense import Defense
from trapmid.engine import Compute, randomness
from trapmid.trapdoor.guard import check_batch, guarded, loading
from trapmid.types import UserError


@final
class Defended:
    """A defense in your own training loop. For Trap-MID only, `Trapdoor` is simpler.

    It works for every defense that a loss can implement: one that changes neither the network, nor the batches, nor the
    steps.

    Your checkpoints have to hold its `state_dict` beside those of the model and the optimizer. The state holds the
    triggers of a defense with a trapdoor, so publish the model's weights and never a checkpoint.

    Example:
        >>> from trapmid.defenses import TrapMID
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> shape = {"num_classes": 5, "image_shape": (3, 8, 8)}
        >>> defended = Defended(TrapMID(), model, optimizer, **shape, epochs=25, steps_per_epoch=4, batch_size=4)
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> loss = defended.loss(images, labels)  # instead of their cross-entropy
        >>> loss.backward(); optimizer.step()

    Args:
        defense: the defense.
        model: any classifier of images in [0, 1], on its device. It returns logits (n, num_classes), or an object that
            has them as `logits`. A defense that needs more, such as hidden maps, raises an error.
        optimizer: the torch optimizer that trains `model`, not a wrapper around it.
        num_classes: number of identities.
        image_shape: (channels, height, width).
        epochs: number of passes over the training images, which is the length of schedules.
        steps_per_epoch: number of calls of `loss` in each epoch.
        batch_size: number of images in each call. If several processes train together, those of one of them.
        augment: takes images and returns changed images of the same shape; applied to every image that `model` is
            shown. Default: the published augmentation. Leave geometric augmentation out of the data loader.
        mean: the mean pixel in [0, 1], one number per channel, for defenses that paint with it; default: mid-grey.
        seed: seed of the random numbers that the defense draws at its start.

    Raises:
        UserError: the defense changes something that a loss cannot implement, or a number is out of range.
    """

    def __init__(
        self,
        defense: Defense,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        epochs: int,
        steps_per_epoch: int,
        batch_size: int,
        augment: Callable[[Tensor], Tensor] | None = None,
        mean: tuple[float, ...] | None = None,
        seed: int = 0,
    ) -> None:
        changes = defense.changes()
        if beyond := changes.beyond_loss():
            raise UserError(
                f"{defense.name} changes {' and '.join(beyond)}, which a loss cannot do in another training loop. "
                "Train with `trapmid.train`."
            )
        if (
            min(epochs, steps_per_epoch, batch_size) < 1
            or num_classes < 2
            or len(image_shape) != 3
            or min(image_shape) < 1
        ):
            raise UserError(
                f"Defended got epochs={epochs}, steps_per_epoch={steps_per_epoch}, batch_size={batch_size}, "
                f"num_classes={num_classes}, image_shape={image_shape}. "
                "Expected at least one epoch, step and image, at least two classes, and (channels, height, width)."
            )
        if mean is not None and len(mean) != image_shape[0]:
            raise UserError(
                f"Defended got a mean of {len(mean)} numbers; expected one for each of {image_shape[0]} channels."
            )
        device = next(model.parameters()).device
        together.refuse_sharded(model)
        everyone = together.processes() * batch_size
        context = TrainingContext(
            model=model,
            optimizer=optimizer,
            architecture=None,
            images=TrainingImages(
                count=steps_per_epoch * everyone,
                num_classes=num_classes,
                shape=image_shape,
                mean=mean or (0.5,) * image_shape[0],
            ),
            epochs=epochs,
            batch_size=everyone,
            augment=augment if augment is not None else KorniaAugmentation().build(image_shape[-1]),
            compute=Compute(str(device)),
            seed=seed,
        )
        self._steps, self._context = 0, context
        with randomness(seed, "defense", device=device):
            self._run = changes.start(context)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The scalar to back-propagate instead of the cross-entropy of a batch.

        Args:
            images: (n, c, h, w) in [0, 1], not normalised.
            labels: (n,), class numbers from 0 to num_classes - 1.

        Raises:
            UserError: images or labels are not those of this training, or the loss is not finite. In this
                case, the defense, the statistics of the classifier's batch norms and torch's random state are
                unchanged, so a loop can skip the batch and continue.
        """
        losses, _ = self.losses(images, labels)
        return torch.stack(list(losses.values())).sum()

    def losses(self, images: Tensor, labels: Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The terms of `loss` by name, and other numbers to log. Arguments and errors are those of `loss`."""
        context = self._context
        with together.agreeing(together.bare(context.model)):
            check_batch(images, labels, context.images.shape, context.images.num_classes)
        step = partial(self._run.losses, images, labels, self._steps // context.steps_per_epoch)
        found = guarded(step, context.model, self.state_dict, self._load)
        self._steps += 1
        return found

    def through(self, model: nn.Module) -> "Defended":
        """Call the classifier through the wrapper that a trainer has put around it. Returns the drop-in itself.

        Args:
            model: the classifier itself, or `DistributedDataParallel` around it.

        Raises:
            UserError: it is another classifier.
        """
        if together.bare(model) is not together.bare(self._context.model):
            raise UserError("`through` got another classifier than this defense was built with. Pass a wrapper of it.")
        self._context = replace(self._context, model=model)
        self._run.through(model)
        return self

    def save_secrets(self, folder: str | Path) -> Path | None:
        """Write the defense's secrets into a folder of their own, readable by the owner alone.

        Returns:
            The file; None if there are no secrets. If `folder` holds the secrets of another training, the file is in a
            new folder beside it, and a warning says so.
        """
        return self._run.save_secrets(Path(folder))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs besides the states of the model and its optimizer."""
        return {"steps": self._steps, **{name: part.state_dict() for name, part in self._run.parts().items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            UserError: it is the state of another training. In this case, nothing changes.
        """
        expected = self.state_dict().keys()
        if state_dict.keys() != expected:
            raise UserError(
                f"This is the state of another defense: it holds {sorted(state_dict)}, expected {sorted(expected)}. "
                "Give the one that this defense saved."
            )
        with loading("defense", self.state_dict, self._load):
            self._load(state_dict)

    def _load(self, state_dict: dict[str, Any]) -> None:
        for name, part in self._run.parts().items():
            part.load_state_dict(state_dict[name])
        self._steps = state_dict["steps"]
