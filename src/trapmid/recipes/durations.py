"""How long an audit of a model that is given takes, from the measured speed of the model and of the generators."""

import time
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import torch

from trapmid.attacks import BREP, LOKT, MIRROR, PLGMI, AnyAttack, DiffMI
from trapmid.audit import Recipe, Task, plan
from trapmid.audit.examination import Speed
from trapmid.audit.plan import FLOORS
from trapmid.data import ImageSet
from trapmid.engine import Compute, generator
from trapmid.priors import CGAN, DCGAN, Diffusion, PriorTraining, StyleGAN2
from trapmid.recipes.given import QUICK_IDENTITIES, QUICK_PUBLIC, battery_of
from trapmid.recipes.judging import Effort
from trapmid.subjects import AccessName

Trained: TypeAlias = CGAN | DCGAN | StyleGAN2 | Diffusion
"""The generators that the efforts train."""

EFFORTS: tuple[Effort, ...] = ("quick", "standard", "thorough")
PUBLIC = 30_000
"""Public images that a longer audit is assumed to have."""
AROUND = 45.0
"""Seconds for imports, reading images, the examination and the report, roughly: they are not measured."""
JUDGED = 0.01
"""Seconds in which the face embedder embeds an image on one core, roughly. Other judges may take longer."""
WITHOUT_GRADIENT = 0.5
"""The share of the time of decoding an image with its gradient that decoding alone takes."""
SAMPLES = 20
"""Images of each identity that are judged for a floor or for the generator of an attack."""


class GeneratorSpeed(NamedTuple):
    """Seconds of one training step, and of decoding one image with its gradient."""

    step: float
    image: float


def generator_speeds(access: AccessName, identities: int, image_size: int, channels: int) -> dict[str, GeneratorSpeed]:
    """The speeds of all generators that audits with this access train, by kind, from a few steps on random images."""
    priors = {prior.kind: prior for effort in EFFORTS for prior in _priors(battery_of(access, effort, identities))}
    return {kind: _speed(prior, identities, image_size, channels) for kind, prior in priors.items()}


def durations(
    access: AccessName,
    identities: int,
    private_images: int,
    pace: Speed,
    generators: Mapping[str, GeneratorSpeed],
) -> dict[Effort, float]:
    """Seconds of an audit on one core by effort: estimates, which other work on the machine makes longer.

    An attack without a formula here is taken to be as long as the longest of the others.

    Args:
        access: what attacks get.
        identities: how many private identities there are.
        private_images: how many images there are of them.
        pace: of the model.
        generators: see `generator_speeds`.
    """
    found: dict[Effort, float] = {}
    for effort in EFFORTS:
        people = min(identities, QUICK_IDENTITIES) if effort == "quick" else identities
        public = QUICK_PUBLIC if effort == "quick" else PUBLIC
        battery = battery_of(access, effort, people)
        attacks = _of_attacks(battery, people, public, pace, generators)
        trained = sum(prior.iterations * generators[prior.kind].step for prior in _priors(battery))
        images = private_images * people / identities + SAMPLES * people  # public images are as many as these
        images += sum(_pictures(attack, people) for attack in battery)
        images += SAMPLES * people * len(_priors(battery))
        found[effort] = AROUND + trained + sum(attacks.values()) + JUDGED * images
    return found


def durations_of_tasks(recipe: Recipe, images: ImageSet, pace: Speed) -> dict[Task, float]:
    """Seconds of each task of an audit of given models on one core, by the same formulas as `durations`.

    The generators of the recipe are timed first. Trainings of judges have no formula and are left out.

    Args:
        recipe: the audit.
        images: its private images.
        pace: of the model.
    """
    people, public = len(images.identities), recipe.public_images or PUBLIC
    own = {prior.kind: prior for one in recipe.attacks if isinstance(prior := one.own_prior(), Trained)}
    trained = {prior.kind: prior for prior in _priors(recipe.attacks)}
    generators: dict[str, GeneratorSpeed] = {
        kind: _speed(prior, people, recipe.image_size, recipe.channels) for kind, prior in (own | trained).items()
    }
    attacks = _of_attacks(recipe.attacks, people, public, pace, generators)

    def seconds(task: Task) -> float | None:
        match task.kind:
            case "examine":
                return AROUND
            case "prior":
                prior = recipe.priors()[task.member]
                return prior.iterations * generators[prior.kind].step if isinstance(prior, Trained) else None
            case "attack":
                return attacks[task.member]
            case "measure":
                return JUDGED * _judged(task, recipe, images)
        return None

    return {task: found for task in plan(recipe) if (found := seconds(task)) is not None}


