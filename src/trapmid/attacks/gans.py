"""What attacks do with the GANs that they are given or train."""

from trapmid.attacks.attack import Run
from trapmid.priors import GAN
from trapmid.types import UserError


def gan_of(run: Run, attack: str) -> GAN:
    """The run's prior, which has to be a pair of a generator and a discriminator.

    Raises:
        UserError: it is another one.
    """
    if not isinstance(run.prior, GAN):
        raise UserError(f"{attack} needs a GAN as its prior; it was given {type(run.prior).__name__}.")
    return run.prior


def warm_start_of(run: Run, attack: str) -> GAN | None:
    """The pair whose weights the attack's GAN begins with; None for random weights.

    Raises:
        UserError: the run's prior is no pair.
    """
    return None if run.prior is None else gan_of(run, attack)


def kept(gan: GAN, run: Run) -> GAN:
    """The pair that an attack has trained; its generator and its log are kept with what is found."""
    run.log(gan.rows)
    run.keep_generator(gan.generator)
    return gan
