"""Metrics of the cost of attacks, and of the priors that they search."""

from collections.abc import Callable, Iterator

from trapmid.metrics.evidence import AttackCost, FinishedAttack, PriorSamples
from trapmid.metrics.intervals import without
from trapmid.metrics.metric import Measured, Metric
from trapmid.metrics.units import Unit
from trapmid.types import Images


def outside_range(images: Images, rounding: float = 1e-3) -> float:
    """The share of values of images (n, c, h, w) that are NaN or outside [0, 1] by more than `rounding`."""
    return 1 - float(((images >= -rounding) & (images <= 1 + rounding)).double().mean())


def _outside_range(evidence: PriorSamples) -> Iterator[Measured]:
    yield Measured(without(outside_range(evidence.raw)))


def _queries(evidence: FinishedAttack) -> Iterator[Measured]:
    yield Measured(without(float(evidence.manifest.fact("queries", int))))


def _confidence(evidence: FinishedAttack) -> Iterator[Measured]:
    yield Measured(without(evidence.manifest.fact("confidence", float)))


def _seconds(evidence: AttackCost) -> Iterator[Measured]:
    yield Measured(without(evidence.manifest.seconds))


def _note(name: str) -> Callable[[AttackCost], Iterator[Measured]]:
    def compute(evidence: AttackCost) -> Iterator[Measured]:
        value = evidence.note(name)
        if value is not None:
            yield Measured(without(value))

    return compute


QUERIES = Metric(
    name="queries",
    title="Queries",
    unit=Unit.COUNT,
    better="higher",
    of=FinishedAttack,
    compute=_queries,
    about="How many images the attack showed to the target.",
    tables=(),
)
TARGET_CONFIDENCE = Metric(
    name="target_confidence",
    title="Target confidence",
    unit=Unit.SHARE,
    better="neither",
    of=FinishedAttack,
    compute=_confidence,
    about="The mean confidence of the target in the attacked identity on its reconstructions.",
    tables=(),
)
OUTSIDE_RANGE = Metric(
    name="outside_range_share",
    title="Values outside [0, 1]",
    unit=Unit.SHARE,
    better="neither",
    of=PriorSamples,
    compute=_outside_range,
    about="The share of pixel values outside [0, 1] in random samples of a prior's generator. Attacks show these "
    "values to the target, "
    "but saved images are clipped.",
    tables=(),
)
ATTACK_SECONDS = Metric(
    name="attack_seconds",
    title="Attack",
    unit=Unit.SECONDS,
    better="higher",
    of=AttackCost,
    compute=_seconds,
    about="Wall-clock time of the attack, over all runs that it took. In reproductions, not in scores.json.",
    tables=(),
)
START_BATCHES = Metric(
    name="start_batches",
    title="Initial iterations",
    unit=Unit.COUNT,
    better="higher",
    of=AttackCost,
    compute=_note("start_batches"),
    about="The number of batches of random images that BREP-MI shows to the target until it has a start for each "
    "identity. In "
    "reproductions, not in scores.json.",
    paper="BREP-MI (Kahla et al., CVPR 2022); Trap-MID (Liu & Chen, NeurIPS 2024), App. E.9",
    tables=(),
)
IDENTITIES_WITHOUT_START = Metric(
    name="identities_without_start",
    title="Without a start",
    unit=Unit.COUNT,
    better="higher",
    of=AttackCost,
    compute=_note("identities_without_start"),
    about="The number of identities for which BREP-MI finds no image that the target assigns to them. In "
    "reproductions, not in "
    "scores.json.",
    paper="BREP-MI (Kahla et al., CVPR 2022); Trap-MID (Liu & Chen, NeurIPS 2024), App. E.9",
    tables=(),
)
METRICS = (QUERIES, TARGET_CONFIDENCE, OUTSIDE_RANGE, ATTACK_SECONDS, START_BATCHES, IDENTITIES_WITHOUT_START)
