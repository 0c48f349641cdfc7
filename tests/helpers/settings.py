"""The context of a training, for tests of defenses without the training loop."""

import torch

from helpers.faces import CPU, TINY
from trapmid.defenses import Defense, DefenseRun, TrainingContext, TrainingImages
from trapmid.models import Classifier, ModelConfig


def network_of(defense: Defense, network: Classifier) -> Classifier:
    """The network that the defense trains in place of a newly built one."""
    change = defense.changes().network
    return network if change is None else change(network)


def context_for(
    defense: Defense, network: ModelConfig = TINY, batch_size: int = 6, images: int = 60, epochs: int = 3
) -> TrainingContext:
    """Five identities at 32 px, no augmentation, plain SGD with a rate of one, the classifier in train mode."""
    classifier = network_of(defense, network.build(5, 32, 3)).train()
    return TrainingContext(
        model=classifier,
        optimizer=torch.optim.SGD(classifier.parameters(), lr=1.0),
        architecture=network,
        images=TrainingImages(count=images, num_classes=5, shape=(3, 32, 32), mean=(0.5, 0.5, 0.5)),
        epochs=epochs,
        batch_size=batch_size,
        augment=lambda images: images,
        compute=CPU,
        seed=0,
    )


def started(defense: Defense, context: TrainingContext) -> DefenseRun:
    """The defense's run in this training."""
    return defense.changes().start(context)
