"""What the tests of priors, attacks and metrics share.

Tiny images, a tiny target, every attack tiny, and a way to kill a run.
"""

from typing import Any

import torch
from torch.nn import functional as F

from helpers.precision import cached
from trapmid.attacks import (
    BREP,
    GMI,
    IFGMI,
    KEDMI,
    LOKT,
    LOMMA,
    MIRROR,
    PLGMI,
    PPA,
    PPDG,
    WRK,
    Aligned,
    Attack,
    DiffMI,
    Distilled,
    Evading,
    MIFace,
    MIRRORWhiteBox,
    PLGMIPlus,
    PLGMIPlusPlus,
    PublicNearest,
    Robust,
    Smoothed,
    Strongest,
    Unlearned,
)
from trapmid.attacks.distillation import Distillation
from trapmid.attacks.surrogates import SurrogateTraining
from trapmid.augment import Degradation, NoAugmentation
from trapmid.data import ImageSet, SyntheticSource
from trapmid.engine import Compute, generator, randomness
from trapmid.models import Classifier, Tiny
from trapmid.models.batchnorm import recalibrate_batch_norm
from trapmid.priors import (
    CGAN,
    DCGAN,
    GAN,
    TACGAN,
    Diffusion,
    Prior,
    PriorConfig,
    PriorTraining,
    SemiGAN,
    Strided,
    StyleGAN2,
    UNet,
)
from trapmid.priors.gan import GANConfig
from trapmid.recipes.two_cores import OF_ATTACK
from trapmid.targets import InformedTarget, LabelTarget, WhiteBoxTarget
from trapmid.types import logits_of

