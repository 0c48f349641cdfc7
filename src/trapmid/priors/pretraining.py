"""Training of priors on public images without a target. Attacks share these priors."""

from pathlib import Path

from trapmid.artifacts import Draft, make
from trapmid.data.images import ImageSet
from trapmid.engine import LOG, Compute, Progress, no_progress, peak_memory_mib
from trapmid.manifests import Manifest, open_artifact, recorded
from trapmid.priors.prior import Prior, PriorConfig, PriorTraining
from trapmid.types import UserError


def pretrain(
    out: str | Path,
    config: PriorConfig,
    public: ImageSet,
    num_classes: int,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Train the prior of `config` on `public` without a target, and write it to the folder `out`.

    An interrupted training is resumed. If the training is finished, the call returns at once.

    Raises:
        UserError: the folder contains another prior, or one for which a file in the config had another content.
    """
    out = Path(out)
    recipe = {
        "prior": recorded(config),
        "num_classes": num_classes,
        "seed": seed,
        "image_shape": [public.channels, public.image_size, public.image_size],
    }

    def build(draft: Draft) -> Manifest:
        prior = config.fit(PriorTraining(public, num_classes, seed, compute or Compute(), draft.folder, progress))
        return draft.finish(
            [*prior.save(draft.folder), LOG], {"log": prior.rows[-1]}, prior.rows[-1]["seconds"], peak_memory_mib()
        )

    return make(out, "prior", recipe, {"public": public.digest()}, build, progress)


def open_prior(folder: str | Path, config: PriorConfig, compute: Compute | None = None) -> tuple[Prior, Manifest]:
    """Open the prior that `pretrain` wrote to `folder`.

    Raises:
        UserError: there is none, or it was trained with another config.
    """
    folder = Path(folder)
    manifest = open_artifact(folder, "prior")
    if manifest.recipe["prior"] != recorded(config):
        raise UserError(f"{folder} holds a prior of another config than {config.name}. Choose another --out.")
    channels, height, width = manifest.recipe["image_shape"]
    shape = (channels, height, width)
    return config.open(folder, manifest.recipe["num_classes"], shape, compute or Compute()), manifest
