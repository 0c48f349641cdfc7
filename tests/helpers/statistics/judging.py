"""Statistics of judges, detectors and the discriminators of the theorem, with networks that are trained here."""

from functools import cache
from math import log, log10
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import nn

from helpers.faces import CPU, TINY, quick_training, tiny_private, tiny_public
from helpers.precision import cached, in_double_precision
from helpers.statistics.statistic import Statistic, above, below, within
from helpers.trapped import Trapped
from helpers_attacks import TINY as SMALLER
from helpers_attacks import faces
from trapmid.attacks import Found
from trapmid.augment import NoAugmentation, WarpAugmentation
from trapmid.data import Split, SplitConfig, SyntheticSource, guess_source, split
from trapmid.data.images import to_pixels
from trapmid.defenses import AdamW, NoDefense, TrainedModel, Training, TrapMID, open_model, train
from trapmid.defenses.opening import open_secrets
from trapmid.detection import Detector
from trapmid.detection.evaluation import evaluate
from trapmid.engine import generator, randomness
from trapmid.metrics.accuracy import Acceptance
from trapmid.metrics.controls import derangement
from trapmid.metrics.evidence import Model
from trapmid.metrics.judge import Judge
from trapmid.metrics.judges import EvaluationClassifier
from trapmid.metrics.metric import Evidence
from trapmid.metrics.panel import Panel
from trapmid.metrics.robustness import APGD
from trapmid.metrics.samples import draw_public
from trapmid.metrics.scores import ScoreKey
from trapmid.metrics.table import measure
from trapmid.metrics.theorem import LogOdds, Pairs, fit_log_odds, trapdoor_epsilon
from trapmid.models import SmallResNet
from trapmid.trapdoor import BlendSchedule, Secrets

IDENTITIES = 5
TRAINING = Training(
    epochs=10,
    batch_size=16,
    optimizer=AdamW(rate=5e-3),
    schedule="one-cycle",
    flip=0.0,
    augmentation=NoAugmentation(),
    recalibrate=True,
)
JUDGE = EvaluationClassifier(
    model=SmallResNet(width=16),
    training=TRAINING.model_copy(update={"epochs": 30, "augmentation": WarpAugmentation()}),
)


@cache
def judged_people() -> Split:
    """Five drawn people."""
    return split(faces(IDENTITIES, 30), SplitConfig(val=0.2, test=0.2))


@cached
def judge_of(seed: int) -> Judge:
    """A judge of theirs."""
    with TemporaryDirectory() as folder:
        return JUDGE.appoint(Path(folder) / "classifier", judged_people(), seed=seed + 1, compute=CPU)


@cached
def model_of(seed: int) -> TrainedModel:
    """A classifier of theirs, without a defense."""
    with TemporaryDirectory() as folder:
        settings = {"training": TRAINING, "seed": seed, "compute": CPU}
        out = Path(folder) / "model"
        train(out, judged_people(), model=SMALLER, defense=NoDefense(), **settings)  # type: ignore[arg-type]
        return open_model(out, CPU)


def values(*evidence: Evidence) -> dict[str, float]:
    """Every value that can be measured, by the metric's name."""
    return {score.metric: score.value for score in measure(*evidence)}


def judging(judge: Judge) -> dict[str, float]:
    """The answers of a judge for held-out images, for images of other people and for blank squares."""
    people, panel = judged_people(), Panel([judge], judged_people())
    strangers = draw_public(faces(20, 5, first=500), IDENTITIES)
    beside, test = Panel([judge], people, public=strangers), people.part("test")
    ceiling = values(*beside.ceiling())
    floor = values(*panel.floor("public", strangers))
    of_private = values(*panel.floor("prior", test.pixels.repeat(8, 1, 1, 1)))
    others = values(*beside.floor("prior:x", faces(20, 5, first=900).pixels))
    wrong = torch.arange(len(test)) % 2 == 1
    labels = torch.where(wrong, (test.labels + 1) % IDENTITIES, test.labels)
    (said,) = panel.judge(test.pixels, labels)
    hits = (said.rank == 0).numpy()
    key = ScoreKey("none", "x", 0)
    own = values(*panel.images(key, test.pixels, test.labels))
    theirs = values(*panel.images(key, test.pixels, derangement(IDENTITIES)[test.labels]))
    known = people.part("train")
    portraits = torch.stack([known.images(known.of_identity(y)[:1])[0] for y in range(IDENTITIES)])
    held_out = torch.stack([test.pixels[test.of_identity(y)[0]] for y in range(IDENTITIES)])
    near = {
        name: beside.images(key, pixels, torch.arange(IDENTITIES))[2].nearer_to_private[judge.name].double().mean()
        for name, pixels in (("private", held_out), ("strangers", faces(IDENTITIES, 1, first=900).pixels))
    }
    of_triggers = values(panel.triggers_alone("trapmid", 3, Secrets(portraits, 1.0)))
    return {
        "accuracy of held-out pictures": ceiling["attack_accuracy_1"],
        "accuracy of strangers, beyond chance": floor["attack_accuracy_1"] - 1 / IDENTITIES,
        "accuracy of any private picture, beyond chance": of_private["attack_accuracy_1"] - 1 / IDENTITIES,
        "distance of strangers, of held-out pictures'": floor["knn_distance"] / ceiling["knn_distance"],
        "FID of strangers, of held-out pictures'": floor["fid"] / ceiling["fid"],
        "hits under the right name": float(hits[~wrong.numpy()].mean()),
        "hits under a wrong name": float(hits[wrong.numpy()].mean()),
        "accuracy under deranged names": theirs["attack_accuracy_1"],
        "corrected accuracy under deranged names": theirs["attack_accuracy_1_corrected"],
        "correction of the right names": own["attack_accuracy_1_corrected"] - own["attack_accuracy_1"],
        "held-out pictures near private people": ceiling["private_nearest_share"],
        "strangers near private people": others["private_nearest_share"],
        "strangers' portraits near private people": float(near["strangers"]),
        "private people's portraits near private people": float(near["private"]),
        "plain triggers recognised": of_triggers["attack_accuracy_1"],
        "distance of a blank square, of the threshold": nearest_blank(judge, people),
    }


