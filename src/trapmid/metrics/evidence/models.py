"""Evidence about a trained classifier, and the cost of its training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import torch

from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import logits_on
from trapmid.engine import Compute, generator, randomness
from trapmid.manifests import Manifest
from trapmid.metrics.judge import Judge
from trapmid.metrics.judges import check_independent
from trapmid.metrics.metric import Evidence, Subject
from trapmid.metrics.robustness import APGD
from trapmid.metrics.theorem import Effectiveness, trapdoor_delta
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.secrets import trapdoor_success
from trapmid.types import Images, Labels, Logits

TRIGGER_DRAWS = 5
"""How often the images that triggers are blended into are drawn anew, for the success of a trapdoor."""


@final
@dataclass(frozen=True, eq=False)
class Model(Evidence):
    """A trained classifier.

    Attributes:
        model: the classifier and its manifest.
        private: the private images. Metrics of a model use the test split.
        secrets: the triggers of its trapdoor; None if it has none.
        judges: the judges, which must not share architecture or weights with it.
        robustness: the search for small perturbations; None leaves them out.
        compute: device and precision for metrics that train a network.
        differentiable: whether the classifier has gradients. A model behind an address has none.

    Raises:
        UserError: a judge is not independent of the model.
    """

    subject: ClassVar[Subject] = "model"
    model: TrainedModel
    private: Split
    secrets: Secrets | None = None
    judges: Sequence[Judge] = ()
    robustness: APGD | None = None
    compute: Compute = field(default_factory=Compute)
    differentiable: bool = True

    def __post_init__(self) -> None:
        """Refuse a judge that shares the weaknesses of the model."""
        for judge in self.judges:
            check_independent(judge, self.model.classifier, self.model.manifest.recipe.get("model"))

    @property
    def device(self) -> torch.device:
        """The device of the classifier."""
        return next((p.device for p in self.model.classifier.parameters()), torch.device("cpu"))

    @cached_property
    def logits(self) -> Logits:
        """Logits of the private test images, (n, identities), on the CPU."""
        return logits_on(self.model.classifier, self.private.part("test"))

    @cached_property
    def sample(self) -> Labels:
        """Random rows (m,) of the test images, for gradients and small perturbations."""
        n = (self.robustness or APGD()).images
        return torch.randperm(len(self.private.part("test")), generator=generator(0, "robustness", "images"))[:n]

    @property
    def sampled(self) -> tuple[Images, Labels]:
        """The images (m, c, h, w) and labels (m,) of `sample`, on the classifier's device."""
        test = self.private.part("test")
        return test.images(self.sample).to(self.device), test.labels[self.sample].to(self.device)

    @cached_property
    def trapdoor(self) -> tuple[tuple[float, ...], Effectiveness] | None:
        """The success of the trapdoor in each of `TRIGGER_DRAWS` draws of images, and its effectiveness.

        The effectiveness is that of Definition 1 of the Trap-MID paper. None if the model has no trapdoor.
        """
        if self.secrets is None:
            return None
        test = self.private.part("test")
        images = test.images().to(self.device)
        with randomness(0, "measure", device=images.device):  # a model may draw random numbers when it answers
            rates = tuple(
                trapdoor_success(self.model.classifier, self.secrets, images, generator(draw, "trapdoor success"))
                for draw in range(TRIGGER_DRAWS)
            )
            return rates, trapdoor_delta(self.model.classifier, self.secrets, test)


@final
@dataclass(frozen=True, eq=False)
class TrainingCost(Evidence):
    """The cost of a finished training, from its manifest.

    Two equal trainings can differ in it, so it is not part of a measurement.

    Attributes:
        manifest: the manifest of the model.
    """

    subject: ClassVar[Subject] = "model"
    manifest: Manifest
