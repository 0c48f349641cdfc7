"""Opening and attacking the models of an audit, which are either trained in the audit or given."""

from pathlib import Path
from typing import Any

from trapmid.attacks import Attack, attack
from trapmid.audit.loading import AuditData
from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe, prior_name
from trapmid.data import ImageSet
from trapmid.defenses import TrainedModel, open_model
from trapmid.engine import Compute, Progress
from trapmid.manifests import Manifest, open_artifact
from trapmid.priors import open_prior
from trapmid.subjects import Subject
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError

EXAMINATION = "examination"
"""The kind of the artifact that replaces a trained model if the model is given."""


def model_manifest(recipe: Recipe, folders: Folders, name: str, seed: int) -> Manifest:
    """The manifest of a trained model, or of the examination of a given model."""
    return open_artifact(folders.model(name, seed), EXAMINATION if recipe.subjects else "model")


def subject_of(recipe: Recipe, name: str, data: AuditData, compute: Compute) -> Subject:
    """Open a given model for the audit: with the image size of the audit, and the private identities as classes.

    Raises:
        UserError: it cannot be opened, or its classes do not match the private images.
    """
    subject = recipe.subject(name).open(recipe.access, compute)
    return subject.showing(data.private.images.identities, data.everybody, recipe.image_size, recipe.channels)


def open_subject(recipe: Recipe, folders: Folders, name: str, seed: int, data: AuditData, compute: Compute) -> Subject:
    """Open a given model that was examined.

    Raises:
        UserError: see `subject_of`, or the model is not the one that was examined.
    """
    subject = subject_of(recipe, name, data, compute)
    examined = model_manifest(recipe, folders, name, seed)
    if examined.parents["model"] != subject.digest:
        raise UserError(
            f"{recipe.subject(name).path} is not the model any more that this audit began with. Bring that one back, "
            "or choose another --out."
        )
    return subject


def classes_of(recipe: Recipe, data: AuditData, compute: Compute) -> int:
    """The number of classes of the targets of an audit. Priors and attacks use the same number.

    Raises:
        UserError: two given models have different numbers of classes.
    """
    if not recipe.subjects:
        return len(data.private.images.identities)
    found = {one.name: subject_of(recipe, one.name, data, compute).classes for one in recipe.subjects}
    if len(set(found.values())) > 1:
        raise UserError(
            "Of the models that are compared, one knows the private identities alone and another one more classes. "
            "Audit each into a folder of its own."
        )
    return next(iter(found.values()))


def open_classifier(
    recipe: Recipe, folders: Folders, name: str, seed: int, data: AuditData, compute: Compute
) -> tuple[TrainedModel, bool]:
    """Open a model of the audit for metrics. Also returns whether it supports gradients."""
    if not recipe.subjects:
        return open_model(folders.model(name, seed), compute), True
    subject, manifest = (
        open_subject(recipe, folders, name, seed, data, compute),
        model_manifest(recipe, folders, name, seed),
    )
    opened = TrainedModel(subject.module, manifest, subject.identities, subject.image_shape)
    return opened, issubclass(subject.access, WhiteBoxTarget)


def attack_model(
    place: Path,
    target: LabelTarget,
    public: ImageSet,
    method: Attack[Any, Any],
    identities: tuple[str, ...],
    seed: int,
    model: str,
    folders: Folders,
    compute: Compute,
    progress: Progress,
) -> Manifest:
    """Run an attack on a target, and write the results to the folder `place`.

    The prior that the attack starts with is read from the run folder.

    Args:
        place: the folder of the attack.
        target: the model under attack.
        public: the attacker's images.
        method: the attack.
        identities: the names of the classes to search for, in order.
        seed: seed of the attack.
        model: digest of the model.
        folders: folders of the run. The prior in them has to be finished.
        compute: device and precision.
        progress: called with the progress.
    """
    parents, prior, wanted = {"model": model, "public": public.digest()}, None, method.public_prior()
    if wanted is not None:
        prior, manifest = open_prior(folders.prior(prior_name(wanted)), wanted, compute)
        parents["prior"] = manifest.digest()
    return attack(
        place,
        target,
        public,
        method=method,
        identities=identities,
        seed=seed,
        parents=parents,
        prior=prior,
        compute=compute,
        progress=progress,
    )
