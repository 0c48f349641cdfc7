"""An adversarially robust student (ARD, Goldblum et al., AAAI 2020): trapdoors rely on non-robust features."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from trapmid.attacks.attack import Run
from trapmid.attacks.distillation import divergence
from trapmid.attacks.surrogates import Lesson, SurrogateTraining, build_student
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.config import Count, NonNegative, Positive
from trapmid.data.images import ImageSet
from trapmid.models import AnyModel, Zoo
from trapmid.targets import ScoreTarget
from trapmid.trapdoor.naturalness import frozen
from trapmid.types import Images, logits_of


@final
class Robust(SurrogateTraining, Wrapper[ScoreTarget]):
    """`robust`: a base attack on a student that is trained to ignore small perturbations, and so faint triggers.

    Loss: KL(target(x) || student(x)) + weight * KL(target(x) || student(x + d)), d the worst perturbation that
    projected gradient descent finds (Madry et al., ICLR 2018), as in ARD at temperature 1. The target is queried
    only with x.

    Attributes:
        student: architecture of the student, which may differ from the target's.
        radius: radius of the ball for pixels in [0, 1]. The default is the largest change of a pixel by a published
            trigger.
        perturbation_steps: number of steps of the inner ascent, each of length 2.5 * radius / perturbation_steps.
        weight: weight of the perturbed term.
    """

    title: ClassVar[str] = "Robust copy"
    paper: ClassVar[str] = "ARD (Goldblum et al., AAAI 2020), Eq. 3; PGD (Madry et al., ICLR 2018)"
    kind: Literal["robust"] = "robust"
    student: AnyModel = Zoo(name="efficientnet_b0")
    radius: Positive = 0.02
    perturbation_steps: Count = 5
    weight: NonNegative = 1.0

    def stand_in(self, target: ScoreTarget, public: ImageSet, run: Run) -> StandIn:
        """The surrogate, trained."""
        return self.train(target, public, run, self.begin)

    def begin(self, target: ScoreTarget, public: ImageSet, run: Run) -> Lesson:
        """Learn the target's probabilities on augmented public images and around them."""
        student = build_student(self.student, target, run)
        augment = self.augmentation.build(public.image_size)

        def losses(images: Images) -> Mapping[str, Tensor]:
            views = augment(images)
            scores = target.scores(views)
            with frozen(student):
                worst = perturbed(student, views, scores, self.radius, self.perturbation_steps)
            clean, moved = logits_of(student(torch.cat([views, worst]))).chunk(2)
            return {"divergence": divergence(scores, clean), "perturbed": self.weight * divergence(scores, moved)}

        return Lesson(student, losses)


def perturbed(network: nn.Module, images: Images, scores: Tensor, radius: float, steps: int) -> Images:
    """Images (n, c, h, w) in [0, 1], moved within an L_inf ball to where the network differs most from `scores`."""
    moved = (images + radius * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    for _ in range(steps):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(scores, logits_of(network(moved))), moved)
        moved = moved.detach() + 2.5 * radius / steps * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, images - radius), images + radius).clamp(0, 1)
    return moved