def _judged(task: Task, recipe: Recipe, images: ImageSet) -> int:
    """The number of images that a part of the measurement judges."""
    people = len(images.identities)
    if task.member == FLOORS:
        return SAMPLES * people * (1 + len(recipe.priors()))
    if task.defense:
        return _pictures(recipe.attack(task.member), people) if task.member else len(images)
    return 0


def _pictures(attack: AnyAttack, people: int) -> int:
    """The number of pictures of an attack that are judged, with samples of its own generator."""
    return people * (attack.effort.images_per_identity + (SAMPLES if attack.own_prior() is not None else 0))


def _of_attacks(
    battery: tuple[AnyAttack, ...], people: int, public: int, pace: Speed, generators: Mapping[str, GeneratorSpeed]
) -> dict[str, float]:
    """Seconds by name. Attacks without a formula take as long as the longest, or as one answer per public image."""
    seconds = {one.name: _of_attack(one, people, public, pace, generators) for one in battery}
    longest = max([public * pace.answer, *(one for one in seconds.values() if one is not None)])
    return {name: longest if one is None else one for name, one in seconds.items()}


def _priors(battery: tuple[AnyAttack, ...]) -> list[Trained]:
    """The generators that are trained before any attack, each once."""
    wanted = (attack.public_prior() for attack in battery)
    return [*{prior.fingerprint(): prior for prior in wanted if isinstance(prior, Trained)}.values()]


def _of_attack(
    attack: AnyAttack, people: int, public: int, pace: Speed, generators: Mapping[str, GeneratorSpeed]
) -> float | None:
    gradient, tries = pace.gradient or 2.5 * pace.answer, people * attack.effort.images_per_identity
    match attack:
        case PLGMI():
            of_generator = generators[attack.prior.kind]
            guided = attack.prior.iterations * (of_generator.step + attack.prior.batch_size * gradient)
            chosen = 2 * people * attack.candidates * pace.answer
            step = attack.augmentations * gradient + of_generator.image
            return public * pace.answer + guided + chosen + tries * attack.search_steps * step
        case MIRROR() if attack.prior.kind in generators:
            images = attack.candidates + attack.generations * attack.children * tries
            return images * (pace.answer + WITHOUT_GRADIENT * generators[attack.prior.kind].image)
        case BREP() if attack.prior.kind in generators:
            starts = 0.3 * attack.start_batches * attack.start_batch  # it ends once every identity has been seen
            shown = starts + tries * attack.steps * attack.sphere
            return shown * (pace.answer + WITHOUT_GRADIENT * generators[attack.prior.kind].image)
        case DiffMI():
            of_network = generators[attack.prior.kind].step / attack.prior.batch_size
            generated = 3 * attack.prior.solver_steps * of_network  # with and without label, and some of it twice
            tuned = attack.tuning_epochs * people * (generated + gradient)
            each = attack.search_rounds * (2 * of_network + attack.augmentations * gradient)
            each += 2 * attack.denoise_steps * WITHOUT_GRADIENT * of_network
            trained = attack.prior.iterations * generators[attack.prior.kind].step
            return public * pace.answer + trained + tuned + tries * each
        case LOKT() if "cgan" in generators:
            of_generator = generators["cgan"]
            return attack.prior.iterations * (2 * of_generator.step + attack.prior.batch_size * pace.answer) + 600
    return public * pace.answer if not attack.searches else None


def _speed(prior: Trained, identities: int, image_size: int, channels: int) -> GeneratorSpeed:
    shape = (prior.batch_size, channels, image_size, image_size)
    draw = generator(0, "generator speed")
    public = ImageSet(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw),
        torch.zeros(shape[0], dtype=torch.int64),
        ("anybody",),
        tuple(str(number) for number in range(shape[0])),
    )
    steps = prior.r1_every if isinstance(prior, StyleGAN2) else 4  # one of so many steps takes longer
    seconds = []
    for count in (1, 1, 1 + steps):  # the first training prepares kernels
        began = time.process_time()
        trained = prior.model_copy(update={"iterations": count}).fit(
            PriorTraining(public, identities, 0, Compute("cpu"))
        )
        seconds.append(time.process_time() - began)
    labels = public.labels[:2] if isinstance(prior, Diffusion) else public.labels  # a few, of what takes many passes
    latents = torch.randn(len(labels), trained.latent_size, requires_grad=True)
    began = time.process_time()
    trained.decode(latents, labels).sum().backward()
    decoded = (time.process_time() - began) / len(labels)
    return GeneratorSpeed(max(seconds[2] - seconds[1], 0.0) / steps, decoded)