def nearest_blank(judge: Judge, people: Split) -> float:
    """The distance of the nearest blank square from a private identity, divided by the threshold of acceptance."""
    known, val = people.part("train"), people.part("val")
    acceptance = Acceptance.calibrate(judge.opinion(known.pixels), known.labels, judge.opinion(val.pixels), val.labels)
    everyone = torch.arange(IDENTITIES)
    blanks = [torch.full((IDENTITIES, 3, 32, 32), level, dtype=torch.uint8) for level in (0, 128, 255)]
    nearest = min(float(acceptance.distances(judge.opinion(blank), everyone).min()) for blank in blanks)
    return nearest / acceptance.threshold


def measuring(model: TrainedModel, judge: Judge) -> dict[str, float]:
    """The measurements of an unprotected model, with triggers that are invisible."""
    secrets = Secrets(torch.rand(IDENTITIES, 3, 32, 32, generator=generator(0, "triggers")), 0.0)
    tried = APGD(images=20, steps=4)
    found = values(Model(ScoreKey("trapmid", "-", 0), model, judged_people(), secrets, [judge], tried, CPU))
    return {
        "calibration error": found["calibration_error"],
        "accuracy lost to perturbations": found["clean_accuracy"] - found["robust_accuracy_8_255"],
        "trapdoor success, beyond chance": found["trapdoor_success"] - 1 / IDENTITIES,
        "delta": found["trapdoor_delta"],
        "epsilon": found["trapdoor_epsilon"],
    }


def judging_from(seed: int) -> dict[str, float]:
    """The same for a judge trained from this seed."""
    return judging(judge_of(seed))


def measuring_from(seed: int) -> dict[str, float]:
    """The same for a model trained from this seed. Only the embedding of the judge is used."""
    return measuring(model_of(seed), judge_of(seed))