SIZE, CLASSES, PER_IDENTITY = 32, 4, 2
CPU = Compute("cpu")
TINY = Tiny(widths=(16, 32), strides=(2, 2))
WARP = OF_ATTACK
TINY_GAN = CGAN(
    networks=Strided(width=4, widest=16, latent_size=16),
    iterations=12,
    batch_size=8,
    discriminator_steps=1,
    rate=2e-3,
    log_every=4,
    ema=0.5,
    verdicts="together",
)
PLGMI_TINY = PLGMI(
    prior=TINY_GAN,
    top_n=6,
    augmentation=WARP,
    search_augmentation=WARP,
    augmentations=1,
    images_per_identity=PER_IDENTITY,
    candidates=3,
    search_steps=12,
    search_rate=0.2,
    identities_per_batch=3,
    chunk=4,
)
STUDY: dict[str, Any] = {"augmentation": NoAugmentation(), "batch_size": 16}
STYLE_TINY = StyleGAN2(
    latent_size=16,
    style_size=12,
    mapping_layers=2,
    capacity=128,
    widest=16,
    iterations=12,
    batch_size=8,
    rate=5e-3,
    r1=0.1,
    r1_every=4,
    ema=0.5,
    log_every=4,
)
PPA_TINY = PPA(
    prior=STYLE_TINY,
    truncation=1.0,
    cutoff=None,
    candidates=40,
    starts=3,
    search_augmentation=WARP,
    search_steps=25,
    search_rate=0.1,
    selection_augmentation=WARP,
    selection_draws=3,
    images_per_identity=PER_IDENTITY,
    identities_per_batch=3,
    chunk=4,
)
TINY_DCGAN = DCGAN(
    width=4, latent_size=16, iterations=12, batch_size=8, discriminator_steps=1, rate=2e-3, log_every=4, ema=0.5
)
TINY_SEMIGAN = SemiGAN(
    width=4,
    latent_size=16,
    iterations=12,
    batch_size=8,
    discriminator_steps=1,
    rate=2e-3,
    log_every=4,
    ema=0.5,
    company="kept",
)
TINY_TACGAN = TACGAN(
    networks=TINY_GAN.networks,
    discriminator=Tiny(widths=(8, 16), strides=(2, 2)),
    iterations=60,
    batch_size=16,
    discriminator_steps=1,
    rate=2e-3,
    betas=(0.5, 0.9),
    log_every=4,
    ema=0.5,
    class_weight=1.0,
    warm_up=0,
)
TINY_DIFFUSION = Diffusion(
    networks=UNet(width=16, multiples=(1, 2), blocks=1, attention=(4,), heads=2, patch=4),
    iterations=30,
    batch_size=16,
    rate=3e-3,
    ema=0.9,
    predicts="velocity",
    steps=100,
    variances=(1e-3, 0.2),
    solver_steps=5,
    log_every=20,
)
SEARCH: dict[str, Any] = {
    "images_per_identity": PER_IDENTITY,
    "search_steps": 12,
    "identities_per_batch": 3,
    "chunk": 4,
}
GMI_TINY = GMI(prior=TINY_DCGAN, search_rate=0.02, **SEARCH)
KEDMI_TINY = KEDMI(prior=TINY_SEMIGAN, search_rate=0.3, **SEARCH)
TINY_ATTACKS: dict[str, Attack[Any, Any]] = {
    "plgmi": PLGMI_TINY,
    "ppa": PPA_TINY,
    "ifgmi": IFGMI(
        ppa=PPA_TINY.model_copy(update={"search_steps": 12}),
        layer_steps=(10, 10),
        balls="relative",
        radii=(0.3, 0.3),
        picture="kept",
        final_selection=True,
        chunk=5,
    ),
    "mirror": MIRROR(
        prior=STYLE_TINY,
        candidates=40,
        truncation=1.0,
        cutoff=None,
        population=6,
        breeding="ranked",
        children=8,
        generations=12,
        enough=None,
        bounding_styles=10_000,
        strength=1.0,
        bound=2.0,
        images_per_identity=PER_IDENTITY,
        identities_per_batch=3,
        chunk=20,
    ),
    "mirror-whitebox": MIRRORWhiteBox(
        prior=STYLE_TINY,
        candidates=40,
        search_steps=25,
        search_rate=0.1,
        bound=2.0,
        bounding_styles=1_000,
        images_per_identity=PER_IDENTITY,
        identities_per_batch=3,
        chunk=4,
    ),
    "brep": BREP(
        prior=STYLE_TINY,
        start_batches=12,
        start_batch=64,
        sphere=6,
        radius=0.3,
        filled=0.75,
        moves="final",
        steps_per_radius=6,
        steps=25,
        images_per_identity=PER_IDENTITY,
        identities_per_batch=3,
        chunk=64,
    ),
    "aligned": Aligned(base=PLGMI_TINY, neighbours=2),
    "distilled": Distilled(base=PLGMI_TINY, student=TINY, steps=40, rate=1e-2, **STUDY),
    "robust": Robust(base=PLGMI_TINY, student=TINY, steps=30, rate=1e-2, perturbation_steps=1, **STUDY),
    "smoothed": Smoothed(base=PLGMI_TINY, degradation=Degradation(jpeg_quality=None, noise=0.02), draws=2),
    "unlearned": Unlearned(base=PLGMI_TINY, steps=3, trigger_steps=3, **STUDY),
    "wrk": WRK(base=PLGMI_TINY, share=0.5, epochs=3, batch_size=8, rate=1e-2, least=8),
    "evading": Evading(base=PLGMI_TINY),
    "strongest": Strongest(
        attacks=(
            PLGMI_TINY,
            Smoothed(base=PLGMI_TINY, degradation=Degradation(jpeg_quality=None, noise=0.02), draws=2),
        ),
        images_per_identity=PER_IDENTITY,
        augmentation=WARP,
        draws=3,
    ),
    "ppdg": PPDG(base=PLGMI_TINY, samples=4, share=0.5, iterations=6, tuned="together"),
    "diffmi": DiffMI(
        prior=TINY_DIFFUSION,
        warm_start=TINY_DIFFUSION,
        top_n=6,
        feature_images=6,
        tuning_epochs=2,
        search_rounds=15,
        search_rate=0.1,
        search_augmentation=WARP,
        augmentations=1,
        denoise_from=0.2,
        denoise_steps=3,
        perturbation_steps=3,
        images_per_identity=PER_IDENTITY,
        identities_per_batch=3,
        chunk=4,
    ),
    "gmi": GMI_TINY,
    "kedmi": KEDMI_TINY,
    "lomma": LOMMA(
        base=GMI_TINY,
        students=(Tiny(widths=(4, 8), strides=(2, 2)),),
        distillation=Distillation(epochs=2, batch_size=8),
    ),
    "lokt": LOKT(
        prior=TINY_TACGAN.model_copy(update={"iterations": 20, "class_weight": 1.5, "rate": 1e-3}),
        warm_start=TINY_GAN,
        students=(TINY,),
        samples=192,
        ensemble="logits",
        distillation=Distillation(epochs=5, batch_size=16),
        search_augmentation=WARP,
        augmentations=1,
        candidates=3,
        search_rate=0.1,
        **SEARCH | {"search_steps": 25},
    ),
    "miface": MIFace(start_noise=0.3, search_rate=2.0, **SEARCH),
    "plgmi+": PLGMIPlus.model_validate(PLGMI_TINY.model_dump(exclude={"kind"})),
    "plgmi++": PLGMIPlusPlus.model_validate(PLGMI_TINY.model_dump(exclude={"kind"})),
    "public-nearest": PublicNearest(images_per_identity=PER_IDENTITY),
}
"""One small setting for every member of the union; the contract test fails for a member that has none."""
FEW: dict[str, Any] = {
    "search_steps": 3,
    "steps": 4,
    "trigger_steps": 2,
    "generations": 2,
    "start_batches": 3,
    "layer_steps": (2, 2),
}


