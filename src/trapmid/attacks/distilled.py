"""Distillation (Hinton et al. 2015): the attack inverts a student of the target, which was never shown a trigger."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

from torch import Tensor

from trapmid.attacks.attack import Run
from trapmid.attacks.distillation import divergence
from trapmid.attacks.surrogates import Lesson, SurrogateTraining, build_student
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.data.images import ImageSet
from trapmid.models import AnyModel, Zoo
from trapmid.targets import ScoreTarget
from trapmid.types import Images, logits_of


@final
class Distilled(SurrogateTraining, Wrapper[ScoreTarget]):
    """`distilled`: a base attack on a student of the target.

    Public images carry no trigger, so the student is not taught its response.

    Teacher and student see the same augmented image (Beyer et al., CVPR 2022), so every view is a query. Scores are
    all it takes: a white-box attack becomes a score-only one.

    Attributes:
        student: architecture; need not be the target's. The default is LOMMA's first, without its ImageNet weights.
    """

    title: ClassVar[str] = "Distilled copy"
    paper: ClassVar[str] = "Hinton et al. 2015; students as in LOMMA (Nguyen et al., CVPR 2023)"
    kind: Literal["distilled"] = "distilled"
    student: AnyModel = Zoo(name="efficientnet_b0")

    def stand_in(self, target: ScoreTarget, public: ImageSet, run: Run) -> StandIn:
        """The surrogate, trained."""
        return self.train(target, public, run, self.begin)

    def begin(self, target: ScoreTarget, public: ImageSet, run: Run) -> Lesson:
        """Learn the target's probabilities on augmented public images."""
        student = build_student(self.student, target, run)
        augment = self.augmentation.build(public.image_size)

        def losses(images: Images) -> Mapping[str, Tensor]:
            views = augment(images)
            return {"divergence": divergence(target.scores(views), logits_of(student(views)))}

        return Lesson(student, losses)
