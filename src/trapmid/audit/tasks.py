"""The tasks of an audit: each opens its inputs, computes, and writes its artifact."""

from pathlib import Path
from typing import Any, final

from trapmid.attacks import Attack
from trapmid.attacks.attack import ReadyT, TargetT
from trapmid.audit.cells import attack_model, classes_of, model_manifest, open_subject
from trapmid.audit.examination import examine_subject
from trapmid.audit.failures import forget_failure, record_failure
from trapmid.audit.loading import AuditData, load_data
from trapmid.audit.measuring import Measuring, Panels, measure
from trapmid.audit.plan import Folders, Task
from trapmid.audit.recipe import Recipe
from trapmid.data import Split
from trapmid.defenses import TrainedModel, open_model, train
from trapmid.detection import known_signatures
from trapmid.engine import Compute, Progress
from trapmid.manifests import Manifest, open_artifact
from trapmid.priors import pretrain
from trapmid.starts import make_start, started
from trapmid.targets import Budget
from trapmid.trapdoor import Secrets


@final
class Session:
    """The state that a process shares between tasks: the images of the last recipe, and judges calibrated on them."""

    def __init__(self) -> None:
        self._read: tuple[str, AuditData] | None = None
        self._panels = Panels()

    def data(self, recipe: Recipe, progress: Progress) -> AuditData:
        """Read, select and split the images of a recipe, or return the images of the last task if they are the same.

        Raises:
            UserError: a source is missing from the recipe or cannot be read, or private and public images share people.
        """
        key = recipe.model_dump_json(
            include={"private", "public", "public_images", "image_size", "channels", "identities", "split"}
        )
        if self._read is None or self._read[0] != key:
            self._read = None  # before other images are read, because both may not fit into memory
            self._read = key, load_data(recipe, progress)
        return self._read[1]

    def measuring(self, recipe: Recipe, root: Path, compute: Compute, progress: Progress) -> Measuring:
        """The audit of a recipe, for measuring its parts."""
        return Measuring(recipe, self.data(recipe, progress), Folders(root), compute, progress, self._panels)

    def do(self, task: Task, recipe: Recipe, root: Path, compute: Compute, progress: Progress) -> Manifest:
        """Run one task, or return its artifact if it exists. The tasks that it needs have to be finished.

        If the task fails, its traceback is left in the run folder.
        """
        forget_failure(root, task)
        try:
            return self._do(task, recipe, root, compute, progress)
        except Exception as problem:
            record_failure(root, task, problem)
            raise

    def _do(self, task: Task, recipe: Recipe, root: Path, compute: Compute, progress: Progress) -> Manifest:
        data, folders = self.data(recipe, progress), Folders(root)
        if task.kind == "measure":
            return measure(task, self.measuring(recipe, root, compute, progress))
        done = {
            "start": _start,
            "prior": _prior,
            "judge": _judge,
            "train": _train,
            "examine": _examine,
            "attack": _attack,
        }
        return done[task.kind](task, recipe, data, folders, compute, progress)


def _start(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return make_start(folders.starts, recipe.starts()[task.member], data.public, compute=compute, progress=progress)


def _prior(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return pretrain(
        folders.prior(task.member),
        recipe.priors()[task.member],
        data.public,
        classes_of(recipe, data, compute),
        compute=compute,
        progress=progress,
    )


def _judge(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    judge = started(next(judge for judge in recipe.judges if judge.name == task.member), folders.starts, data.public)
    judge.appoint(folders.judge(judge.name), data.private, seed=0, compute=compute, progress=progress)
    return open_artifact(folders.judge(judge.name), "model")


def _train(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return train(
        folders.model(task.defense, task.seed),
        data.private,
        model=started(recipe.own_model, folders.starts, data.public),
        defense=started(recipe.defense(task.defense), folders.starts, data.public),
        training=recipe.own_training,
        seed=task.seed,
        compute=compute,
        secrets=folders.secrets(task.defense, task.seed),
        progress=progress,
    )


def _examine(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    return examine_subject(folders.of(task), recipe, task.defense, data, compute, progress)


def _attack(
    task: Task, recipe: Recipe, data: AuditData, folders: Folders, compute: Compute, progress: Progress
) -> Manifest:
    method: Attack[Any, Any] = started(recipe.attack(task.member), folders.starts, data.public)
    place = folders.of(task)
    if recipe.subjects:
        subject = open_subject(recipe, folders, task.defense, task.seed, data, compute)
        budget = None if recipe.budget is None else Budget(recipe.budget, place.with_name(f"{place.name}.shown"))
        target, identities = subject.target(method.needs, budget), subject.identities
    else:
        model = open_model(folders.model(task.defense, task.seed), compute)
        target = _target(method, model, data.private, folders.secrets(task.defense, task.seed))
        identities = model.identities
    digest = model_manifest(recipe, folders, task.defense, task.seed).digest()
    return attack_model(place, target, data.public, method, identities, task.seed, digest, folders, compute, progress)


def _target(method: Attack[TargetT, ReadyT], model: TrainedModel, private: Split, secrets: Path) -> Any:
    """The model with exactly the access level that the attack needs.

    Signatures are computed here, so that no attack has access to private images.
    """
    return method.needs.of(
        model.classifier,
        len(model.identities),
        model.image_shape,
        signatures=lambda: known_signatures(model.classifier, Secrets.load(secrets), private.part("train").images()),
    )
