"""Any defense that works through its losses, in a training loop of one's own: `loss = defended.loss(images, labels)`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from trapmid.augment import KorniaAugmentation
from trapmid.defenses.defense import Defense, Setting
from trapmid.engine import Compute, randomness
from trapmid.types import Images, Labels, UserError


@final
class Defended:
    """A defense that has joined a training somebody else runs; `Trapdoor` is the short way for Trap-MID alone.

    Checkpoints have to hold its `state_dict` beside the model's and the optimizer's; both hold the triggers of a defense that
    has some, so ship the model's weights and never a checkpoint.

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
        defense: its config.
        model: any classifier of images in [0, 1], on its device; returns logits (n, num_classes), or something that has them as
            `logits`. A defense that needs more of it says so.
        optimizer: torch's own, the one that trains `model`.
        num_classes: number of identities.
        image_shape: (channels, height, width).
        epochs: how often every training image will be seen; schedules run over it.
        steps_per_epoch: how often `loss` will be called in each.
        batch_size: images in each call.
        augment: from images to changed images of the same shape, applied to all that `model` is shown. Default: the published
            one; leave geometric augmentation out of the data loader.
        mean: of the pixels, one number a channel, for defenses that paint with it; default: mid-grey.
        seed: of what the defense draws at its start.

    Raises:
        UserError: the defense is more than its losses.
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
        if not defense.is_in_its_losses:
            raise UserError(
                f"{defense.name} is more than its losses: it changes the network or the steps themselves. Train with `trapmid.train`."
            )
        self._steps, self._steps_per_epoch = 0, steps_per_epoch
        device = next(model.parameters()).device
        with randomness(seed, "defense", device=device):
            self._run = defense.start(
                Setting(
                    model=model,
                    classifier=model,
                    optimizer=optimizer,
                    architecture=None,
                    num_classes=num_classes,
                    image_shape=image_shape,
                    images=steps_per_epoch * batch_size,
                    mean=mean or (0.5,) * image_shape[0],
                    epochs=epochs,
                    steps_per_epoch=steps_per_epoch,
                    batch_size=batch_size,
                    augment=augment if augment is not None else KorniaAugmentation().build(image_shape[-1]),
                    compute=Compute(str(device)),
                    seed=seed,
                )
            )

    def loss(self, images: Images, labels: Labels) -> Tensor:
        """The scalar to back-propagate instead of the cross-entropy of a batch.

        Args:
            images: (n, c, h, w) in [0, 1], not normalised.
            labels: (n,).
        """
        losses, _ = self.losses(images, labels)
        return torch.stack(list(losses.values())).sum()

    def losses(self, images: Images, labels: Labels) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The terms of `loss` by name, and numbers worth logging."""
        epoch = self._steps // self._steps_per_epoch
        self._steps += 1
        return self._run.losses(images, labels, epoch)

    def save_secrets(self, folder: str | Path) -> Path | None:
        """Write the defense's secrets into a folder of their own, readable by the owner alone.

        Returns:
            The file: in `folder`, or beside it with a warning where `folder` holds another training's; None if there are no secrets.
        """
        return self._run.save_secrets(Path(folder))

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs besides the model and its optimizer."""
        return {"steps": self._steps, **{name: part.state_dict() for name, part in self._run.parts().items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._steps = state_dict["steps"]
        for name, part in self._run.parts().items():
            part.load_state_dict(state_dict[name])
