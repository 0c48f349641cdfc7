"""The demo: faces that are drawn by code, so that nothing is downloaded and no real person is shown."""

from trapmid.audit import Recipe
from trapmid.augment import WarpAugmentation
from trapmid.data import SplitConfig, SyntheticSource
from trapmid.defenses import NoDefense, OnePass, TrapMID
from trapmid.models import Tiny
from trapmid.priors import CGAN, Strided
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR, judge, plgmi, training
from trapmid.trapdoor import BlendSchedule


def demo() -> Recipe:
    """Unprotected, Trap-MID and its one-pass variant under PLG-MI, on 20 drawn identities at 32 px with one seed.

    Command: `trapmid demo`; under ten minutes on two cores. docs/results.md has the expected results.
    """
    augmentation = WarpAugmentation(rotation_degrees=10.0)
    prior = CGAN(
        networks=Strided(),
        iterations=1000,
        batch_size=32,
        discriminator_steps=1,
        rate=5e-4,
        dequantise=False,
        verdicts="together",
        augmentation=WarpAugmentation(crop_area=(0.88, 1.0), shift=0.04, rotation_degrees=4.0, padding="reflection"),
        ema=0.99,
        log_every=50,
    )
    return Recipe(
        name="demo",
        about="Faces drawn by code, 32 px, 20 identities: the whole audit in minutes, nothing to download.",
        private=SyntheticSource(identities=20, images_per_identity=48),
        public=SyntheticSource(identities=1000, images_per_identity=2, first_identity=1000),
        image_size=32,
        split=SplitConfig(val=1 / 6, test=1 / 6),
        model=Tiny(),
        training=training(140, augmentation, evaluate_every=10),
        defenses=(
            NoDefense(),
            TrapMID(blend=BlendSchedule(start=0.2, end=0.03, until=0.6), weight=0.5, discriminator=LIGHT_DISCRIMINATOR),
            OnePass(discriminator=LIGHT_DISCRIMINATOR),
        ),
        attacks=(plgmi(prior, iterations=500, search_steps=80),),
        judges=(judge(augmentation, batch_size=32),),
    )
