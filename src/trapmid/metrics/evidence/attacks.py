"""Evidence about attacks and priors, apart from the images that they found."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import torch

from trapmid.engine import generator
from trapmid.manifests import Manifest
from trapmid.metrics.evidence.images import NearestImages
from trapmid.metrics.metric import Evidence, Subject
from trapmid.priors import Prior
from trapmid.types import Images, Labels


@final
@dataclass(frozen=True, eq=False)
class GeneratorSamples(Evidence):
    """Random samples, without a search, of the generator that an attack trained with queries to the target.

    Attributes:
        nearest: whether private or public images are nearer to the samples.
    """

    subject: ClassVar[Subject] = "attack"
    nearest: NearestImages


@final
@dataclass(frozen=True, eq=False)
class FinishedAttack(Evidence):
    """The manifest of a finished attack.

    Attributes:
        manifest: the manifest of the attack.
    """

    subject: ClassVar[Subject] = "attack"
    manifest: Manifest


@final
@dataclass(frozen=True, eq=False)
class AttackCost(Evidence):
    """The cost of a finished attack, from its manifest.

    Two equal attacks can differ in it, so it is not part of a measurement.

    Attributes:
        manifest: the manifest of the attack.
    """

    subject: ClassVar[Subject] = "attack"
    manifest: Manifest

    def note(self, name: str) -> float | None:
        """A number that the attack recorded under this name; None if there is none."""
        return self.manifest.fact("notes", dict[str, float]).get(name) if "notes" in self.manifest.facts else None


@final
@dataclass(frozen=True, eq=False)
class PriorSamples(Evidence):
    """A prior that was trained without a target.

    Attributes:
        prior: the generator.
        labels: (n,), the identity that each sample is conditioned on.
    """

    subject: ClassVar[Subject] = "prior"
    prior: Prior
    labels: Labels

    @cached_property
    def raw(self) -> Images:
        """Samples of the generator (n, c, h, w), not clipped to [0, 1]."""
        latents = torch.randn(len(self.labels), self.prior.latent_size, generator=generator(0, "prior range"))
        with torch.no_grad():
            return self.prior.decode(latents.to(self.prior.device), self.labels.to(self.prior.device))
