"""Measuring: reconstructions, models, private images and judges in, one tidy table out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trapmid.artifacts import Manifest
from trapmid.attacks import Found
from trapmid.data.images import ImageSet, to_pixels
from trapmid.data.splits import Split
from trapmid.defenses import TrainedModel
from trapmid.defenses.opening import logits_on
from trapmid.engine import Compute, generator, randomness
from trapmid.metrics.intervals import Interval, over_identities, over_seeds, without
from trapmid.metrics.judges import Judge, check_independent
from trapmid.metrics.panel import Panel
from trapmid.metrics.robustness import APGD, without_gradient
from trapmid.metrics.scores import GENERATOR_NEAREST, NOBODY, PRIOR_FLOOR, Cell, Score
from trapmid.metrics.theorem import trapdoor_delta, trapdoor_epsilon
from trapmid.metrics.utility import calibration_error
from trapmid.priors import Prior
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.secrets import trapdoor_success
from trapmid.types import Images, Labels, Pixels

FLOOR_IMAGES_PER_IDENTITY = 20

RAW_IMAGES = 64
"""Pictures of a prior whose range is looked at."""


def measure_model(
    cell: Cell,
    model: TrainedModel,
    private: Split,
    secrets: Secrets | None,
    judges: Sequence[Judge] = (),
    compute: Compute | None = None,
    robustness: APGD | None = None,
) -> Iterator[Score]:
    """Clean accuracy, calibration error, gradients and robust accuracy on the test split; of a trapdoor its success and the theorem's numbers.

    `privacy_epsilon` is what a differentially private training achieved, by its manifest.

    The theorem's are delta (mean, worst class) and epsilon. Robust accuracy at a radius of b/255 is `robust_accuracy_b_255`, of some
    test images.

    Raises:
        UserError: a judge is not independent of the model.
    """
    for judge in judges:
        check_independent(judge, model.classifier, model.manifest.recipe["model"])
    test = private.part("test")
    logits = logits_on(model.classifier, test)
    right = logits.argmax(1) == test.labels
    yield cell.score(NOBODY, "clean_accuracy", over_identities(right.double(), test.labels))
    yield cell.score(NOBODY, "calibration_error", without(calibration_error(logits, test.labels)))
    device = next(model.classifier.parameters()).device
    some = torch.randperm(len(test), generator=generator(0, "robustness", "images"))[: (robustness or APGD()).images]
    shown, labels = test.images(some).to(device), test.labels[some].to(device)
    blind = without_gradient(model.classifier, shown, labels)
    yield cell.score(NOBODY, "zero_gradient_share", over_identities(blind.double(), test.labels[some]))
    if robustness is not None:
        for budget, stands in robustness.stands(model.classifier, shown, labels).items():
            interval = over_identities(stands.double(), test.labels[some])
            yield cell.score(NOBODY, f"robust_accuracy_{budget}_255", interval)
    if "epsilon" in model.manifest.facts:
        yield cell.score(NOBODY, "privacy_epsilon", without(model.manifest.facts["epsilon"]))
    if secrets is not None:
        images = test.images().to(device)
        with randomness(0, "measure", device=images.device):  # a model may draw when it answers
            rates = [
                trapdoor_success(model.classifier, secrets, images, generator(draw, "trapdoor success"))
                for draw in range(5)
            ]
            effectiveness = trapdoor_delta(model.classifier, secrets, test)
        yield cell.score(NOBODY, "trapdoor_success", Interval(sum(rates) / len(rates), min(rates), max(rates)))
        yield cell.score(NOBODY, "trapdoor_delta", effectiveness.mean())
        yield cell.score(NOBODY, "trapdoor_delta_worst", min(effectiveness.of_classes()))
        yield cell.score(NOBODY, "trapdoor_epsilon", trapdoor_epsilon(secrets, private, compute=compute or Compute()))


def measure_prior(name: str, prior: Prior, panel: Panel) -> Iterator[Score]:
    """The floor: random samples of a prior that knows no target, and the share of values outside [0, 1] of some as it makes them."""
    floor, labels = f"{PRIOR_FLOOR}{name}", _everybody(panel)
    yield from panel.floor(floor, to_pixels(prior.sample(labels, generator(0, "prior floor"))))
    some = labels[:RAW_IMAGES]
    latents = torch.randn(len(some), prior.latent_size, generator=generator(0, "prior range"))
    with torch.no_grad():
        raw = prior.decode(latents.to(prior.device), some.to(prior.device))
    yield Cell(NOBODY, floor, None).score(NOBODY, "outside_range_share", without(outside_range(raw)))


def measure_generator(cell: Cell, prior: Prior, panel: Panel) -> Iterator[Score]:
    """Random samples of the generator that an attack trained with the target's help, before any search: private or public (Trap-MID, Table 3)?

    As many of every identity as the floor takes, where the paper draws 30,000.
    """
    labels = _everybody(panel)
    pixels = to_pixels(prior.sample(labels, generator(0, "generator samples")))
    for judge, nearer in panel.private_nearest(pixels).items():
        yield cell.score(judge, GENERATOR_NEAREST, over_identities(nearer.double(), labels))


def _everybody(panel: Panel) -> Labels:
    return torch.arange(panel.num_classes).repeat(FLOOR_IMAGES_PER_IDENTITY)


def outside_range(images: Images, rounding: float = 1e-3) -> float:
    """Share of values outside [0, 1] by more than `rounding`, of pictures (n, c, h, w) as a generator makes them; what is no number counts."""
    return 1 - float(((images >= -rounding) & (images <= 1 + rounding)).double().mean())


def draw_public(public: ImageSet, identities: int, seed: int = 0) -> Pixels:
    """Public images drawn at random, as many as the floor takes."""
    wanted = min(len(public), FLOOR_IMAGES_PER_IDENTITY * identities)
    return public.pixels[torch.randperm(len(public), generator=generator(seed, "public floor"))[:wanted]]


def over_all_seeds(scores: Iterable[Score]) -> Iterator[Score]:
    """For every row with a seed, its mean over seeds with the interval over seeds."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for score in scores:
        if score.seed is not None:
            groups.setdefault((score.defense, score.attack, score.judge, score.metric), []).append(score.value)
    for (defense, attack, judge, metric), values in groups.items():
        yield Cell(defense, attack, None).score(judge, metric, over_seeds(values))


def write_samples(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Verdicts image by image, as Parquet."""
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def effort(cell: Cell, manifest: Manifest) -> Iterator[Score]:
    """What an attack asked and thought it had, from its manifest.

    `queries`: images shown to the target. `target_confidence`: how sure the target is, on average, that a picture shows whom it is meant
    to show. Seconds stay in manifests: equal runs have equal scores.
    """
    yield cell.score(NOBODY, "queries", without(float(manifest.facts["queries"])))
    yield cell.score(NOBODY, "target_confidence", without(manifest.facts["confidence"]))


def measure_found(cell: Cell, found: Found, panel: Panel) -> tuple[list[Score], list[dict[str, Any]]]:
    """Scores and image-by-image verdicts of one attack's reconstructions."""
    verdicts = panel.judge(found.pixels, found.labels)
    identities = panel.private.images.identities
    rows = [row for one in verdicts for row in one.rows(cell, identities, found.confidence)]
    return list(panel.scores(cell, verdicts, found.pixels, found.labels)), rows
