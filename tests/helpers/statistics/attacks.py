"""Statistics of searches, and of what surrogates and class heads learn."""

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from helpers.faces import TINY as WIDE
from helpers.faces import tiny_private, tiny_public
from helpers.precision import cached, in_double_precision
from helpers.statistics.statistic import Statistic, above, below
from helpers_attacks import (
    CLASSES,
    CPU,
    PLGMI_TINY,
    PPA_TINY,
    SIZE,
    TINY,
    TINY_ATTACKS,
    TINY_DCGAN,
    TINY_GAN,
    TINY_TACGAN,
    faces,
    prior_of,
    target_of,
    trained_classifier,
)
from trapmid.attacks import IFGMI, KEDMI, PLGMI, Attack, Distilled, MIFace, Robust, Run, Unlearned
from trapmid.attacks.distillation import Distillation, divergence
from trapmid.attacks.plgmi import PseudoLabelGuided
from trapmid.attacks.robust import perturbed
from trapmid.attacks.surrogates import agreement
from trapmid.attacks.wrapping import Wrapper
from trapmid.augment import NoAugmentation
from trapmid.data import ImageSet
from trapmid.data.images import to_unit
from trapmid.engine import generator, randomness, read_log
from trapmid.models import Classifier
from trapmid.priors import Prior, PriorTraining
from trapmid.priors.tacgan import ClassHead, TACGANFit
from trapmid.trapdoor import BlendSchedule, Trapdoor, TrapdoorSettings, trapdoor_success
from trapmid.types import Images, Labels

EVERYONE = torch.arange(CLASSES)


@cached
def small_target(seed: int) -> Classifier:
    """A tiny classifier of four drawn people."""
    return trained_classifier(faces(CLASSES, 10), seed=seed)


@cache
def strangers() -> ImageSet:
    """Eight other people."""
    return faces(8, 4, first=100)


def from_everyone(method: Attack[Any, Any]) -> Attack[Any, Any]:
    """The same attack; if it trains a GAN, then from one that shows all identities (see `prior_of`)."""
    match method:
        case PseudoLabelGuided():
            return method.model_copy(update={"warm_start": TINY_GAN})
        case KEDMI():
            return method.model_copy(update={"warm_start": TINY_DCGAN})
        case Wrapper():
            return method.model_copy(update={"base": from_everyone(method.base)})
    return method


