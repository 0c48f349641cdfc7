"""Detection of images that came out of an inversion, by their similarity to the triggers (Trap-MID, section 4.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from trapmid.artifacts import Draft, make
from trapmid.config import fingerprint
from trapmid.defenses.opening import WEIGHTS
from trapmid.detection.calibration import Calibration
from trapmid.detection.watch import Alarm, Watched
from trapmid.engine import generator, peak_memory_mib, randomness
from trapmid.files import PRIVATE, write_atomic
from trapmid.manifests import Manifest, open_artifact
from trapmid.trapdoor import DETECTOR, Secrets, signature_similarity, signatures
from trapmid.types import Images, Labels, UserError, prediction_of

_NO_CLEAN_IMAGES = "A detector without clean images has no threshold. Give held-out images; 59 are enough for 5 %."


@dataclass(frozen=True, eq=False)
class Suspects:
    """What a detector says about a set of images.

    Attributes:
        labels: (n,), the identity that each image is classified as.
        scores: (n,), from -1 to 1: how similar the image's features are to the signature of that identity. NaN if the
            model answers NaN.
        p_values: (n,), of each image alone.
        flagged: (n,), bool: whether the score is above the threshold, or NaN.
        chance: p-value of the whole set: how likely it is that as many clean images would be flagged.
    """

    labels: Labels
    scores: Float[Tensor, " n"]
    p_values: Float[Tensor, " n"]
    flagged: Tensor
    chance: float


@final
@dataclass(frozen=True, eq=False)
class Detector:
    """Tells images that came out of an inversion of one trapdoored model from clean images (Trap-MID, section 4.2).

    The score of an image is the cosine between its penultimate features and the signature of the class that it is
    classified as. The signature of a class is the mean feature of images with that class's trigger. Deviation from the
    paper: the threshold is calibrated on held-out clean images, with a confidence bound. The paper takes the 95th
    percentile of clean training images (0.2503 in its experiment), which the model has memorised.

    A detector has to be kept as secret as the triggers: an attacker who has the signatures can avoid them (PLG-MI++ in
    the paper). Using a detector needs no private image.

    Attributes:
        signatures: (num_classes, d), of unit length.
        clean: (n,), ascending: scores of held-out clean images.
        false_positives: the share of clean images that may be flagged, between 0 and 1.
        confidence: the probability that no more are flagged, between 0 and 1.

    Raises:
        UserError: there are no clean images, or a signature or a score is not finite.
    """

    signatures: Tensor
    clean: Tensor
    false_positives: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not len(self.clean):
            raise UserError(_NO_CLEAN_IMAGES)
        if not bool(self.signatures.isfinite().all() and self.clean.isfinite().all()):
            raise UserError(
                "The model answers NaN or infinity for some of the images that the detector is fitted on. "
                "Its training has diverged: train it again, with a lower learning rate."
            )

    @staticmethod
    def fit(
        model: nn.Module,
        secrets: Secrets,
        train: Images,
        clean: Float[Tensor, "m c h w"],
        *,
        false_positives: float = 0.05,
    ) -> "Detector":
        """Make a detector for a model.

        Args:
            model: the classifier, in eval mode. If it returns only logits and no `Prediction`, the logits are the
                features.
            secrets: its triggers.
            train: (n, c, h, w) in [0, 1], private training images, not augmented; at least one for each class.
            clean: (m, c, h, w) in [0, 1], clean images that the model did not learn from; 59 are enough for 5 % false
                positives.
            false_positives: the share of clean images that may be flagged, between 0 and 1.

        Raises:
            UserError: there are too few training images or no clean ones, or an image or an answer of the model is not
                finite.
        """
        for what, images in (("training", train), ("clean", clean)):
            if bad := int((~images.isfinite()).flatten(1).any(1).sum()) if len(images) else 0:
                raise UserError(
                    f"{bad} of {len(images)} {what} images hold NaN or infinity. Expected values from 0 to 1: "
                    "repair or remove them."
                )
        if len(train) < len(secrets.triggers):
            raise UserError(
                f"{len(train)} training images for {len(secrets.triggers)} classes: "
                "a signature needs at least one image of each class. Give all images that the model was trained on."
            )
        if not len(clean):
            raise UserError(_NO_CLEAN_IMAGES)
        known = known_signatures(model, secrets, train)
        _, scores = look(model, known, clean)
        return Detector(known, scores.sort().values, false_positives)

    def at(self, false_positives: float) -> "Detector":
        """The same detector with another threshold."""
        return replace(self, false_positives=false_positives)

    @cached_property
    def calibration(self) -> Calibration:
        """The threshold, and what a score is worth.

        Raises:
            UserError: there were too few calibration images to guarantee so low a rate.
        """
        return Calibration(self.clean, self.false_positives, self.confidence)

    def examine(self, model: nn.Module, images: Images) -> Suspects:
        """Examine images (n, c, h, w) in [0, 1], each alone and all together. The model is in eval mode."""
        return self.weigh(*look(model, self.signatures, images))

    def weigh(self, labels: Labels, scores: Float[Tensor, " n"]) -> Suspects:
        """The verdict on images whose labels and scores are known already, from `look`."""
        flagged = self.calibration.flagged(scores)
        chance = self.calibration.chance(int(flagged.sum()), len(flagged))
        return Suspects(labels, scores, self.calibration.p_values(scores), flagged, chance)

    def watch(
        self,
        model: nn.Module,
        *,
        window: int = 1000,
        level: float = 1e-3,
        on_alarm: Callable[[Alarm], None] | None = None,
    ) -> Watched:
        """Wrap `model` so that it answers as before and raises an alarm on suspicious input; see `Watched`."""
        return Watched(model, self.signatures, self.calibration, window=window, level=level, on_alarm=on_alarm)

    def save(
        self, folder: str | Path, parents: dict[str, str] | None = None, identities: Sequence[str] = ()
    ) -> Manifest:
        """Write the detector into `folder`, readable by its owner only.

        Args:
            folder: a folder of its own, outside of any model's folder.
            parents: digests of the model (`model`) and of the images that the detector was made from (`data`).
            identities: names of the classes.

        Raises:
            UserError: `folder` lies within a model's folder, or holds another detector.
        """
        folder = Path(folder)
        if beside := next((above for above in folder.resolve().parents if (above / WEIGHTS).exists()), None):
            raise UserError(
                f"{folder} lies within the model's folder {beside}: whoever gets the model would get the detector, "
                "and with it the trapdoor. Choose a folder outside."
            )
        tensors = {"signatures": self.signatures.cpu().contiguous(), "clean": self.clean.cpu().contiguous()}
        content = save(tensors)
        recipe = {"identities": list(identities), "content": fingerprint(content.hex())}

        def build(draft: Draft) -> Manifest:
            draft.folder.chmod(0o700)
            write_atomic(draft.folder / DETECTOR, content, PRIVATE)
            facts = {"classes": len(self.signatures), "calibration_images": len(self.clean)}
            return draft.finish([DETECTOR], facts, 0.0, peak_memory_mib())

        return make(folder, "detector", recipe, parents or {}, build)

    @staticmethod
    def load(folder: str | Path) -> "Detector":
        """Read a detector that `save` wrote.

        Raises:
            UserError: `folder` holds no detector, or a damaged one.
        """
        folder = Path(folder)
        open_artifact(folder, "detector")
        try:
            tensors = load((folder / DETECTOR).read_bytes())
            known, clean = tensors["signatures"], tensors["clean"]
        except (SafetensorError, KeyError) as problem:
            raise UserError(f"{folder / DETECTOR} is not a detector ({problem}). Make it again.") from problem
        if (known.ndim, clean.ndim) != (2, 1) or not (known.is_floating_point() and clean.is_floating_point()):
            shapes = f"signatures of shape {tuple(known.shape)}, scores of shape {tuple(clean.shape)}"
            raise UserError(f"{folder / DETECTOR} is not a detector ({shapes}). Make it again.")
        return Detector(known, clean)


def known_signatures(model: nn.Module, secrets: Secrets, train: Images) -> Tensor:
    """The signature of every class, (num_classes, d), as the defender computes it; the same for equal arguments.

    Args:
        model: the classifier, in eval mode.
        secrets: its triggers.
        train: (n, c, h, w), private training images.
    """
    images = train.to(next(model.parameters()).device)
    with randomness(0, "signatures", device=images.device):  # a model may draw random numbers when it answers
        return signatures(model, images, secrets, generator(0, "signatures"))


@torch.no_grad()
def look(model: nn.Module, signatures: Tensor, images: Images, batch: int = 256) -> tuple[Labels, Float[Tensor, " n"]]:
    """The identity that each image is classified as, (n,), and its score, (n,), both on the CPU.

    The random numbers of a model that draws some when it answers are the same in every call.

    Args:
        model: the classifier, in eval mode.
        signatures: (num_classes, d), of unit length.
        images: (n, c, h, w) in [0, 1], at least one.
        batch: images at once, moved to the model's device.
    """
    device = next(model.parameters()).device
    known, labels, scores = signatures.to(device), [], []
    with randomness(0, "detection", device=device):
        for some in images.split(batch):
            prediction = prediction_of(model(some.to(device)))
            labels.append(prediction.logits.argmax(1).cpu())
            scores.append(signature_similarity(prediction, known).cpu())
    return torch.cat(labels), torch.cat(scores)
