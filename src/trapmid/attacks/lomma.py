"""LOMMA (Nguyen et al., CVPR 2023): GMI or KED-MI with a logit loss, on the target and on students of it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.distillation import Distillation
from trapmid.attacks.gmi import GMI
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.search import IdentityLoss, survey
from trapmid.config import Deviation, NonNegative
from trapmid.data.images import ImageSet
from trapmid.models import AnyModel, Zoo
from trapmid.priors import GAN, OwnPrior, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, logits_of


@dataclass(frozen=True, eq=False)
class Help:
    """The inputs of LOMMA's search.

    Attributes:
        gan: the GAN of the base attack.
        students: frozen networks that reproduce the target's answers on public images.
        mean_features: (d,), the mean features of the target on public images.
    """

    gan: GAN
    students: tuple[nn.Module, ...]
    mean_features: Tensor


@final
class LOMMA(Attack[WhiteBoxTarget, Help]):
    """`lomma`: logit loss and model augmentation; the defaults are the published constants.

    Published with the bases `GMI()` and `KEDMI(box=(-1, 1))`.

    Attributes:
        base: the base attack, whose GAN, search and constants are used.
        feature_weight: weight of the term that keeps the target's features near their public mean.
        students: architectures that are used in addition to the target.
        distillation: the settings of their training.
    """

    title: ClassVar[str] = "LOMMA"
    paper: ClassVar[str] = "LOMMA (Nguyen et al., CVPR 2023), Eq. 4-9"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "mean features",
            "of some 5,000 public images",
            "of all",
            "the students' teacher has seen them anyway",
        ),
        Deviation(
            "iterations on KED-MI's prior",
            "1,500 in Trap-MID's code, 2,400 in LOMMA's",
            "1,500",
            "Trap-MID's tables are made with them",
        ),
    )
    kind: Literal["lomma"] = "lomma"
    base: Annotated[GMI | KEDMI, Field(discriminator="kind")] = GMI()
    feature_weight: NonNegative = 1.0
    students: tuple[AnyModel, ...] = (
        Zoo(name="efficientnet_b0", pretrained=True, pixels="unit"),
        Zoo(name="efficientnet_b1", pretrained=True, pixels="unit"),
        Zoo(name="efficientnet_b2", pretrained=True, pixels="unit"),
    )
    distillation: Distillation = Distillation()

    @property
    def heading(self) -> str:
        """The label, or the title with that of the base attack if the label adds nothing to it: "LOMMA (GMI)"."""
        base = f"{self.title} ({self.base.heading})"
        return base if self.label == f"{self.kind}-{self.base.kind}" else self.label or base

    @property
    def effort(self) -> Effort:
        """The effort of the base attack."""
        return self.base.effort

    def public_prior(self) -> PriorConfig | None:
        """The public prior of the base attack."""
        return self.base.public_prior()

    def own_prior(self) -> OwnPrior | None:
        """The own prior of the base attack."""
        return self.base.own_prior()

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Help:
        """Train the GAN of the base attack, query the target with the public images, and train the students."""
        gan = self.base.prepare(target, public, run)
        seen = survey(target, public, run)
        answers = seen.logits.softmax(1)
        students = tuple(
            self.distillation.teach(student, f"student {number}", public, answers, target, run)
            for number, student in enumerate(self.students)
        )
        return Help(gan, students, seen.features.mean(0).to(target.device))

    def invert(self, target: WhiteBoxTarget, ready: Help, identities: Labels, run: Run) -> Found:
        """Run the search of the base attack with the logit loss."""
        return self.base.search_by(target, ready.gan, identities, run, self.identity_loss(target, ready))

    def identity_loss(self, target: WhiteBoxTarget, help_: Help) -> IdentityLoss:
        """Minus the mean logit of the label, plus the mean squared distance of the features to their public mean."""

        def loss(images: Images, labels: Labels) -> Tensor:
            seen = target.predict(images)
            said = [seen.logits, *(logits_of(student(images)) for student in help_.students)]
            own = torch.stack([logits.gather(1, labels[:, None]).squeeze(1) for logits in said])
            return self.feature_weight * (seen.features - help_.mean_features).square().mean(1) - own.mean(0)

        return loss