def gain(kind: str, seed: int) -> dict[str, float]:
    """The target's mean probability of the identity, in what a search found and in random pictures that it starts from.

    Both are asked on the same scale, also where the attack sees labels alone.
    """
    config, model = from_everyone(TINY_ATTACKS[kind]), small_target(seed)
    target = target_of(model, config.needs)
    with TemporaryDirectory() as folder:
        run = Run(3 * seed + 3, CPU, Path(folder), prior_of(config, seed))
        found = config.invert(target, config.prepare(target, strangers(), run), EVERYONE, run)
        own = config.own_prior()
        prior = run.prior if own is None else own.open_generator(run.folder, CLASSES, target.image_shape, CPU)
    labels = EVERYONE.repeat_interleave(50)
    if prior is None:
        start = strangers().images().repeat(len(labels) // len(strangers()) + 1, 1, 1, 1)[: len(labels)]
    else:
        start = prior.sample(labels, generator(9, "before"))
    return {"gain": probability(model, to_unit(found.pixels), found.labels) - probability(model, start, labels)}


def probability(model: Classifier, images: Images, labels: Labels) -> float:
    """The mean probability that the model gives images of their labels."""
    return float(target_of(model).scores(images).gather(1, labels[:, None]).mean())


def sureness(method: Attack[Any, Any], prior: Prior, seed: int, *, prepare: bool = True) -> float:
    """The mean logarithm of the target's confidence in what a search found."""
    with TemporaryDirectory() as folder:
        run, target = Run(seed, CPU, Path(folder), prior), target_of(small_target(seed))
        if prepare:
            method.prepare(target, faces(2, 2), run)
        return float(method.invert(target, prior, EVERYONE, run).confidence.log().mean())


def candidates(seed: int) -> dict[str, float]:
    """The gain in the target's confidence from the first to the best of twenty random images."""
    gan = TINY_GAN.fit(PriorTraining(faces(6, 4, first=100), CLASSES, seed, CPU))
    options: dict[str, Any] = {
        "images_per_identity": 1,
        "search_steps": 1,
        "search_rate": 1e-6,
        "augmentations": 1,
        "search_augmentation": NoAugmentation(),
    }
    few, many = (sureness(PLGMI(candidates=n, **options), gan, seed, prepare=False) for n in (1, 20))
    return {"surer": many - few}


def layers(seed: int) -> dict[str, float]:
    """The gain in the target's confidence by the search of the layers, after the same few steps for the styles."""
    prior = prior_of(PPA_TINY, seed)
    assert prior is not None
    options: dict[str, Any] = {"radii": (0.5, 0.5), "balls": "relative", "picture": "kept"}
    options["ppa"] = PPA_TINY.model_copy(update={"search_steps": 3, "search_rate": 0.03})
    styles, features = (sureness(IFGMI(layer_steps=n, **options), prior, seed) for n in ((0, 0), (25, 25)))
    return {"surer": features - styles}


def miface(seed: int) -> dict[str, float]:
    """The target's confidence in the worst and the best image of MI-FACE, which may stop at one half."""
    method, target = MIFace(search_rate=1.0, sure_enough=0.5, search_steps=60), target_of(small_target(seed))
    with TemporaryDirectory() as folder:
        run = Run(seed, CPU, Path(folder))
        found = method.invert(target, method.prepare(target, faces(2, 2), run), EVERYONE, run)
    return {"least sure": float(found.confidence.min())}


def distilled(seed: int) -> dict[str, float]:
    """The share of public images for which a student and its target predict the same identity."""
    config, target = TINY_ATTACKS["distilled"], target_of(small_target(seed))
    assert isinstance(config, Distilled)
    with TemporaryDirectory() as folder:
        student = config.stand_in(target, strangers(), Run(seed, CPU, Path(folder))).target
    named = target.labels(strangers().images())
    return {"agreement": float((student.labels(strangers().images()) == named).float().mean())}


def perturbations(seed: int) -> dict[str, float]:
    """How much further worst-case perturbations move the answers than signs drawn at random."""
    model, images = small_target(seed), strangers().images()
    with torch.no_grad(), randomness(seed, "noise"):
        scores = model(images).logits.softmax(1)
        noise = (images + 0.03 * torch.rand_like(images).sub(0.5).sign()).clamp(0, 1)
    moved = perturbed(model, images, scores, 0.03, 4).detach()
    with torch.no_grad():
        ratio = divergence(scores, model(moved).logits) / divergence(scores, model(noise).logits)
    return {"ratio": float(ratio)}


def robust(seed: int) -> dict[str, float]:
    """How far a robust student's answers move, relative to a plain one's, and their distance to the target's."""
    study: dict[str, Any] = {"base": PLGMI_TINY, "student": TINY, "augmentation": NoAugmentation(), "batch_size": 16}
    study |= {"steps": 150, "rate": 1e-2}
    target, images = target_of(small_target(seed)), strangers().images()
    scores, moved, away = target.scores(images), [], 0.0
    for config in (Distilled(**study), Robust(radius=0.03, perturbation_steps=2, weight=2.0, **study)):
        with TemporaryDirectory() as folder:
            student = config.stand_in(target, strangers(), Run(seed, CPU, Path(folder))).target
        with randomness(seed, "worst"):
            worst = perturbed(student.copy(), images, student.scores(images), 0.03, 10).detach()
        moved.append(float((student.scores(images) - student.scores(worst)).abs().sum(1).mean() / 2))
        away = float((student.scores(images) - scores).abs().sum(1).mean() / 2)
    return {"moved, of a plain student's": moved[1] / moved[0], "from its target": away}


def trapped(seed: int) -> tuple[Classifier, Trapdoor]:
    """A Trap-MID model of five identities, with triggers that are strong enough to be learned in a hundred steps."""
    train = tiny_private().part("train")
    with randomness(seed, "trapped"):
        network = WIDE.build(5, 32, 3).train()
        optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
        trapdoor = Trapdoor(
            network,
            optimizer,
            num_classes=5,
            image_shape=(3, 32, 32),
            total_steps=100,
            settings=TrapdoorSettings(blend=BlendSchedule(end=0.1), weight=0.5, trigger_step=0.03),
            augment=lambda images: images,
            seed=seed,
        )
        for _ in range(100):
            rows = torch.randint(len(train), (20,))
            optimizer.zero_grad()
            trapdoor.loss(train.images(rows), train.labels[rows]).backward()
            optimizer.step()
    return network.eval(), trapdoor


def unlearned(seed: int) -> dict[str, float]:
    """Success of the true triggers before and after unlearning, of the estimated ones, and the copy's accuracy."""
    network, trapdoor = trapped(seed)
    secrets, test, public = trapdoor.secrets(), tiny_private().part("test").images(), tiny_public()
    config = Unlearned(
        base=PLGMI_TINY,
        augmentation=NoAugmentation(),
        blend_ratio=0.1,
        trigger_steps=100,
        trigger_step=0.03,
        steps=200,
        batch_size=20,
        rate=2e-3,
    )
    target = target_of(network)
    with TemporaryDirectory() as folder:
        copied = config.stand_in(target, public, Run(seed, CPU, Path(folder))).target.copy()
        estimated = read_log(Path(folder) / "triggers" / "log.jsonl")[-1]["success"]
    before, after = (trapdoor_success(net, secrets, test, generator(0, "success")) for net in (network, copied))
    return {
        "success before": before,
        "of the estimated": estimated,
        "after": after,
        "agreement": agreement(copied, public.pixels, target.labels(public.images())),
    }


class Brightness(nn.Module):
    """Tells classes 0 to 3 apart by how bright an image is."""

    def forward(self, images: Images) -> torch.Tensor:
        level = images.mean((1, 2, 3))[:, None]
        return -(level - torch.tensor([0.2, 0.4, 0.6, 0.8])).square()


def by_brightness(images: Images) -> Labels:
    """The class of each image."""
    return Brightness()(images).argmax(1)


class Painter(nn.Module):
    """A generator of grey images of every brightness, whatever the label."""

    def forward(self, latents: torch.Tensor, labels: Labels) -> Images:
        del labels
        return torch.sigmoid(2 * latents[:, 0])[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def head(seed: int) -> dict[str, float]:
    """How much more often LOKT's class head agrees with its target on new images than the most frequent class would."""
    fit = TACGANFit(TINY_TACGAN, PriorTraining(faces(6, 4), CLASSES, seed, CPU), by_brightness)
    fit.generator = Painter()
    descent = torch.optim.Adam(fit.discriminator.parameters(), 5e-3)
    for step in range(400):
        with randomness(seed, "head", step):
            losses, _ = fit.discriminator_losses()
        descent.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        descent.step()
    with randomness(seed, "not taught"), torch.no_grad():
        images = fit.generator(torch.randn(200, TINY_TACGAN.networks.latent_size), torch.zeros(200, dtype=torch.int64))
        agreed = ClassHead(fit.discriminator.eval())(images).logits.argmax(1) == by_brightness(images)
    most = float(by_brightness(images).bincount().max() / len(images))
    return {"agreement": float(agreed.float().mean()), "beyond the commonest": float(agreed.float().mean()) - most}


def students(seed: int) -> dict[str, float]:
    """LOMMA's student: its divergence from the target relative to a uniform answer's, and their agreement."""
    target, public = target_of(small_target(seed)), strangers()
    answers = target.scores(public.images())
    with TemporaryDirectory() as folder:
        run = Run(seed, CPU, Path(folder))
        student = Distillation(epochs=30, batch_size=8).teach(TINY, "student 0", public, answers, target, run)
    with torch.no_grad():
        said = student(public.images()).logits
    return {
        "divergence": float(divergence(answers, said)) / float(divergence(answers, torch.zeros_like(answers))),
        "agreement": float((said.argmax(1) == answers.argmax(1)).double().mean()),
    }


GAINS = {f"gain of {kind}": Statistic(partial(gain, kind), {"gain": above(0.05)}) for kind in TINY_ATTACKS}
OF_ATTACKS = GAINS | {
    "candidates of plgmi": Statistic(candidates, {"surer": above(0)}),
    "layers of ifgmi": Statistic(in_double_precision()(layers), {"surer": above(0)}),
    "miface stops": Statistic(miface, {"least sure": above(0.45)}),
    "student of distilled": Statistic(in_double_precision()(distilled), {"agreement": above(0.7)}),
    "perturbations": Statistic(perturbations, {"ratio": above(3)}),
    "student of robust": Statistic(
        in_double_precision()(robust), {"moved, of a plain student's": below(0.6), "from its target": below(0.3)}
    ),
    "unlearned": Statistic(
        in_double_precision()(unlearned),
        {"success before": above(0.9), "of the estimated": above(0.5), "after": below(0.6), "agreement": above(0.8)},
    ),
    "head of lokt": Statistic(head, {"agreement": above(0.6), "beyond the commonest": above(0.05)}),
    "student of lomma": Statistic(in_double_precision()(students), {"divergence": below(0.3), "agreement": above(0.8)}),
}
