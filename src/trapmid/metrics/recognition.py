"""Metrics of single images: which identity judges recognise, and how near the image lies to private images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from trapmid.metrics.controls import corrected_accuracy, derangement, disagreement
from trapmid.metrics.evidence import GeneratorSamples, JudgedImages, Judgement, NearestImages, PublicImages
from trapmid.metrics.intervals import over_identities
from trapmid.metrics.metric import Measured, Metric
from trapmid.metrics.units import Unit

FromJudges: TypeAlias = Callable[[JudgedImages], Iterator[Measured]]


def by_judge(value: Callable[[Judgement], Tensor]) -> FromJudges:
    """By each judge, the mean of a value of each image (n,), with its interval over identities.

    A metric that is registered reaches worker processes only if `value` is a function of a module.
    """
    return _ByJudge(value)


@dataclass(frozen=True)
class _ByJudge:
    """A class and no inner function, because worker processes get registered metrics by pickle."""

    value: Callable[[Judgement], Tensor]

    def __call__(self, evidence: JudgedImages) -> Iterator[Measured]:
        for said in evidence.judgements:
            yield Measured(over_identities(self.value(said).double(), evidence.labels), said.judge)


@final
@dataclass(frozen=True, eq=False)
class StoredJudgement:
    """What a run folder keeps of a judge's answers on images that are meant to show identities.

    Attributes:
        labels: (n,), the identity that each image is meant to show.
        rank: (n,), see `Judgement`.
        distance: (n,), see `Judgement`.
        accepted: (n,), see `Judgement`.
    """

    labels: Tensor
    rank: Tensor
    distance: Tensor
    accepted: Tensor


Ranked: TypeAlias = Judgement | StoredJudgement


def _first(said: Ranked) -> Tensor:
    return said.rank < 1


def _first_and_accepted(said: Ranked) -> Tensor:
    return (said.rank < 1) & said.accepted


def _among_five(said: Ranked) -> Tensor:
    return said.rank < 5


def _distance(said: Ranked) -> Tensor:
    return said.distance


def _distance_l2(said: Ranked) -> Tensor:
    return said.distance.sqrt()


def _under_another_name(said: Judgement) -> Tensor:
    others = derangement(said.named.shape[1])[said.labels]
    return said.named.gather(1, others[:, None]).squeeze(1)


def _corrected(evidence: JudgedImages) -> Iterator[Measured]:
    for said in evidence.judgements:
        corrected = corrected_accuracy(said.named, said.labels)
        known = torch.nonzero(~corrected.isnan()).flatten()
        if len(known):
            yield Measured(over_identities(corrected[known], known), said.judge)


def _disagreement(evidence: JudgedImages) -> Iterator[Measured]:
    if len(evidence.judgements) > 1:
        apart = disagreement([said.rank < 1 for said in evidence.judgements])
        yield Measured(over_identities(apart.double(), evidence.labels))


def _private_nearest(evidence: NearestImages) -> Iterator[Measured]:
    for judge, nearer in evidence.nearer_to_private.items():
        yield Measured(over_identities(nearer.double(), evidence.labels), judge)


def _accepted_strangers(evidence: PublicImages) -> Iterator[Measured]:
    for said in evidence.judgements:
        accepted = said.acceptance.accepts(said.opinion, said.opinion.scores.argmax(1))
        yield Measured(over_identities(accepted.double(), torch.arange(len(accepted))), said.judge)


AA1 = Metric(
    name="attack_accuracy_1",
    title="AA-1",
    unit=Unit.SHARE,
    better="lower",
    of=JudgedImages,
    compute=by_judge(_first),
    about="The share of images in which the judge recognises the right identity first.",
    paper="GMI (Zhang et al., CVPR 2020), Sec. 4; Trap-MID (Liu & Chen, NeurIPS 2024), Sec. 4.1",
    hint="lower is safer",
)
AA1_ACCEPTED = Metric(
    name="attack_accuracy_1_accepted",
    title="AA-1 accepted",
    unit=Unit.SHARE,
    better="lower",
    of=JudgedImages,
    compute=by_judge(_first_and_accepted),
    about="AA-1, counting only images that lie as near to private images of the identity as its held-out images do.",
    hint="lower is safer",
)
AA1_CORRECTED = Metric(
    name="attack_accuracy_1_corrected",
    title="AA-1 corrected",
    unit=Unit.SHARE,
    better="lower",
    of=JudgedImages,
    compute=_corrected,
    about="AA-1 corrected for chance: (raw - f) / (1 - f) for each identity, where f is how often the judge names that "
    "identity in "
    "the same attack's images of other identities. Chance level is 0.",
    hint="lower is safer",
    tables=("main",),
)
AA5 = Metric(
    name="attack_accuracy_5",
    title="AA-5",
    unit=Unit.SHARE,
    better="lower",
    of=JudgedImages,
    compute=by_judge(_among_five),
    about="The share of images for which the right identity is among the judge's first five.",
    paper="GMI (Zhang et al., CVPR 2020), Sec. 4; Trap-MID (Liu & Chen, NeurIPS 2024), Sec. 4.1",
    hint="lower is safer",
)
AA1_WRONG_IDENTITY = Metric(
    name="attack_accuracy_1_wrong_identity",
    title="AA-1 under a wrong name",
    unit=Unit.SHARE,
    better="neither",
    of=JudgedImages,
    compute=by_judge(_under_another_name),
    about="A negative control: AA-1 when the images of each identity are assigned to another one, the same for every "
    "model and attack.",
    tables=("controls",),
)
KNN_DISTANCE = Metric(
    name="knn_distance",
    title="KNN distance",
    unit=Unit.NUMBER,
    better="higher",
    of=JudgedImages,
    compute=by_judge(_distance),
    about="Squared feature distance to the nearest private training image of the identity. By the evaluation "
    "classifier it is the "
    "papers' delta_eval, by a face embedder their delta_face; compare values of one judge only.",
    paper="GMI (Zhang et al., CVPR 2020), Sec. 4; PPA (Struppek et al., ICML 2022)",
    hint="squared; higher is safer",
    tables=("console", "main", "further"),
)
KNN_DISTANCE_L2 = Metric(
    name="knn_distance_l2",
    title="KNN distance, not squared",
    unit=Unit.NUMBER,
    better="higher",
    of=JudgedImages,
    compute=by_judge(_distance_l2),
    about="The same distance, not squared.",
    hint="higher is safer",
    tables=("further",),
)
PRIVATE_NEAREST = Metric(
    name="private_nearest_share",
    title="Private nearest",
    unit=Unit.SHARE,
    better="lower",
    of=NearestImages,
    compute=_private_nearest,
    about="The share of images that lie nearer to some private training image than to every one of an equal number of "
    "public images.",
    paper="Trap-MID (Liu & Chen, NeurIPS 2024), Table 3, there of a generator's random samples",
    hint="lower is safer",
    tables=("further",),
)
GENERATOR_PRIVATE_NEAREST = Metric(
    name="generator_private_nearest_share",
    title="Generator private nearest",
    unit=Unit.SHARE,
    better="lower",
    of=GeneratorSamples,
    compute=lambda evidence: _private_nearest(evidence.nearest),
    about="Private nearest of random samples of the generator that an attack trained with the target, before any "
    "search.",
    paper="Trap-MID (Liu & Chen, NeurIPS 2024), Table 3",
    tables=(),
)
JUDGE_DISAGREEMENT = Metric(
    name="judge_disagreement",
    title="Disagree",
    unit=Unit.SHARE,
    better="neither",
    of=JudgedImages,
    compute=_disagreement,
    about="The share of images in which some judge recognises the right identity first and another does not.",
    hint="share of images",
    tables=(),
)
FALSE_POSITIVE_RATE = Metric(
    name="false_positive_rate",
    title="Accepted public images",
    unit=Unit.SHARE,
    better="neither",
    of=PublicImages,
    compute=_accepted_strangers,
    about="A negative control: the share of public images that the judge accepts as the private identity that it "
    "names.",
    tables=("controls",),
)
METRICS = (
    AA1,
    AA1_ACCEPTED,
    AA1_CORRECTED,
    AA5,
    AA1_WRONG_IDENTITY,
    KNN_DISTANCE,
    KNN_DISTANCE_L2,
    PRIVATE_NEAREST,
    GENERATOR_PRIVATE_NEAREST,
    JUDGE_DISAGREEMENT,
    FALSE_POSITIVE_RATE,
)

OF_EACH_IMAGE: Mapping[str, Callable[[Ranked], Tensor]] = {
    AA1.name: _first,
    AA1_ACCEPTED.name: _first_and_accepted,
    AA5.name: _among_five,
    KNN_DISTANCE.name: _distance,
    KNN_DISTANCE_L2.name: _distance_l2,
}
"""The value (n,) of each image, by the name of the metric that is its mean, from what a run folder keeps."""
