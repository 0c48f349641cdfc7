"""AlignMI (NeurIPS 2025): gradients averaged over neighbours of an image are closer to the manifold of real images."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, final

import torch

from trapmid.attacks.attack import Attack, Found, Run
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.search import found_of
from trapmid.attacks.union import GRADIENT_BASES
from trapmid.attacks.wrapping import Shown, StandIn, Wrapper
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import Count, Deviation
from trapmid.data.images import ImageSet
from trapmid.engine import randomness
from trapmid.targets import ViewedTarget, WhiteBoxTarget
from trapmid.types import Images, Labels, Prediction


@final
class Aligned(Wrapper[WhiteBoxTarget]):
    """`aligned`: a base attack whose search descends the mean gradient over random neighbours of each image.

    The target's gradient at an image is replaced by the mean of its gradients at neighbours of the image, in every
    step of the search. The training before the search and the selection of results use the target
    directly.

    Attributes:
        base: an attack that descends gradients.
        neighbourhood: draws a neighbour. The default is that of the paper's TAA for PPA: crop, flip and rotation, one
            draw for a whole batch. PAA is `range-noise`; the authors take a share of 0.06 for PPA, 0.003 for GMI and
            0.05 for KED-MI.
        neighbours: number of neighbours of each image in each step. Each of them is a query. For GMI with TAA, the
            authors use 30.
    """

    adaptive: ClassVar[bool] = False
    title: ClassVar[str] = "Aligned gradients"
    paper: ClassVar[str] = "AlignMI (NeurIPS 2025), authors' code"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "augmentation of the base attack",
            "drawn once a step, or left out in some configurations",
            "drawn anew for each neighbour",
            "the base's objective is evaluated as it is, once for each neighbour",
        ),
        Deviation(
            "plain gradient",
            "computed and not used",
            "not computed",
            "the same result",
        ),
        Deviation(
            "GMI and KED-MI",
            "a StyleGAN without a prior loss, neighbours stretched to the range of the batch; two steps of Adam with "
            "PAA",
            "the bases as they are",
            "a wrapper leaves its base alone",
        ),
    )
    kind: Literal["aligned"] = "aligned"
    base: Annotated[Attack[Any, Any], GRADIENT_BASES] = PLGMI()
    neighbourhood: AnyAugmentation = KorniaAugmentation(
        crop_area=(0.8, 1.0),
        crop_ratio=(0.9, 1.1),
        crop_probability=1.0,
        rotation_degrees=5.0,
        rotation_probability=1.0,
        one_draw=True,
    )
    neighbours: Count = 50

    def stand_in(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> StandIn:
        """The target itself, because only the search uses neighbours."""
        del public, run
        return StandIn(target)

    def invert(self, target: WhiteBoxTarget, ready: Shown, identities: Labels, run: Run) -> Found:
        """Run the search of the base attack with gradients of neighbours instead of the gradient of each image."""
        neighbour = self.neighbourhood.build(target.image_shape[-1])

        def answer(images: Images) -> Prediction:
            searching = torch.is_grad_enabled() and images.requires_grad
            return target.predict(neighbour(images) if searching else images)

        shown = ViewedTarget(target, answer)
        with randomness(run.seed, self.kind, "invert", int(identities[0]), device=run.compute.torch_device):
            found = self.base.invert(shown, ready.ready, identities, replace(run, evaluations=self.neighbours))
        return found_of(found.pixels, found.labels, target, chunk=256)
