"""Lightning: a callback that provides a defended loss and keeps the state of the defense in checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from trapmid.defenses import Defended, Defense
from trapmid.types import Images, Labels, UserError

__all__ = ["DefenseCallback"]


@final
class DefenseCallback(Callback):
    """A callback for a Trainer whose LightningModule returns `callback.loss(images, labels)` from its `training_step`.

    It is a callback rather than a mixin, so that the module keeps its own hooks, and Lightning stores and restores its
    state by itself. The state holds the triggers of a defense with a trapdoor, so publish the weights and never a
    `.ckpt`.

    Args:
        defense: the defense.
        network: the module's classifier of images in [0, 1], which the module's first optimizer trains.
        num_classes: number of identities.
        image_shape: (channels, height, width).
        batch_size: images in a batch.
        secrets: folder for the defense's secrets, outside of the folders of model and checkpoints; written at the end.
        augment: as `Defended` takes it.
        seed: of what the defense draws at its start.
    """

    def __init__(
        self,
        defense: Defense,
        network: nn.Module,
        *,
        num_classes: int,
        image_shape: tuple[int, int, int],
        batch_size: int,
        secrets: str | Path,
        augment: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        self.defense, self.network, self.secrets = defense, network, Path(secrets)
        self.options: dict[str, Any] = {
            "num_classes": num_classes,
            "image_shape": image_shape,
            "batch_size": batch_size,
            "augment": augment,
            "seed": seed,
        }
        self._defended: Defended | None = None
        self._restored: dict[str, Any] = {}

    def loss(self, images: Images, labels: Labels) -> Tensor:
        """The scalar to return from `training_step` instead of the cross-entropy of a batch; see `Defended.loss`."""
        if self._defended is None:
            raise UserError(
                "DefenseCallback.loss was called outside of a training that knows the callback. "
                "Give it to the Trainer: Trainer(callbacks=[...])."
            )
        return self._defended.loss(images, labels)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Join the training: only now are the optimizer, the device and the number of steps known.

        Raises:
            UserError: the training has no number of epochs, or an epoch no number of batches.
        """
        del pl_module
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise UserError("Schedules of a defense run over the epochs: give the Trainer max_epochs.")
        if not isinstance(trainer.num_training_batches, int):
            raise UserError(
                "Schedules of a defense need to know how many batches an epoch has, and these training data have "
                f"{trainer.num_training_batches}: "
                "their dataset is iterable. Give it a __len__, or the Trainer limit_train_batches as a number of "
                "batches."
            )
        before = self.state_dict()  # of a checkpoint, or of an earlier fit
        self._defended = Defended(
            self.defense,
            self.network,
            trainer.optimizers[0],
            epochs=trainer.max_epochs,
            steps_per_epoch=trainer.num_training_batches,
            **self.options,
        )
        if before:
            self._defended.load_state_dict(before)
        self._restored = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the secrets."""
        del pl_module
        if self._defended is not None and trainer.is_global_zero:
            self._defended.save_secrets(self.secrets)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self._restored if self._defended is None else self._defended.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint, before there is anything to load it into."""
        self._restored, self._defended = state_dict, None
