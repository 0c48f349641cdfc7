"""Real faces on two cores: the paper's comparison scaled to 57 identities and a network of 0.25 M parameters."""

from trapmid.attacks import PublicNearest
from trapmid.audit import Recipe
from trapmid.augment import WarpAugmentation
from trapmid.data import SplitConfig
from trapmid.defenses import NoDefense, OnePass, TrapMID
from trapmid.metrics.embedders import FaceEmbedder
from trapmid.models import Tiny
from trapmid.priors import CGAN, Strided
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR, judge, plgmi, training
from trapmid.trapdoor import BlendSchedule


def celeba64_cpu() -> Recipe:
    """Unprotected, Trap-MID and its one-pass variant under PLG-MI with three seeds, and the baseline without inversion.

    Command: `trapmid audit --recipe celeba64-cpu --private PRIVATE.parquet --public PUBLIC.parquet`; about an hour
    and a half on two cores. docs/experiments/from-scratch.md has the expected results.
    """
    augmentation = WarpAugmentation(rotation_degrees=10.0, jitter_probability=0.5, brightness=0.2, contrast=0.2)
    before_discriminator = WarpAugmentation(
        crop_area=(0.88, 1.0),
        crop_probability=0.8,
        shift=0.04,
        brightness=0.1,
        contrast=0.1,
        jitter_probability=0.8,
        rotation_degrees=4.0,
        padding="reflection",
    )
    prior = CGAN(
        networks=Strided(width=16),
        iterations=1000,
        discriminator_steps=1,
        rate=5e-4,
        dequantise=False,
        verdicts="together",
        augmentation=before_discriminator,
        ema=0.99,
        log_every=50,
    )
    return Recipe(
        name="celeba64-cpu",
        about="Real faces, 64 px colour, 57 identities, on two cores in about an hour and a half.",
        identities=57,
        split=SplitConfig(val=0.1, test=0.1),
        model=Tiny(),
        training=training(40, augmentation, evaluate_every=5),
        defenses=(
            NoDefense(),
            TrapMID(
                blend=BlendSchedule(start=0.2, end=0.02, until=0.6),
                weight=0.3,
                trigger_step_end=0.0,
                discriminator=LIGHT_DISCRIMINATOR,
                discriminator_rate=1e-3,
            ),
            OnePass(discriminator=LIGHT_DISCRIMINATOR, discriminator_rate=1e-3),
        ),
        attacks=(plgmi(prior, iterations=600, search_steps=60), PublicNearest()),
        seeds=(0, 1, 2),
        judges=(FaceEmbedder(), judge(augmentation, batch_size=64)),
    )
