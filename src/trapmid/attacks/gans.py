"""Helper functions for attacks with GANs."""

from trapmid.attacks.attack import Run
from trapmid.priors import GAN
from trapmid.types import UserError


def gan_of(run: Run, attack: str) -> GAN:
    """The prior of the run, which has to be a pair of a generator and a discriminator.

    Raises:
        UserError: it is another kind of prior.
    """
    if not isinstance(run.prior, GAN):
        raise UserError(f"{attack} needs a GAN as its prior; it was given {type(run.prior).__name__}.")
    return run.prior


def warm_start_of(run: Run, attack: str) -> GAN | None:
    """The pair with the initial weights of the attack's GAN; None for random weights.

    Raises:
        UserError: the prior of the run is not a pair.
    """
    return None if run.prior is None else gan_of(run, attack)


def kept(gan: GAN, run: Run) -> GAN:
    """Store the generator and the log of a trained pair with the results of the attack. Returns the pair."""
    run.log(gan.rows)
    run.keep_generator(gan.generator)
    return gan
