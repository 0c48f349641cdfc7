"""Trapdoor signatures: mean features of triggered images (Trap-MID, Sec. 4.2; Shan et al., CCS 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.trapdoor.secrets import Secrets
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Images, Prediction, prediction_of


@torch.no_grad()
def signatures(model: nn.Module, images: Images, secrets: Secrets, rng: torch.Generator, batch: int = 256) -> Tensor:
    """(num_classes, d), of unit length: per class the mean features of images poisoned with its trigger, normalised.

    Args:
        model: the classifier, in eval mode. If it returns only logits, they are the features.
        images: (n, c, h, w), the defender's training images, not augmented. Each is poisoned once, with a stratified
            random class, as published; every class gets n / num_classes images, so n must be at least num_classes.
        secrets: the triggers.
        rng: draws the classes.
        batch: number of images in one forward pass.
    """
    targets = stratified_labels(len(images), len(secrets.triggers), rng).to(images.device)
    parts = []
    for some, labels in zip(images.split(batch), targets.split(batch), strict=True):
        parts.append(prediction_of(model(secrets.poison(some, labels))).features.float())
    features = torch.cat(parts)
    sums = torch.zeros(len(secrets.triggers), features.shape[1], device=features.device)
    return F.normalize(sums.index_add_(0, targets, features), dim=1)


def signature_similarity(prediction: Prediction, signatures: Tensor) -> Float[Tensor, " n"]:
    """The cosine (n,) between an image's features and the signature of its predicted class (Sec. 4.2).

    `signatures` are (num_classes, d).
    """
    return F.cosine_similarity(prediction.features.float(), signatures[prediction.logits.argmax(1)], dim=1)
