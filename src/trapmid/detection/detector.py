"""The trapdoor as an alarm (Trap-MID Sec. 4.2): images that came out of an inversion look to the model like its own triggers."""

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

from trapmid.artifacts import Draft, Manifest, make, open_artifact
from trapmid.config import fingerprint
from trapmid.defenses.opening import WEIGHTS
from trapmid.detection.calibration import Calibration
from trapmid.detection.watch import Alarm, Watched
from trapmid.engine import generator, peak_memory_mib, randomness
from trapmid.files import PRIVATE, write_atomic
from trapmid.trapdoor import DETECTOR, Secrets, likeness, signatures
from trapmid.types import Images, Labels, UserError, prediction_of


@dataclass(frozen=True, eq=False)
class Suspects:
    """A set of images as a detector sees it.

    Attributes:
        labels: (n,), the identity each is taken for.
        scores: (n,), -1 to 1: how much its features look like that identity's trigger.
        p_values: (n,), each image's by itself.
        flagged: (n,), bool.
        chance: p-value of the set: how likely so many flagged ones are if all are clean.
    """

    labels: Labels
    scores: Float[Tensor, " n"]
    p_values: Float[Tensor, " n"]
    flagged: Tensor
    chance: float


@final
@dataclass(frozen=True, eq=False)
class Detector:
    """Tells images that came out of an inversion of one trapdoored model from clean ones.

    The score of an image is the cosine between its penultimate features and the signature of the class it is taken for; the
    signature is the mean feature of images with that class's trigger. Deviation: the threshold is calibrated on held-out clean images with a
    confidence bound; published is the 95th percentile of clean training images (0.2503 there), which the model knows by heart.

    A detector is a secret as the triggers are: who has the signatures can search around them (PLG-MI++). It needs no private image.

    Attributes:
        signatures: (num_classes, d), of unit length.
        clean: (n,), ascending: scores of held-out clean images.
        false_positives: the share of clean images that may be flagged.
        confidence: how sure it is that no more are.
    """

    signatures: Tensor
    clean: Tensor
    false_positives: float = 0.05
    confidence: float = 0.95

    @staticmethod
    def fit(
        model: nn.Module,
        secrets: Secrets,
        train: Images,
        clean: Float[Tensor, "m c h w"],
        *,
        false_positives: float = 0.05,
    ) -> "Detector":
        """A detector for a model.

        Args:
            model: the classifier, in eval mode. Where it shows logits alone and no `Prediction`, they stand for the features.
            secrets: its triggers.
            train: (n, c, h, w), private training images, not augmented; at least one for each class.
            clean: (m, c, h, w), clean images that the model did not learn from; 59 vouch for 5 % false positives.
            false_positives: the share of clean images that may be flagged.

        Raises:
            UserError: too few training images.
        """
        if len(train) < len(secrets.triggers):
            raise UserError(
                f"{len(train)} training images for {len(secrets.triggers)} classes: a signature takes at least one image of each class. Give all that were learned."
            )
        known = known_signatures(model, secrets, train)
        _, scores = look(model, known, clean)
        return Detector(known, scores.sort().values, false_positives)

    def at(self, false_positives: float) -> "Detector":
        """The same detector, with another threshold."""
        return replace(self, false_positives=false_positives)

    @cached_property
    def calibration(self) -> Calibration:
        """The threshold, and what a score is worth.

        Raises:
            UserError: the images it was calibrated on cannot vouch for so low a rate.
        """
        return Calibration(self.clean, self.false_positives, self.confidence)

    def examine(self, model: nn.Module, images: Images) -> Suspects:
        """What to think of images (n, c, h, w) in [0, 1], each by itself and all together; the model is in eval mode."""
        return self.weigh(*look(model, self.signatures, images))

    def weigh(self, labels: Labels, scores: Float[Tensor, " n"]) -> Suspects:
        """What to think of images that have been looked at."""
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
        """`model`, served as before, with an eye on what it is shown; see `Watched`."""
        return Watched(model, self.signatures, self.calibration, window=window, level=level, on_alarm=on_alarm)

    def save(self, folder: Path, parents: dict[str, str] | None = None, identities: Sequence[str] = ()) -> Manifest:
        """Write it into `folder`, readable by its owner alone.

        Args:
            folder: its own, apart from any model's.
            parents: digests of the model (`model`) and of the images it was made from (`data`).
            identities: names of the classes.

        Raises:
            UserError: `folder` lies within a model's, or holds another detector.
        """
        if beside := next((above for above in folder.resolve().parents if (above / WEIGHTS).exists()), None):
            raise UserError(
                f"{folder} lies within the model's folder {beside}: whoever gets the model would get the detector, and with it the trapdoor. Choose a folder of its own."
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
    def load(folder: Path) -> "Detector":
        """Read what `save` wrote.

        Raises:
            UserError: `folder` holds no detector, or a damaged one.
        """
        open_artifact(folder, "detector")
        try:
            tensors = load((folder / DETECTOR).read_bytes())
            return Detector(tensors["signatures"], tensors["clean"])
        except (SafetensorError, KeyError) as problem:
            raise UserError(f"{folder / DETECTOR} is no detector ({problem}). Make it again.") from problem


def known_signatures(model: nn.Module, secrets: Secrets, train: Images) -> Tensor:
    """(num_classes, d): what the defender knows, and an adaptive attacker may; the same each time for the same arguments.

    Args:
        model: the classifier, in eval mode.
        secrets: its triggers.
        train: (n, c, h, w), private training images.
    """
    images = train.to(next(model.parameters()).device)
    with randomness(0, "signatures", device=images.device):  # a model may draw when it answers
        return signatures(model, images, secrets, generator(0, "signatures"))


@torch.no_grad()
def look(model: nn.Module, signatures: Tensor, images: Images, batch: int = 256) -> tuple[Labels, Float[Tensor, " n"]]:
    """The identity that each image is taken for, and its score; on the CPU.

    A model that draws when it answers draws the same each time.

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
            scores.append(likeness(prediction, known).cpu())
    return torch.cat(labels), torch.cat(scores)
