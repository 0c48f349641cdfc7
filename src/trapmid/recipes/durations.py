"""How long an audit of a model that is given takes, from the measured speed of the model and of a generator."""

import time

import torch

from trapmid.attacks import BREP, LOKT, MIRROR, PLGMI, AnyAttack
from trapmid.audit.examination import Speed
from trapmid.priors import GANConfig, PriorConfig, StyleGAN2
from trapmid.recipes.given import QUICK_PUBLIC, battery_of
from trapmid.recipes.judging import Effort
from trapmid.subjects import AccessName

PUBLIC = 30_000
"""Public images that a longer audit is assumed to have."""
OTHER = 1.0
"""An attack without a formula here is taken to be as long as this share of the strongest one."""
STYLE_SECONDS = 0.35
"""Seconds of one training step of the small StyleGAN2 at 64 px, on one core."""
_TRIED = 8


def durations(access: AccessName, identities: int, image_size: int, channels: int, pace: Speed) -> dict[str, float]:
    """Seconds of an audit on one core by effort: estimates, which other work on the machine makes longer.

    Args:
        access: what attacks get.
        identities: how many take part.
        image_size: height and width of the audit's images in pixels.
        channels: of the images.
        pace: of the model.
    """
    efforts: tuple[Effort, ...] = ("quick", "standard", "thorough")
    found: dict[str, float] = {}
    step = _step_of_generator(battery_of("white-box", "quick")[0].public_prior(), identities, image_size, channels)
    for effort in efforts:
        people = min(identities, 50) if effort == "quick" else identities
        public = QUICK_PUBLIC if effort == "quick" else PUBLIC
        battery = battery_of(access, effort)
        seconds = {one.name: _of_attack(one, people, public, pace, step) for one in battery}
        known = [one for one in seconds.values() if one is not None]
        priors = {prior.fingerprint(): prior for one in battery if (prior := one.public_prior()) is not None}
        trained = sum(_of_prior(prior, step, image_size) for prior in priors.values())
        found[effort] = trained + sum(max(known) * OTHER if one is None else one for one in seconds.values())
    return found


def _of_attack(attack: AnyAttack, people: int, public: int, pace: Speed, step: float) -> float | None:
    gradient = pace.gradient or 2.5 * pace.answer
    match attack:
        case PLGMI():
            guided = attack.prior.iterations * (step + attack.prior.batch_size * gradient)
            tries = people * attack.images_per_identity
            searched = tries * (attack.candidates * pace.answer + attack.search_steps * attack.augmentations * gradient)
            return public * pace.answer + guided + searched
        case MIRROR():
            shown = attack.generations * attack.children * attack.images_per_identity * people
            return pace.answer * (attack.candidates + 2 * shown)
        case BREP():
            shown = attack.start_batches * attack.start_batch
            searched = people * attack.images_per_identity * attack.steps * attack.sphere
            return pace.answer * (0.3 * shown + searched)
        case LOKT():
            return attack.prior.iterations * (2 * step + attack.prior.batch_size * pace.answer) + 600
    return public * pace.answer if not attack.searches else None


def _of_prior(prior: PriorConfig, step: float, image_size: int) -> float:
    if isinstance(prior, StyleGAN2):
        return prior.iterations * STYLE_SECONDS * (image_size / 64) ** 2
    return prior.iterations * step if isinstance(prior, GANConfig) else 0.0


def _step_of_generator(prior: PriorConfig | None, identities: int, image_size: int, channels: int) -> float:
    """Seconds of one training step of a GAN: both networks forward and backward, measured once on a few images."""
    assert isinstance(prior, GANConfig)
    pair = prior.pair(identities, image_size, channels)
    latents, labels = torch.randn(_TRIED, pair.latent_size), torch.zeros(_TRIED, dtype=torch.int64)
    seconds = 0.0
    for _ in range(2):
        began = time.process_time()
        pair.discriminator(pair.generator(latents, labels), labels).mean().backward()
        seconds = time.process_time() - began
    return 2 * seconds * prior.batch_size / _TRIED
