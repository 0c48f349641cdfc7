"""PPDG-MI (Peng et al., NeurIPS 2024): what an attack finds moves the generator, which is then attacked again."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, TypeVar, final

import torch
from pydantic import Field
from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.gmi import GMI
from trapmid.attacks.kedmi import KEDMI
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.search import most_confident, score_public, top_n
from trapmid.config import AtLeastTwo, Count, Deviation, PositiveShare
from trapmid.data.images import ImageSet, to_unit
from trapmid.engine import labelled, randomness
from trapmid.priors import GAN, GANConfig, OwnPrior, PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels

PriorT = TypeVar("PriorT", bound=GANConfig)


@dataclass(frozen=True, eq=False)
class Beginning:
    """What every tuning of the generator begins with.

    Attributes:
        gan: the GAN of the base attack.
        public: the attacker's images.
        scores: (len(public), num_classes), the target's probabilities for them; None where the base asks for none.
    """

    gan: GAN
    public: ImageSet
    scores: Tensor | None


@final
class PPDG(Attack[WhiteBoxTarget, Beginning]):
    """`ppdg`: PPDG-MI at low resolution; the training of the GAN goes on with pseudo-private images.

    Pseudo-private images are those of the base attack's pictures that the target is surest of. The defaults are those
    published with PLG-MI as the base. With GMI or KED-MI, `samples` is 1,000, `share` 0.5, and `iterations` 938, which
    are 10 epochs.

    Attributes:
        base: the attack that runs in every round.
        rounds: number of rounds. The generator is tuned before each but the first.
        samples: pictures of an identity that are found in every round but the last.
        share: share of them that become pseudo-private images.
        iterations: iterations in which the GAN is tuned, with the losses, batches and rates that it was trained with.
        tuned: whether the GAN is tuned for `each` identity, as published, or for all identities of a batch `together`.
            Every tuning begins with the GAN of the first round.
    """

    title: ClassVar[str] = "PPDG-MI"
    paper: ClassVar[str] = "PPDG-MI (Peng et al., NeurIPS 2024), its low-resolution form"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "bases",
            "GMI, KED-MI and PLG-MI; PPA, whose StyleGAN is tuned by its distance to the pictures in VGG-16's features",
            "GMI, KED-MI and PLG-MI",
            "no package carries the VGG-16 of that distance",
        ),
        Deviation(
            "share of pseudo-private images in a batch",
            "not known to us",
            "an identity's public and pseudo-private images are equally likely; for GMI and KED-MI, all images are",
            "the plainest reading of a training on both",
        ),
    )
    kind: Literal["ppdg"] = "ppdg"
    base: Annotated[PLGMI | GMI | KEDMI, Field(discriminator="kind")] = PLGMI(search_steps=80)
    rounds: AtLeastTwo = 2
    samples: Count = 200
    share: PositiveShare = 0.25
    iterations: Count = 1_000
    tuned: Literal["each", "together"] = "each"

    @property
    def name(self) -> str:
        """The label, or the kind and the base's name."""
        return self.label or f"{self.kind}-{self.base.name}"

    @property
    def heading(self) -> str:
        """The label, or the title with the base's heading."""
        return self.label or f"{self.title} ({self.base.heading})"

    @property
    def effort(self) -> Effort:
        """The base's."""
        return self.base.effort

    def public_prior(self) -> PriorConfig | None:
        """The base's."""
        return self.base.public_prior()

    def own_prior(self) -> OwnPrior | None:
        """The base's, as it is before it is tuned."""
        return self.base.own_prior()

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Beginning:
        """Prepare the base attack, and keep the target's answers about the public images."""
        match self.base:
            case GMI():
                return Beginning(self.base.prepare(target, public, run), public, None)
            case PLGMI():
                scores = score_public(target, public, run)
                return Beginning(self.base.train(target, public, top_n(scores, self.base.top_n), run), public, scores)
            case KEDMI():
                scores = score_public(target, public, run)
                return Beginning(self.base.train(target, public, scores, run), public, scores)

    def invert(self, target: WhiteBoxTarget, ready: Beginning, identities: Labels, run: Run) -> Found:
        """Attack, tune and attack again, with all results of the last round."""
        many = self.base.model_copy(update={"images_per_identity": self.samples})
        found = self._attacked(many, target, ready.gan, identities, run, "round-1")
        groups = [identities] if self.tuned == "together" else list(identities.split(1))
        keep = max(1, round(self.share * self.samples))
        for number in range(2, self.rounds + 1):
            pixels, labels = most_confident(found.pixels, found.labels, found.confidence, keep)
            base, parts = self.base if number == self.rounds else many, []
            for group in groups:
                rows = torch.isin(labels, group)
                name = f"round-{number}-{int(group[0])}"
                gan = self._tuned(target, ready, pixels[rows], labels[rows], _within(run, f"{name}-tuned"))
                parts.append(self._attacked(base, target, gan, group, run, name))
            found = Found(
                torch.cat([part.pixels for part in parts]),
                torch.cat([part.labels for part in parts]),
                torch.cat([part.confidence for part in parts]),
            )
        return found

    def _attacked(
        self, base: PLGMI | GMI | KEDMI, target: WhiteBoxTarget, gan: GAN, identities: Labels, run: Run, name: str
    ) -> Found:
        with randomness(run.seed, self.kind, name, int(identities[0]), device=run.compute.torch_device):
            return base.invert(target, gan, identities, _within(run, name))

    def _tuned(self, target: WhiteBoxTarget, ready: Beginning, pixels: Tensor, labels: Labels, run: Run) -> GAN:
        """The GAN of the first round after more iterations on public and these images."""
        public, begin = ready.public, replace(run, prior=ready.gan)
        images = ImageSet(
            torch.cat([public.pixels, pixels]),
            torch.cat([public.labels, torch.full_like(labels, len(public.identities))]),
            (*public.identities, "pseudo-private"),
            (*public.origins, *["found by the attack"] * len(pixels)),
        )
        with randomness(run.seed, self.kind, "tune", int(labels[0]), device=run.compute.torch_device):
            match self.base:
                case GMI():
                    setting = begin.training(images, target, self.base.kind)
                    return self._longer(self.base.prior).fit(setting, start=ready.gan)
                case PLGMI():
                    assert ready.scores is not None
                    rows = with_pseudo_private(top_n(ready.scores, self.base.top_n), labels, len(public))
                    base = self.base.model_copy(update={"prior": self._longer(self.base.prior)})
                    return base.train(target, images, rows, begin)
                case KEDMI():
                    assert ready.scores is not None
                    told = [target.scores(to_unit(part.to(target.device))).cpu() for part in pixels.split(256)]
                    setting = begin.training(images, target, self.base.kind)
                    soft_labels = torch.cat([ready.scores, *told])
                    return self._longer(self.base.prior).fit(setting, soft_labels, resume=ready.gan)

    def _longer(self, prior: PriorT) -> PriorT:
        return prior.model_copy(update={"iterations": self.iterations})


def with_pseudo_private(rows: Tensor, labels: Labels, before: int) -> Tensor:
    """(num_classes, m): the images that stand for each class, equally likely, when pseudo-private ones join.

    Args:
        rows: (num_classes, n), the public images that stand for each class.
        labels: (k,), the identity of each pseudo-private image, equally many of each.
        before: number of public images, which precede the pseudo-private ones.
    """
    n, each = rows.shape[1], len(labels) // len(labels.unique())
    columns = math.lcm(n, n + each)
    wide = rows.repeat(1, columns // n)
    for identity in labels.unique().tolist():
        own = before + torch.nonzero(labels == identity).flatten()
        wide[identity] = torch.cat([rows[identity], own]).repeat(columns // (n + each))
    return wide


def _within(run: Run, name: str) -> Run:
    return replace(run, folder=run.folder / name, progress=labelled(run.progress, name))