def shortened(method: Attack[Any, Any]) -> Attack[Any, Any]:
    """The same attack in as few steps as show everything but what it gains."""
    fields = type(method).model_fields
    changes = {name: value for name, value in FEW.items() if name in fields}
    changes |= {name: shortened(getattr(method, name)) for name in ("base", "ppa") if name in fields}
    if isinstance(method, Strongest):
        changes |= {"attacks": tuple(map(shortened, method.attacks))}
    if isinstance(method, DiffMI):
        short = method.prior.model_copy(update={"iterations": 8})
        changes |= {"prior": short, "warm_start": short, "tuning_epochs": 1, "search_rounds": 6}
    if isinstance(method, LOKT):
        changes |= {"prior": method.prior.model_copy(update={"iterations": 12}), "samples": 64}
    return method.model_copy(update=changes)


SHORT_ATTACKS = {kind: shortened(method) for kind, method in TINY_ATTACKS.items()}
"""`TINY_ATTACKS`, shortened."""
SURROGATE_KINDS = [kind for kind, method in TINY_ATTACKS.items() if isinstance(method, SurrogateTraining)]


def faces(identities: int, each: int, *, first: int = 0, size: int = SIZE, channels: int = 3) -> ImageSet:
    """Drawn faces; ranges of `first` that do not overlap have no person in common."""
    return SyntheticSource(identities=identities, images_per_identity=each, first_identity=first).load(
        size, 1 if channels == 1 else 3
    )


def prior_of(method: Attack[Any, Any], seed: int = 0) -> Prior | None:
    """What `method` wants trained before it knows a target, trained on eight people; once per config and seed.

    A GAN would show one or two of the four identities after so few adversarial steps, and no search finds an identity
    that its generator cannot paint: where it ended was then a matter of the seed. Published trainings are a thousand
    times longer. Here the generator learns the public images by heart instead, which shows all identities at every
    seed.
    """
    wanted = method.public_prior()
    return None if wanted is None else trained_prior(wanted, seed)


@cached
def trained_prior(config: PriorConfig, seed: int) -> Prior:
    """What `prior_of` returns."""
    public = faces(8, 4, first=100)
    if isinstance(config, GANConfig):
        return by_heart(config, public, seed)
    return config.fit(PriorTraining(public, CLASSES, seed, CPU))


def by_heart(config: GANConfig, images: ImageSet, seed: int, steps: int = 40) -> GAN:
    """A pair whose generator was trained to paint each of `images` from a latent of its own."""
    with randomness(seed, "by heart"):
        gan = config.build(CLASSES, images.image_size, images.channels, CPU)
        descent, wanted = torch.optim.Adam(gan.generator.parameters(), 1e-2), images.images()
        latents = torch.randn(len(wanted), gan.latent_size)
        gan.generator.train()
        for _ in range(steps):
            descent.zero_grad()
            F.mse_loss(gan.generator(latents, torch.randint(CLASSES, (len(wanted),))), wanted).backward()
            descent.step()
        draws = [(torch.randn_like(latents), torch.randint(CLASSES, (len(wanted),))) for _ in range(10)]
        recalibrate_batch_norm(gan.generator, draws)
    return gan


def trained_classifier(images: ImageSet, steps: int = 40, seed: int = 0) -> Classifier:
    """A `tiny` that has learnt `images` well enough to have opinions; in eval mode."""
    with randomness(seed, "tiny target"):
        model = TINY.build(len(images.identities), images.image_size, images.channels)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(logits_of(model(images.images())), images.labels).backward()
            optimizer.step()
    return model.eval()


def target_of(model: Classifier, access: type[LabelTarget] = WhiteBoxTarget) -> Any:
    """Access with a fresh count of queries; an informed attacker gets signatures that point anywhere."""
    shape = (model.channels, model.image_size, model.image_size)
    if access is not InformedTarget:
        return access(model, model.num_classes, shape)
    with torch.no_grad():
        width = model(torch.zeros(1, *shape)).features.shape[1]
    known = F.normalize(torch.randn(model.num_classes, width, generator=generator(0, "signatures")).abs(), dim=1)
    return InformedTarget(model, model.num_classes, shape, known)


def target_for(method: Attack[Any, Any], model: Classifier) -> Any:
    """As much access as an attack needs."""
    return target_of(model, method.needs)


class Killed(Exception):  # noqa: N818
    """Stands for a kill: nothing in the package catches it."""


class KillAt:
    """A progress display that kills the run once the task whose name contains `task` has done `done` steps."""

    def __init__(self, task: str, done: int) -> None:
        self.task, self.done = task, done

    def __call__(self, task: str, done: int, total: int | None, note: str) -> None:
        """Told after every step."""
        if self.task in task and done == self.done:
            raise Killed(task)
