"""A prior trained on public images before any target is known: shared by every attack, and the floor that says what luck scores."""

from pathlib import Path

from trapmid.artifacts import Draft, Manifest, make, open_artifact
from trapmid.data.images import ImageSet
from trapmid.engine import LOG, Compute, Progress, no_progress, peak_memory_mib
from trapmid.priors.cgan import CGAN, GAN


def pretrain(
    out: Path,
    config: CGAN,
    public: ImageSet,
    num_classes: int,
    *,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Train `config` on `public` with labels that mean nothing yet, into the folder `out`. Resumes; returns at once if finished."""
    recipe = {
        "prior": config.model_dump(mode="json"),
        "num_classes": num_classes,
        "seed": seed,
        "image_shape": [public.channels, public.image_size, public.image_size],
    }

    def build(draft: Draft) -> Manifest:
        gan = config.fit(
            public, num_classes, seed=seed, compute=compute or Compute(), folder=draft.folder, progress=progress
        )
        return draft.finish(
            [*gan.save(draft.folder), LOG], {"log": gan.rows[-1]}, gan.rows[-1]["seconds"], peak_memory_mib()
        )

    return make(out, "prior", recipe, {"public": public.digest()}, build)


def open_prior(folder: Path, compute: Compute | None = None) -> tuple[GAN, Manifest]:
    """The prior that `pretrain` left in `folder`."""
    manifest = open_artifact(folder, "prior")
    channels, size, _ = manifest.recipe["image_shape"]
    config = CGAN.model_validate(manifest.recipe["prior"])
    return config.build(manifest.recipe["num_classes"], size, channels, compute or Compute()).load(folder), manifest
