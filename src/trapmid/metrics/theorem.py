"""Theorem 1 of Trap-MID for a trained trapdoor: delta says how effective it is, and epsilon how unnatural."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from torch import Tensor, nn

from trapmid.data.images import ImageSet, to_unit
from trapmid.data.splits import Split
from trapmid.engine import Compute, Loop, generator, randomness
from trapmid.metrics.intervals import LEVEL, Interval
from trapmid.models import ModelConfig, Tiny
from trapmid.trapdoor import Secrets
from trapmid.trapdoor.naturalness import discriminator_accuracy, discriminator_loss
from trapmid.trapdoor.triggers import stratified_labels
from trapmid.types import Images, Labels, logits_of

MOST_SOURCES = 256
"""Images that each class's trigger is blended into; of more, a random part."""

DISCRIMINATOR = Tiny(widths=(16, 32, 64, 64))
"""Small, and flattened at the end: a trigger is a fixed picture, so where a pixel lies tells it."""

PAIRS_PER_IMAGE = 5
"""Classes whose trigger a held-out image gets when epsilon is evaluated."""


@dataclass(frozen=True, eq=False)
class Effectiveness:
    """What Definition 1 compares, image by image.

    Attributes:
        poisoned: (num_classes, n), log p_f(y | Pi_y(x)) for every class y and image x.
        sources: (n,), the true identity of each of these images.
        benign: (m,), log p_f(y | x) of images of their own class y.
        labels: (m,), those classes; every class occurs.
    """

    poisoned: Tensor
    sources: Labels
    benign: Tensor
    labels: Int64[Tensor, " m"]

    def of_classes(self, *, draws: int = 2000, seed: int = 0) -> list[Interval]:
        """delta of every class: E_x[log p_f(y | Pi_y(x))] - E_{x of y}[log p_f(y | x)], in nats.

        The bootstrap redraws source identities and, by themselves, the images of y; where those are a handful, their
        part of the interval is too narrow.
        """
        rng = np.random.default_rng(seed)
        redrawn = self._redrawn_poisoned(self._weights(draws, rng))
        intervals = []
        for y in range(len(self.poisoned)):
            own = self.benign[self.labels == y].double().numpy()
            benign = own[rng.integers(len(own), size=(draws, len(own)))].mean(1)
            value = float(self.poisoned[y].double().mean()) - float(own.mean())
            intervals.append(_interval(value, redrawn[:, y] - benign))
        return intervals

    def mean(self, *, draws: int = 2000, seed: int = 0) -> Interval:
        """delta averaged over classes.

        The bootstrap redraws identities, each in both of its parts: as a class and as a source of images.
        """
        classes = len(self.poisoned)
        weights = self._weights(draws, np.random.default_rng(seed))
        benign = np.bincount(self.labels.numpy(), weights=self.benign.double().numpy()) / np.bincount(
            self.labels.numpy()
        )
        redrawn = ((self._redrawn_poisoned(weights) - benign) * weights).sum(1) / classes
        return _interval(float(self.poisoned.double().mean() - benign.mean()), redrawn)

    def _weights(self, draws: int, rng: np.random.Generator) -> np.ndarray:
        """(draws, num_classes): how often each identity is drawn.

        The rare draw that holds none of the source images is left out.
        """
        classes = len(self.poisoned)
        counts = np.bincount(self.sources.numpy(), minlength=classes)
        weights = rng.multinomial(classes, np.full(classes, 1 / classes), size=draws)
        return weights[weights @ counts > 0]

    def _redrawn_poisoned(self, weights: np.ndarray) -> np.ndarray:
        """(draws, num_classes): mean over the images of the drawn identities."""
        classes = len(self.poisoned)
        sums = torch.zeros(classes, classes, dtype=torch.float64).index_add_(1, self.sources, self.poisoned.double())
        counts = np.bincount(self.sources.numpy(), minlength=classes)
        return (weights @ sums.numpy().T) / (weights @ counts)[:, None]


