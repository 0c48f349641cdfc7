"""WRK: a copy of the target that forgets what answers to adversarial directions, before the inversion."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.attacks.attack import Run, named_by
from trapmid.attacks.surrogates import PERIOD, agreement
from trapmid.attacks.wrapping import StandIn, Wrapper
from trapmid.config import BatchSize, BelowOne, Count, Deviation, NonNegative, Positive, PositiveShare, Rate
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import Loop, generator, randomness
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, UserError, logits_of


@final
class WRK(Wrapper[WhiteBoxTarget]):
    """`wrk`: a base attack on a copy that was fine-tuned away from watermarks, and so from trapdoors.

    A part of the public images, with the target's own labels, stands for clean data. Copies of them are moved by one
    large sign step towards a random class, which finds what triggers find, and relabelled at random. Then the last
    layer is drawn anew, and the whole copy learns both, while the last layer is kept away from its old weights. It is
    the attack of a paper on watermarks, beside `unlearned`, which estimates triggers.

    Attributes:
        share: of the public images that are clean data.
        step: of the sign step, for pixels in [0, 1]; the result is clipped. At 2, as published, a pixel becomes 0 or 1.
        least: moved images there are at least; batches are gone through again until then.
        epochs: of the fine-tuning.
        batch_size: images a step, of both steps.
        rate: of SGD at first; it falls to 0 as a cosine.
        momentum: of SGD.
        away: weight of the product of the last layer's new and old weights.
    """

    title: ClassVar[str] = "Watermark removal"
    paper: ClassVar[str] = "WRK, in the authors' code of Class-Feature Watermarks"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "clean data",
            "5 % of the training images with their labels",
            "5 % of the public images with the target's labels",
            "an attacker has no private image",
        ),
        Deviation(
            "range of the sign step",
            "normalised pixels",
            "pixels in [0, 1]",
            "normalisation is inside of our networks; a step of 2 meets the bounds in either",
        ),
    )
    kind: Literal["wrk"] = "wrk"
    share: PositiveShare = 0.05
    step: Positive = 2.0
    least: Count = 101
    epochs: Count = 10
    batch_size: BatchSize = 32
    rate: Rate = 1e-3
    momentum: BelowOne = 0.9
    away: NonNegative = 0.01

    def stand_in(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> StandIn:
        """Fine-tune the copy; its checkpoint is in `run.folder`.

        Raises:
            UserError: the target has no last layer that could be drawn anew.
        """
        device = run.compute.torch_device
        order = torch.randperm(len(public), generator=generator(run.seed, self.kind, "clean"))
        count = min(len(public) - 1, max(self.batch_size, round(self.share * len(public))))
        clean, held_out = public.subset(order[:count]), public.pixels[order[count : count + 1000]]
        network = target.copy().eval()
        head = last_linear(network)
        with randomness(run.seed, self.kind, "begin", device=device):
            images = to_unit(clean.pixels.to(device))
            labels = named_by(target, clean.pixels).to(device)
            moved, aims = self.moved(network, images, labels)
            old = head.weight.detach().clone()
            bound = head.in_features**-0.5
            nn.init.uniform_(head.weight, -bound, bound)
            nn.init.uniform_(head.bias, -bound, bound)
        images, labels = torch.cat([images, moved]), torch.cat([labels, aims])
        per_epoch = max(1, len(images) // self.batch_size)
        descent = torch.optim.SGD(network.parameters(), self.rate, self.momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, self.epochs * per_epoch)
        network.train().requires_grad_(True)

        def step(number: int) -> Mapping[str, Tensor]:
            epoch, place = divmod(number, per_epoch)
            shuffled = torch.randperm(len(images), generator=generator(run.seed, self.kind, "order", epoch))
            rows = shuffled[place * self.batch_size : (place + 1) * self.batch_size].to(device)
            terms = {
                "classification": F.cross_entropy(logits_of(network(images[rows])), labels[rows]),
                "likeness": self.away * (head.weight * old).sum(),
            }
            descent.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            descent.step()
            schedule.step()
            return terms

        Loop(
            f"{self.kind} copy",
            self.epochs * per_epoch,
            run.seed,
            run.compute,
            {"network": network, "optimizer": descent, "schedule": schedule, "target": target},
            run.folder / "surrogate",
            PERIOD,
            progress=run.progress,
        ).run(step)
        network.eval().requires_grad_(False)
        told = named_by(target, held_out).to(device)
        shown = WhiteBoxTarget(network, target.num_classes, target.image_shape)
        return StandIn(shown, {"surrogate_agreement": agreement(network, held_out.to(device), told)})

    def moved(self, network: nn.Module, images: Images, labels: Labels) -> tuple[Tensor, Tensor]:
        """Copies of images (n, c, h, w), one large sign step towards a random class a batch, and random other labels.

        A label is never 0, as in the authors' code, and never the image's own.
        """
        classes = int(logits_of(network(images[:1])).shape[1])
        found: list[Tensor] = []
        aims: list[Tensor] = []
        while sum(map(len, found)) < self.least:
            for rows in torch.arange(len(images), device=images.device).split(self.batch_size):
                part = images[rows].requires_grad_()
                towards = int(torch.randint(classes, ()))
                (gradient,) = torch.autograd.grad(logits_of(network(part))[:, towards].sum(), part)
                found.append((part.detach() + self.step * gradient.sign()).clamp(0, 1))
                aims.append(random_labels(labels[rows], classes))
        return torch.cat(found), torch.cat(aims)


def random_labels(labels: Labels, classes: int) -> Labels:
    """For each label (n,) a random one from 1 up that differs from it; with two classes, that leaves 1 alone."""
    drawn = 1 + torch.randint(classes - 1, labels.shape, device=labels.device)
    if classes < 3:
        return drawn
    others = 1 + torch.randint(classes - 2, labels.shape, device=labels.device)
    others = others + (others >= labels).to(others)
    return torch.where(drawn == labels, others, drawn)


def last_linear(network: nn.Module) -> nn.Linear:
    """The last linear layer of a classifier, by the order of its modules.

    Raises:
        UserError: it has none with a bias.
    """
    found = [layer for layer in network.modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
    if not found:
        raise UserError(f"wrk draws the last linear layer anew, and {type(network).__name__} has none with a bias.")
    return found[-1]
