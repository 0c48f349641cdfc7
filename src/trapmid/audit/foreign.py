"""Runs one attack on an external model with public images only, without measuring the result."""

from pathlib import Path
from typing import Any

from trapmid.attacks import Attack
from trapmid.audit.cells import attack_model
from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe, prior_name, starts_in
from trapmid.engine import Compute, Progress, no_progress
from trapmid.manifests import Manifest
from trapmid.priors import pretrain
from trapmid.starts import make_start, started
from trapmid.subjects import Subject
from trapmid.targets import Budget
from trapmid.types import UserError


def attack_foreign(
    model: Subject,
    recipe: Recipe,
    member: str,
    out: Path,
    *,
    seed: int = 0,
    budget: int | None = None,
    compute: Compute | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Attack `model` with one attack of a recipe and write the reconstructions to OUT/attacks/MEMBER/foreign-sSEED.

    The prior is written to OUT/priors. A run that was interrupted is resumed.

    Args:
        model: the model under attack, from `trapmid.subjects.parse_subject`.
        recipe: the recipe with the attack and the public images. The rest of it is not used.
        member: name of the attack.
        out: the run folder.
        seed: seed of the attack.
        budget: the largest number of images that may be queried, by this run and the runs that it resumes.
        compute: device and precision of the prior.
        progress: called with the progress of each part.

    Raises:
        UserError: the attack needs more access than the model supports, there are no public images, or the budget is
            used up.
    """
    compute, folders = compute or Compute(), Folders(out)
    method: Attack[Any, Any] = recipe.attack(member)
    place = folders.attack(method.name, "foreign", seed)
    bound = None if budget is None else Budget(budget, place.with_name(f"{place.name}.shown"))
    target = model.target(method.needs, bound)
    channels, height, width = model.image_shape
    if height != width or channels not in (1, 3):
        raise UserError(
            f"The target takes images of shape {model.image_shape}. Expected square ones of 1 or 3 channels."
        )
    if recipe.public is None:
        raise UserError(f"Recipe {recipe.name} needs public images. Give --public PATH.")
    public = recipe.public.load(
        height, 1 if channels == 1 else 3, lambda done, total: progress("load public images", done, total, "")
    )
    for student in starts_in(method).values():
        make_start(folders.starts, student, public, compute=compute, progress=progress)
    method = started(method, folders.starts, public)
    wanted = method.public_prior()
    if wanted is not None:
        folder = folders.prior(prior_name(wanted))
        pretrain(folder, wanted, public, model.classes, compute=compute, progress=progress)
    return attack_model(place, target, public, method, model.identities, seed, model.digest, folders, compute, progress)