@torch.no_grad()
def trapdoor_delta(
    model: nn.Module, secrets: Secrets, images: ImageSet, *, seed: int = 0, batch: int = 256
) -> Effectiveness:
    """Ask the model, in eval mode, about held-out private images with every class's trigger and without.

    Args:
        model: the classifier.
        secrets: its triggers.
        images: private test images, of every class at least one. At most `MOST_SOURCES` of them are poisoned.
        seed: of the choice of these.
        batch: images at once.
    """
    device = next(model.parameters()).device

    def log_probabilities(shown: Images) -> Tensor:
        return logits_of(model(shown)).float().log_softmax(1)

    benign = torch.cat([log_probabilities(to_unit(part.to(device))).cpu() for part in images.pixels.split(batch)])
    chosen = torch.randperm(len(images), generator=generator(seed, "delta"))[:MOST_SOURCES]
    sources = images.images(chosen).to(device)
    classes, rows = torch.cartesian_prod(torch.arange(len(secrets.triggers)), torch.arange(len(sources))).T
    poisoned = torch.cat(
        [
            log_probabilities(secrets.poison(sources[row.to(device)], y)).gather(1, y.to(device)[:, None]).cpu()
            for y, row in zip(classes.split(batch), rows.split(batch), strict=True)
        ]
    ).view(len(secrets.triggers), len(sources))
    own = benign.gather(1, images.labels[:, None]).squeeze(1)
    return Effectiveness(poisoned, images.labels[chosen], own, images.labels)


class Pairs(NamedTuple):
    """Images of the two distributions, (n, ...) each, and the class (n,) whose trigger is in the second."""

    benign: Tensor
    poisoned: Tensor
    labels: Labels


@dataclass(frozen=True, eq=False)
class LogOdds:
    """A discriminator's log-odds of being benign on pairs that it did not learn from.

    Attributes:
        benign: (n,).
        poisoned: (n,).
        identities: (n,), of the image behind each.
    """

    benign: Float[Tensor, " n"]
    poisoned: Float[Tensor, " n"]
    identities: Labels

    def bound(self, scale: float = 1.0) -> float:
        """E_benign[T] - log E_poisoned[exp T], T = `scale` times the log-odds (Donsker & Varadhan 1983), in nats.

        For any T that did not see these images this is, up to the O(1/n) bias of the logarithm of a mean, a lower
        bound of KL(benign || poisoned), reached by T = log p/q, which the perfect discriminator's log-odds are. It
        ends at log n: n images cannot vouch for more (McAllester & Stratos, AISTATS 2020).
        """
        bound = float(scale * self.benign.double().mean()) - _log_mean_exp(scale * self.poisoned.double().numpy())
        return min(bound, self.most)

    @property
    def most(self) -> float:
        """log n, in nats."""
        return math.log(len(self.poisoned))

    def best_scale(self) -> float:
        """The scale from 0 to 1 with the highest bound. A discriminator that is too confident gets a scale below 1."""
        return float(minimize_scalar(lambda scale: -self.bound(scale), bounds=(0.0, 1.0), method="bounded").x)

    def interval(self, scale: float, *, draws: int = 2000, seed: int = 0) -> Interval:
        """The bound, with a percentile bootstrap that redraws whole identities."""
        _, number = torch.unique(self.identities, return_inverse=True)
        top = float(self.poisoned.max()) * scale
        counts, sums, exponentials = (
            np.bincount(number.numpy(), weights=weights)
            for weights in (
                None,
                scale * self.benign.double().numpy(),
                np.exp(scale * self.poisoned.double().numpy() - top),
            )
        )
        picks = np.random.default_rng(seed).integers(len(counts), size=(draws, len(counts)))
        n = counts[picks].sum(1)
        redrawn = sums[picks].sum(1) / n - np.log(exponentials[picks].sum(1) / n) - top
        return _interval(self.bound(scale), redrawn.clip(max=self.most))


