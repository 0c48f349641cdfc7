"""An attacker who runs several attacks and keeps what the target is surest of, since an attacker may choose."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from trapmid.attacks.attack import Attack, Effort, Found, Run
from trapmid.attacks.brep import BREP
from trapmid.attacks.distilled import Distilled
from trapmid.attacks.plgmi import PLGMI
from trapmid.attacks.robust import Robust
from trapmid.attacks.search import found_of, robust_confidence
from trapmid.attacks.smoothed import Smoothed
from trapmid.attacks.union import AnyCombined
from trapmid.attacks.unlearned import Unlearned
from trapmid.augment import AnyAugmentation, KorniaAugmentation
from trapmid.config import Count
from trapmid.data.images import ImageSet
from trapmid.engine import labelled, randomness
from trapmid.priors import PriorConfig
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Labels


@final
class Strongest(Attack[WhiteBoxTarget, Mapping[str, Any]]):
    """`strongest`: runs several attacks, with or without knowledge of the defense, and keeps the best of all.

    The best is what the target gives the highest mean probability over random changes of the picture, as in the final
    selection of PPA. Queries of all attacks and of the choice are counted.

    Attributes:
        attacks: the attacks. Those that search a public prior search the same one.
        choice: whether each `picture` is chosen for itself, or one `attack` for each identity, whose best pictures have
            the highest mean probability.
        images_per_identity: pictures of an identity that are kept.
        augmentation: the random changes.
        draws: changes of each picture, over which the target's probability is averaged; each is a query.
        chunk: pictures that are shown to the target at once.
    """

    title: ClassVar[str] = "Best of several attacks"
    paper: ClassVar[str] = "trapmid; choice of an adaptive attack (Tramer et al., NeurIPS 2020), PPA, Sec. 3.4"
    adaptive: ClassVar[bool] = True
    combines: ClassVar[bool] = True
    kind: Literal["strongest"] = "strongest"
    attacks: Annotated[tuple[AnyCombined, ...], Field(min_length=1, max_length=64)] = (
        PLGMI(),
        Distilled(),
        Robust(),
        Smoothed(),
        Unlearned(),
    )
    choice: Literal["picture", "attack"] = "picture"
    images_per_identity: Count = 5
    augmentation: AnyAugmentation = KorniaAugmentation(
        crop_area=(0.5, 0.9), crop_ratio=(0.8, 1.2), crop_probability=1.0, rotation_probability=0.0
    )
    draws: Count = 100
    chunk: Count = 100

    @model_validator(mode="after")
    def _fit_together(self) -> "Strongest":
        names = [attack.name for attack in self.attacks]
        if len(set(names)) < len(names):
            raise ValueError(f"each attack may appear once, got {names}; tell them apart by their label")
        if len({prior.fingerprint() for attack in self.attacks if (prior := attack.public_prior()) is not None}) > 1:
            raise ValueError(f"{', '.join(names)} search different public priors; give them the same one")
        if some := [one.name for one in self.attacks if isinstance(one, BREP) and one.wanted is not None]:
            raise ValueError(f"{some[0]} attacks some of the identities only; set its `wanted` to null")
        few = [attack.name for attack in self.attacks if attack.effort.images_per_identity < self.images_per_identity]
        if few:
            raise ValueError(f"{few[0]} finds fewer than images_per_identity={self.images_per_identity} pictures")
        return self

    @property
    def effort(self) -> Effort:
        """As many identities at once as each of the attacks allows."""
        batches = [attack.effort.identities_per_batch for attack in self.attacks]
        return Effort(
            images_per_identity=self.images_per_identity,
            identities_per_batch=min(filter(None, batches), default=0),
            chunk=self.chunk,
        )

    def public_prior(self) -> PriorConfig | None:
        """The prior of those attacks that have one."""
        return next((prior for attack in self.attacks if (prior := attack.public_prior()) is not None), None)

    def prepare(self, target: WhiteBoxTarget, public: ImageSet, run: Run) -> Mapping[str, Any]:
        """Prepare each attack in a folder of its own. Returns what each has prepared, by its name."""
        ready = {}
        for attack in self.attacks:
            inner = _part(run, attack)
            with randomness(run.seed, self.kind, "prepare", attack.name, device=run.compute.torch_device):
                ready[attack.name] = attack.prepare(target, public, inner)
            run.note(**{f"{attack.name}_{name}": value for name, value in inner.notes().items()})
        return ready

    def invert(self, target: WhiteBoxTarget, ready: Mapping[str, Any], identities: Labels, run: Run) -> Found:
        """Run all attacks on these identities, ask the target about all pictures, and keep the best."""
        pixels, sure = [], []
        for attack in self.attacks:
            with randomness(run.seed, self.kind, attack.name, int(identities[0]), device=run.compute.torch_device):
                found = attack.invert(target, ready[attack.name], identities, _part(run, attack))
                order = found.labels.argsort(stable=True)
                pixels.append(found.pixels[order].unflatten(0, (len(identities), -1)))
                sure.append(self._sure(found.pixels[order], found.labels[order], target).view(len(identities), -1))
        of = torch.cat([torch.full_like(part, number, dtype=torch.int64) for number, part in enumerate(sure)], 1)
        rows = chosen(torch.cat(sure, 1), of, self.images_per_identity, self.choice)
        kept = torch.cat(pixels, 1)[torch.arange(len(rows))[:, None], rows].flatten(0, 1)
        before, counts = run.notes(), of.gather(1, rows).flatten().bincount(minlength=len(self.attacks)).tolist()
        names = [f"kept_of_{attack.name}" for attack in self.attacks]
        run.note(**{name: before.get(name, 0.0) + float(count) for name, count in zip(names, counts, strict=True)})
        labels = identities.sort().values.repeat_interleave(self.images_per_identity)
        return found_of(kept, labels, target, self.chunk)

    def _sure(self, pixels: Tensor, labels: Labels, target: WhiteBoxTarget) -> Tensor:
        augment, device = self.augmentation.build(target.image_shape[-1]), target.device
        return torch.cat(
            [
                robust_confidence(part.to(device), y.to(device), target, augment, self.draws).cpu()
                for part, y in zip(pixels.split(self.chunk), labels.split(self.chunk), strict=True)
            ]
        )


def chosen(sure: Tensor, of: Tensor, keep: int, choice: Literal["picture", "attack"]) -> Tensor:
    """The pictures to keep of each identity, best first: (k, keep), columns of `sure`.

    Args:
        sure: (k, m), how sure the target is of each of the m pictures of an identity.
        of: (k, m), the number of the attack that found it.
        keep: number of pictures.
        choice: see `Strongest`.
    """
    if choice == "attack":
        best = [
            sure.masked_fill(of != number, -torch.inf).topk(keep).values.mean(1) for number in range(int(of.max()) + 1)
        ]
        sure = sure.masked_fill(of != torch.stack(best, 1).argmax(1, keepdim=True), -torch.inf)
    return sure.topk(keep, dim=1).indices


def _part(run: Run, attack: Attack[Any, Any]) -> Run:
    return replace(run, folder=run.folder / "attacks" / attack.name, progress=labelled(run.progress, attack.name))
