"""The demo: faces that are drawn by code, so that nothing is downloaded and no real person is shown."""

from trapmid.audit import Recipe
from trapmid.augment import WarpAugmentation
from trapmid.data import SplitConfig, SyntheticSource
from trapmid.defenses import NegLS, NoDefense, OnePass, Stacked, TrapMID
from trapmid.models import IdentityStart, Tiny
from trapmid.priors import CGAN, Strided
from trapmid.recipes.two_cores import LIGHT_DISCRIMINATOR, judge, plgmi, training
from trapmid.trapdoor import BlendSchedule

FAINTEST = 0.04
"""The ratio at which triggers end up in the images (docs/experiments/demo.md)."""


def demo() -> Recipe:
    """Unprotected, Trap-MID, and one-pass anonymous triggers with NegLS under PLG-MI, on 40 drawn people at 32 px.

    The network learns the names of the public people first, since anonymous triggers need a network that knows faces.

    Command: `trapmid demo` runs the first and the last row, in five minutes on two cores; `trapmid audit --recipe demo`
        runs all three. docs/results.md has the expected results.
    """
    augmentation = WarpAugmentation(rotation_degrees=10.0)
    blend = BlendSchedule(start=0.2, end=FAINTEST, until=0.6)
    anonymous = OnePass(
        blend=blend,
        weight=0.5,
        poisoned_share=1.0,
        trigger_period=4,
        anonymity_weight=1.0,
        discriminator=LIGHT_DISCRIMINATOR,
        discriminator_rate=1e-3,
    )
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
        about="Faces drawn by code, 32 px, 40 identities: the whole audit in minutes, nothing to download.",
        private=SyntheticSource(identities=40, images_per_identity=96),
        public=SyntheticSource(identities=400, images_per_identity=5, first_identity=1000),
        image_size=32,
        split=SplitConfig(val=1 / 6, test=1 / 6),
        model=Tiny(start=IdentityStart(epochs=20)),
        training=training(70, augmentation, evaluate_every=5, batch_size=64),
        defenses=(
            NoDefense(),
            TrapMID(blend=blend, weight=0.5, discriminator=LIGHT_DISCRIMINATOR),
            Stacked(parts=(anonymous, NegLS())),
        ),
        attacks=(plgmi(prior, iterations=500, search_steps=80),),
        judges=(judge(augmentation, batch_size=32, epochs=10),),
    )