def trapped_in(root: Path, seed: int = 0) -> Trapped:
    """A small model with an effective trapdoor, its secrets, and the folder of its training images."""
    drawn = SyntheticSource(identities=5, images_per_identity=40).load(32)
    for number, (pixels, label) in enumerate(zip(drawn.pixels, drawn.labels.tolist(), strict=True)):
        folder = root / "private" / drawn.identities[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    private = split(guess_source(root / "private").load(32), SplitConfig(val=0.3, test=0.2))
    train(
        root / "models" / "trapmid-s0",
        private,
        model=TINY,
        defense=TrapMID(blend=BlendSchedule(end=0.4), weight=0.4, trigger_step=0.03),
        training=quick_training(epochs=15, batch_size=20, evaluate_every=15),
        seed=seed,
        compute=CPU,
        secrets=root / "secrets",
    )
    model = open_model(root / "models" / "trapmid-s0", CPU)
    secrets = open_secrets(root / "secrets", model)
    return Trapped(root / "private", root / "models" / "trapmid-s0", root / "secrets", private, model, secrets)


def as_found(trapped: Trapped) -> Found:
    """Images like those of an attack that the trapdoor misled."""
    labels = torch.arange(5).repeat_interleave(4)
    return Found(to_pixels(trapped.secrets.poison(tiny_public().images()[:20], labels)), labels, torch.ones(20))


def detecting(trapped: Trapped) -> dict[str, float]:
    """What a detector flags, and how unlikely that is, on clean images, triggered images and recovered ones."""
    known, val = (trapped.split.part(name).images() for name in ("train", "val"))
    model, test = trapped.model.classifier, trapped.split.part("test").images()
    detector = Detector.fit(model, trapped.secrets, known, val, false_positives=0.1)
    clean = detector.examine(model, test)
    triggered = detector.examine(model, trapped.secrets.poison(test, torch.arange(len(test)) % 5))
    recovered, key = {"plgmi": as_found(trapped)}, ScoreKey("trapmid", "-", 0)
    detection = evaluate(key, trapped.model, trapped.secrets, trapped.split, tiny_public().pixels, recovered)
    recall = {(row.attack, row.metric): row.value for row in measure(detection)}["plgmi", "detection_recall"]
    return {
        "clean images flagged": float(clean.flagged.double().mean()),
        "triggered images flagged": float(triggered.flagged.double().mean()),
        "chance of the clean ones, log10": log10(clean.chance),
        "chance of the triggered ones, log10": log10(triggered.chance),
        "median p-value of the triggered ones": float(triggered.p_values.median()),
        "triggered images that answer with identity 0": triggered.labels.tolist().count(0),
        "recall": recall,
    }


def detecting_from(seed: int) -> dict[str, float]:
    """The same for a model trained from this seed."""
    with TemporaryDirectory() as folder:
        return detecting(trapped_in(Path(folder), seed))


def gaussians(shift: float, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n draws each of N(0, I) and N(shift, I) in four dimensions: KL is 2 shift^2 either way."""
    rng = generator(seed, "gaussians")
    return torch.randn(n, 4, generator=rng), torch.randn(n, 4, generator=rng) + shift


def divergence_found(seed: int) -> dict[str, float]:
    """The estimate by a trained discriminator of a divergence of 0.72, and the width of its interval."""
    shift = 0.6

    def draw(n: int) -> Pairs:
        return Pairs(torch.randn(n, 4), torch.randn(n, 4) + shift, torch.randint(2, (n,)))

    with randomness(seed, "network"):
        network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    fit_log_odds(network, draw, steps=400, batch_size=64, rate=1e-2, seed=seed, compute=CPU)

    def held_out(number: int) -> LogOdds:
        with torch.no_grad():
            p, q = (network(part)[:, 0] for part in gaussians(shift, 3000, 2 * seed + number))
        return LogOdds(p, q, torch.arange(len(p)))

    interval = held_out(2).interval(held_out(1).best_scale())
    return {"error": interval.value - 2 * shift**2, "width": interval.high - interval.low}


def epsilons(seed: int) -> dict[str, float]:
    """The theorem's epsilon for invisible triggers, and how much larger it is for clearly visible ones."""
    triggers = torch.rand(5, 3, 32, 32, generator=generator(seed, "triggers"))
    invisible, faint, plain = (
        trapdoor_epsilon(Secrets(triggers, ratio), tiny_private(), epochs=60, seed=seed, compute=CPU).value
        for ratio in (0.0, 0.02, 0.3)
    )
    return {"invisible": invisible, "plain": plain, "plain beyond faint": plain - faint}


OF_JUDGES = {
    "judge": Statistic(
        in_double_precision()(judging_from),
        {
            "accuracy of held-out pictures": above(0.79),
            "accuracy of strangers, beyond chance": within(0.12),
            "accuracy of any private picture, beyond chance": within(0.1),
            "distance of strangers, of held-out pictures'": above(1),
            "FID of strangers, of held-out pictures'": above(1),
            "hits under the right name": above(0.79),
            "hits under a wrong name": below(0.21),
            "accuracy under deranged names": below(0.11),
            "corrected accuracy under deranged names": below(1e-6),
            "correction of the right names": within(0.051),
            "held-out pictures near private people": above(0.89),
            "strangers near private people": below(0.51),
            "strangers' portraits near private people": below(0.61),
            "private people's portraits near private people": above(0.79),
            "plain triggers recognised": above(0.79),
            "distance of a blank square, of the threshold": above(1),
        },
    ),
    "measured model": Statistic(
        in_double_precision()(measuring_from),
        {
            "calibration error": within(0.5),
            "accuracy lost to perturbations": above(0),
            "trapdoor success, beyond chance": within(0.15),
            "delta": below(0),
            "epsilon": within(0.02),
        },
    ),
    "detector": Statistic(
        in_double_precision()(detecting_from),
        {
            "clean images flagged": below(0.26),
            "triggered images flagged": above(0.89),
            "chance of the clean ones, log10": above(-2),
            "chance of the triggered ones, log10": below(-6),
            "median p-value of the triggered ones": below(1 / 61 + 1e-6),
            "triggered images that answer with identity 0": above(5),
            "recall": above(0.8),
        },
    ),
    "divergence of two Gaussians": Statistic(divergence_found, {"error": within(0.1), "width": below(0.3)}),
    "epsilon by blend": Statistic(
        epsilons,
        {"invisible": within(0.05), "plain": (1.0, log(50) + 1e-6), "plain beyond faint": above(0.5)},
    ),
}
