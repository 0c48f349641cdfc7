"""Metrics of sets of images, compared with the private training images in the features of a judge or network."""

from collections.abc import Callable, Iterator

import torch

from trapmid.metrics.evidence import ComparedSet, FeatureSet
from trapmid.metrics.fidelity import frechet_distance, kernel_distance
from trapmid.metrics.intervals import over_identities, without
from trapmid.metrics.metric import Better, Measured, Metric
from trapmid.metrics.units import Unit

_KYNKAANNIEMI = "Kynk\u00e4\u00e4nniemi et al., NeurIPS 2019"
_NAEEM = "Naeem et al., ICML 2020"
_AS_PUBLISHED = "PPA (Struppek et al., ICML 2022); Trap-MID (Liu & Chen, NeurIPS 2024), App. E.3"


def distance(between: Callable[[FeatureSet], float]) -> Callable[[ComparedSet], Iterator[Measured]]:
    """In the features of each network, one number for both sets, which has no interval."""

    def compute(evidence: ComparedSet) -> Iterator[Measured]:
        for one in evidence.sets:
            if one.comparable:
                yield Measured(without(between(one)), one.network)

    return compute


def _by_identity(name: str) -> Callable[[ComparedSet], Iterator[Measured]]:
    """In the features of each network, a mean over identities, of those that have enough images."""

    def compute(evidence: ComparedSet) -> Iterator[Measured]:
        for one in evidence.sets:
            if one.comparable:
                values = one.manifold[name]
                known = torch.nonzero(~values.isnan()).flatten()
                if len(known):
                    yield Measured(over_identities(values[known], known), one.network)

    return compute


def _manifold(
    name: str, title: str, unit: Unit, better: Better, about: str, paper: str, hint: str = ""
) -> Metric[ComparedSet]:
    compute = _by_identity(name)
    return Metric(name, title, unit, better, ComparedSet, compute, about, paper, hint=hint, tables=("further",))


FID = Metric(
    name="fid",
    title="FID",
    unit=Unit.NUMBER,
    better="higher",
    of=ComparedSet,
    compute=distance(lambda one: frechet_distance(one.features, one.private)),
    about="How far the images as a set lie from the private training images: the Fr\u00e9chet distance of two normal "
    "distributions over features.",
    paper="FID (Heusel et al., NeurIPS 2017)",
    hint="higher is safer",
    tables=("console", "main", "further"),
)
KID = Metric(
    name="kid",
    title="KID",
    unit=Unit.NUMBER,
    better="higher",
    of=ComparedSet,
    compute=distance(lambda one: kernel_distance(one.features, one.private)),
    about="The same by a polynomial kernel. Unlike FID it does not depend on the number of images.",
    paper="KID (Binkowski et al., ICLR 2018)",
    hint="higher is safer",
    tables=("further",),
)
PRECISION = _manifold(
    "precision",
    "Precision",
    Unit.SHARE,
    "lower",
    "The share of images that lie within the sphere of the nearest private image of their identity.",
    f"{_KYNKAANNIEMI}, in the variant of {_AS_PUBLISHED}",
    "as published",
)
RECALL = _manifold(
    "recall",
    "Recall",
    Unit.SHARE,
    "lower",
    "The share of private images that lie within the sphere of the nearest image that is meant to show their identity.",
    f"{_KYNKAANNIEMI}, in the variant of {_AS_PUBLISHED}",
    "as published",
)
DENSITY = _manifold(
    "density",
    "Density",
    Unit.NUMBER,
    "lower",
    "How many spheres of private images the images lie in, for each private image and relative to k = 3.",
    f"{_NAEEM}, in the variant of {_AS_PUBLISHED}",
    "as published",
)
COVERAGE = _manifold(
    "coverage",
    "Coverage",
    Unit.SHARE,
    "lower",
    "The share of private images whose sphere holds an image that is meant to show their identity.",
    _NAEEM,
    "lower is safer",
)
PRECISION_NAEEM = _manifold(
    "precision_naeem",
    "Precision, any sphere",
    Unit.SHARE,
    "lower",
    "The share of images that lie within the sphere of any private image of their identity.",
    _NAEEM,
    "Naeem et al.",
)
RECALL_NAEEM = _manifold(
    "recall_naeem",
    "Recall, any sphere",
    Unit.SHARE,
    "lower",
    "The share of private images that lie within the sphere of any image that is meant to show their identity.",
    _NAEEM,
    "Naeem et al.",
)
DENSITY_NAEEM = _manifold(
    "density_naeem",
    "Density, per image",
    Unit.NUMBER,
    "lower",
    "How many spheres of private images an image lies in, relative to k = 3.",
    _NAEEM,
    "Naeem et al.",
)
METRICS = (FID, KID, PRECISION, RECALL, DENSITY, COVERAGE, PRECISION_NAEEM, RECALL_NAEEM, DENSITY_NAEEM)