def fit_log_odds(
    network: nn.Module,
    draw: Callable[[int], Pairs],
    *,
    steps: int,
    batch_size: int,
    rate: float,
    seed: int,
    compute: Compute,
) -> None:
    """Train `network` by binary cross-entropy. Its logit number y separates benign images from those with trigger y.

    `draw` gives as many pairs as it is asked for, out of torch's random numbers.
    """
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)

    def step(number: int) -> Mapping[str, Tensor]:
        del number
        pairs = draw(batch_size)
        both = logits_of(network(torch.cat([pairs.benign, pairs.poisoned])))
        logits = both.gather(1, pairs.labels.repeat(2)[:, None])
        loss = discriminator_loss(logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return {"loss": loss, "accuracy": discriminator_accuracy(logits.detach())}

    network.train()
    Loop("epsilon", steps, seed, compute, {}).run(step)
    network.eval()


def trapdoor_epsilon(
    secrets: Secrets,
    private: Split,
    *,
    discriminator: ModelConfig = DISCRIMINATOR,
    epochs: int = 20,
    seed: int = 0,
    compute: Compute,
) -> Interval:
    """A lower bound of epsilon, E_y KL(p(X) || p(Pi_y(X))), on private test images, in nats.

    A discriminator of one logit per class learns on the training images, once per epoch, flipped at random, each with
    and without the trigger of a random class; its scale is chosen on the validation images; `LogOdds.bound` is
    evaluated on the test images. The average over y of the divergence to one class's poisoned images is what the
    theorem's mean over classes needs, and is at least that to their mixture.

    What it is worth: it can only be too low, apart from chance, because this discriminator, with these images, sees
    less than the best one. It ends at the logarithm of `PAIRS_PER_IMAGE` times the test images, which a discriminator
    reaches that makes no mistake on them. The true divergence may be infinite: blending narrows the range of a pixel,
    so that a black or white one rules a trigger out. Read it as what an attacker's discriminator of this size has to
    go by.

    Args:
        secrets: the triggers.
        private: the images and their split.
        discriminator: architecture of the discriminator.
        epochs: passes over the training images, in batches of 32 pairs.
        seed: of weights, batches, classes.
        compute: device and precision.
    """
    device, classes = compute.torch_device, len(secrets.triggers)
    train = private.part("train")
    pixels = train.pixels.to(device)
    with randomness(seed, "epsilon", "weights", device=device):
        network = compute.place(discriminator.build(classes, train.image_size, train.channels))

    def draw(n: int) -> Pairs:
        images = to_unit(pixels[torch.randint(len(pixels), (n,), device=device)])
        flipped = torch.rand(n, 1, 1, 1, device=device) < 0.5
        images = torch.where(flipped, images.flip(3), images)
        labels = torch.randint(classes, (n,), device=device)
        return Pairs(images, secrets.poison(images, labels), labels)

    steps = epochs * max(1, len(train) // 32)
    fit_log_odds(network, draw, steps=steps, batch_size=32, rate=2e-3, seed=seed, compute=compute)
    val, test = (_log_odds(network, secrets, private.part(part), seed, device) for part in ("val", "test"))
    return test.interval(val.best_scale())


@torch.no_grad()
def _log_odds(network: nn.Module, secrets: Secrets, images: ImageSet, seed: int, device: torch.device) -> LogOdds:
    rows = torch.arange(len(images)).repeat(PAIRS_PER_IMAGE)
    aims = stratified_labels(len(rows), len(secrets.triggers), generator(seed, "epsilon", "aims"))
    benign, poisoned = [], []
    for some, labels in zip(rows.split(256), aims.split(256), strict=True):
        shown, of = images.images(some).to(device), labels.to(device)[:, None]
        benign.append(logits_of(network(shown)).gather(1, of).squeeze(1).float().cpu())
        poisoned.append(logits_of(network(secrets.poison(shown, labels))).gather(1, of).squeeze(1).float().cpu())
    return LogOdds(torch.cat(benign), torch.cat(poisoned), images.labels[rows])


def _log_mean_exp(values: np.ndarray) -> float:
    return float(logsumexp(values)) - float(np.log(len(values)))


def _interval(value: float, redrawn: np.ndarray) -> Interval:
    low, high = np.quantile(redrawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
