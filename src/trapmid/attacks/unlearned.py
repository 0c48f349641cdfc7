"""Triggers are reverse-engineered and unlearned before the inversion (Neural Cleanse, Wang et al., IEEE S&P 2019)."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Run
from trapmid.attacks.distillation import divergence
from trapmid.attacks.surrogates import PERIOD, Lesson, SurrogateTraining
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.augment import Augment
from trapmid.config import Count, NonNegative, Positive, PositiveShare, Rate
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Loop
from trapmid.targets import WhiteBoxTarget
from trapmid.trapdoor.triggers import blend, signed_step
from trapmid.types import Images, logits_of


@final
class Unlearned(SurrogateTraining, Wrapper[WhiteBoxTarget]):
    """`unlearned`: a base attack on a copy of the target that has unlearned the triggers an attacker can find.

    Every class's trigger is estimated on public images, all at once: a full picture blended in at a known small
    ratio, as the defense does it, where Neural Cleanse looks for a small patch and penalises its mask. Then a copy is
    fine-tuned so that it answers public images as the target does, with an estimated trigger and without: batch norm
    statistics stay.

    Attributes:
        blend_ratio: of the estimated triggers; the default is the paper's, which an attacker can read there.
        trigger_steps: of the estimate.
        trigger_step: size of one, with the sign of the gradient, in units of [0, 1].
        weight: of the indifference to triggers in the fine-tuning.
    """

    title: ClassVar[str] = "Unlearned copy"
    paper: ClassVar[str] = "Neural Cleanse (Wang et al., IEEE S&P 2019), with Trap-MID's blended trigger"
    kind: Literal["unlearned"] = "unlearned"
    steps: Count = 2_000
    rate: Rate = 1e-4
    blend_ratio: PositiveShare = 0.02
    trigger_steps: Count = 2_000
    trigger_step: Positive = 0.01
    weight: NonNegative = 1.0

    def stand_in(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> StandIn:
        """The surrogate, trained."""
        return self.train(target, public, run, self.begin)

    def begin(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Lesson:
        """Estimate the triggers, then unlearn them."""
        augment = self.augmentation.build(public.image_size)
        triggers = self.estimate_triggers(target, public, augment, run)
        network = target.copy().eval()

        def losses(images: Images) -> Mapping[str, Tensor]:
            views = augment(images)
            scores = target.scores(views)
            chosen = augment(triggers[torch.randint(len(triggers), (len(views),), device=views.device)])
            poisoned = blend(views, chosen, self.blend_ratio)
            clean, triggered = logits_of(network(torch.cat([views, poisoned]))).chunk(2)
            return {
                "divergence": divergence(scores, clean),
                "indifference": self.weight * divergence(scores, triggered),
            }

        return Lesson(network, losses)

    def estimate_triggers(self, target: WhiteBoxTarget, public: ImageSet, augment: Augment, run: Run) -> Tensor:
        """(num_classes, c, h, w) in [0, 1]: for each class an image that, blended in, makes the target predict it."""
        device = run.compute.torch_device
        pixels = public.pixels.to(device)
        held = nn.ParameterDict(
            {"triggers": nn.Parameter(torch.rand(target.num_classes, *target.image_shape).to(device))}
        )
        triggers = held["triggers"]

        def step(number: int) -> Mapping[str, Tensor]:
            del number
            images = to_unit(pixels[torch.randint(len(pixels), (self.batch_size,), device=device)])
            aims = torch.randint(len(triggers), (len(images),), device=device)
            said = target.predict(augment(blend(images, triggers[aims], self.blend_ratio)))
            loss = F.cross_entropy(said.logits, aims)
            (gradient,) = torch.autograd.grad(loss, triggers)
            with torch.no_grad():
                triggers.copy_(signed_step(triggers, gradient, self.trigger_step))
            return {"loss": loss, "success": (said.logits.argmax(1) == aims).float().mean()}

        Loop(
            f"{self.kind} triggers",
            self.trigger_steps,
            run.seed,
            run.compute,
            {"triggers": held, "target": target},
            run.folder / "triggers",
            PERIOD,
            progress=run.progress,
        ).run(step)
        return triggers.detach()
