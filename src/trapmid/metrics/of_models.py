"""Metrics of a trained classifier: its accuracy, the cost of a defense, and the quality of its trapdoor."""

from collections.abc import Iterator

from trapmid.metrics.evidence import Model, TrainingCost
from trapmid.metrics.intervals import Interval, over_identities, without
from trapmid.metrics.metric import Measured, Metric
from trapmid.metrics.robustness import without_gradient
from trapmid.metrics.theorem import trapdoor_epsilon
from trapmid.metrics.units import Unit
from trapmid.metrics.utility import calibration_error

_TRAPMID = "Trap-MID (Liu & Chen, NeurIPS 2024)"


def _clean_accuracy(evidence: Model) -> Iterator[Measured]:
    labels = evidence.private.part("test").labels
    yield Measured(over_identities((evidence.logits.argmax(1) == labels).double(), labels))


def _calibration_error(evidence: Model) -> Iterator[Measured]:
    yield Measured(without(calibration_error(evidence.logits, evidence.private.part("test").labels)))


def _zero_gradients(evidence: Model) -> Iterator[Measured]:
    if not evidence.differentiable:
        return
    images, labels = evidence.sampled
    yield Measured(over_identities(without_gradient(evidence.model.classifier, images, labels).double(), labels.cpu()))


def _robust_accuracy(evidence: Model) -> Iterator[Measured]:
    if evidence.robustness is not None and evidence.differentiable:
        images, labels = evidence.sampled
        for budget, stands in evidence.robustness.stands(evidence.model.classifier, images, labels).items():
            yield Measured(over_identities(stands.double(), labels.cpu()), variant=f"_{budget}_255")


def _privacy_epsilon(evidence: Model) -> Iterator[Measured]:
    manifest = evidence.model.manifest
    if "epsilon" in manifest.facts:
        yield Measured(without(manifest.fact("epsilon", float)))


def _trapdoor_success(evidence: Model) -> Iterator[Measured]:
    if evidence.trapdoor is not None:
        rates, _ = evidence.trapdoor
        yield Measured(Interval(sum(rates) / len(rates), min(rates), max(rates)))


def _delta(evidence: Model) -> Iterator[Measured]:
    if evidence.trapdoor is not None:
        yield Measured(evidence.trapdoor[1].mean())


def _delta_worst(evidence: Model) -> Iterator[Measured]:
    if evidence.trapdoor is not None:
        yield Measured(min(evidence.trapdoor[1].of_classes()))


def _epsilon(evidence: Model) -> Iterator[Measured]:
    if evidence.secrets is not None:
        yield Measured(trapdoor_epsilon(evidence.secrets, evidence.private, compute=evidence.compute))


def _seconds(evidence: TrainingCost) -> Iterator[Measured]:
    yield Measured(without(evidence.manifest.seconds))


CLEAN_ACCURACY = Metric(
    name="clean_accuracy",
    title="Clean accuracy",
    unit=Unit.SHARE,
    better="higher",
    of=Model,
    compute=_clean_accuracy,
    about="The share of private test images that the model classifies correctly.",
    hint="higher is more useful",
    tables=("console", "main", "price"),
)
TRAPDOOR_SUCCESS = Metric(
    name="trapdoor_success",
    title="Trapdoor success",
    unit=Unit.SHARE,
    better="higher",
    of=Model,
    compute=_trapdoor_success,
    about="The share of private test images that the model assigns to the class whose trigger was blended into them.",
    paper=f"{_TRAPMID}, App. C.4",
    hint="should be near 100\u00a0%",
)
TRAPDOOR_DELTA = Metric(
    name="trapdoor_delta",
    title="Delta",
    unit=Unit.NATS,
    better="higher",
    of=Model,
    compute=_delta,
    about="The effectiveness of the trapdoor: how much more confident the model is in a class on any image with its "
    "trigger than on real images of that class. The mean over classes.",
    paper=f"{_TRAPMID}, Def. 1",
    hint="should exceed epsilon",
    tables=("main",),
)
TRAPDOOR_DELTA_WORST = Metric(
    name="trapdoor_delta_worst",
    title="Delta of the worst class",
    unit=Unit.NATS,
    better="higher",
    of=Model,
    compute=_delta_worst,
    about="Delta of the class with the lowest value.",
    paper=f"{_TRAPMID}, Def. 1",
    tables=(),
)
TRAPDOOR_EPSILON = Metric(
    name="trapdoor_epsilon",
    title="Epsilon",
    unit=Unit.NATS,
    better="lower",
    of=Model,
    compute=_epsilon,
    about="The unnaturalness of the trapdoor: a lower bound of the divergence between private images with and without "
    "a trigger, estimated by a trained discriminator.",
    paper=f"{_TRAPMID}, Def. 2; Donsker & Varadhan 1983",
    hint="lower bound",
    tables=("main",),
)
CALIBRATION_ERROR = Metric(
    name="calibration_error",
    title="Calibration error",
    unit=Unit.SHARE,
    better="lower",
    of=Model,
    compute=_calibration_error,
    about="The mean gap between the model's confidence and its accuracy, over 15 levels of confidence.",
    paper="Naeini et al., AAAI 2015; Guo et al., ICML 2017",
    hint="lower is better",
    tables=("price",),
)
ZERO_GRADIENT = Metric(
    name="zero_gradient_share",
    title="No gradient",
    unit=Unit.SHARE,
    better="neither",
    of=Model,
    compute=_zero_gradients,
    about="The share of private test images at which the loss of another class has no usable gradient, so that a "
    "white-box attack has no direction to follow.",
    hint="should be 0",
    tables=("price",),
)
PRIVACY_EPSILON = Metric(
    name="privacy_epsilon",
    title="Privacy epsilon",
    unit=Unit.NUMBER,
    better="lower",
    of=Model,
    compute=_privacy_epsilon,
    about="The epsilon of a differentially private training, from its manifest.",
    paper="DP-SGD (Abadi et al., CCS 2016)",
    hint="of the training; lower is safer",
    tables=("price",),
)
ROBUST_ACCURACY = Metric(
    name="robust_accuracy",
    title="Robust accuracy",
    unit=Unit.SHARE,
    better="higher",
    of=Model,
    compute=_robust_accuracy,
    about="The share of a sample of private test images that the model still classifies correctly after the worst "
    "change that a short search finds, when each pixel may change by at most R/255, for each radius R of the recipe.",
    paper="AutoAttack (Croce & Hein, ICML 2020), APGD-CE",
    hint="within {}/255",
    tables=("price",),
    variants=r"_(\d+)_255",
)
TRAINING_SECONDS = Metric(
    name="training_seconds",
    title="Training",
    unit=Unit.SECONDS,
    better="lower",
    of=TrainingCost,
    compute=_seconds,
    about="Wall-clock time of the training, over all runs that it took. In reproductions, not in scores.json.",
    tables=(),
)
BEFORE_IMAGES = (CLEAN_ACCURACY,)
AFTER_IMAGES = (
    TRAPDOOR_SUCCESS,
    TRAPDOOR_DELTA,
    TRAPDOOR_DELTA_WORST,
    TRAPDOOR_EPSILON,
    CALIBRATION_ERROR,
    ZERO_GRADIENT,
    PRIVACY_EPSILON,
    ROBUST_ACCURACY,
    TRAINING_SECONDS,
)
