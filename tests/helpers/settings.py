"""The setting of a training that has not begun, for defenses tested without the loop."""

import torch

from helpers.faces import CPU, TINY
from trapmid.defenses import Defense, Setting
from trapmid.models import ModelConfig


def setting_for(
    defense: Defense, network: ModelConfig = TINY, batch_size: int = 6, images: int = 60, epochs: int = 3
) -> Setting:
    """Five identities at 32 px, no augmentation, plain SGD with a rate of one, the classifier in train mode."""
    classifier = defense.adapt(network.build(5, 32, 3)).train()
    return Setting(
        model=classifier,
        classifier=classifier,
        optimizer=torch.optim.SGD(classifier.parameters(), lr=1.0),
        architecture=network,
        num_classes=5,
        image_shape=(3, 32, 32),
        images=images,
        mean=(0.5, 0.5, 0.5),
        epochs=epochs,
        steps_per_epoch=images // batch_size,
        batch_size=batch_size,
        augment=lambda images: images,
        compute=CPU,
        seed=0,
    )
