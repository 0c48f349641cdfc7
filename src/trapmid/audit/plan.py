"""The plan of an audit: its tasks, what each task needs, and where each task writes its artifact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trapmid.audit.recipe import Recipe, prior_name, starts_in
from trapmid.config import Config

TaskKind = Literal["start", "prior", "judge", "train", "examine", "attack", "measure"]
FLOORS, DETECTION = "floors", "detection"
"""Parts of a measurement that do not belong to a single model or attack."""


@dataclass(frozen=True)
class Task:
    """One step of an audit: a pure function of the recipe and the artifacts it needs.

    Attributes:
        kind: what the task does.
        member: name of the start, the prior, the judge or the attack; empty for a training and an examination. For a
            measurement, it is the part that is measured. A measurement without member and defense combines all parts.
        defense: name of the defense or of the given model, for trainings, examinations, attacks and their
            measurements.
        seed: seed of the training and the attack, for the same tasks.
    """

    kind: TaskKind
    member: str = ""
    defense: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """A name for progress and logs, unique within an audit."""
        cell = f"{self.defense} seed {self.seed}" if self.defense else ""
        return " ".join(part for part in (self.kind, self.member, cell) if part)


@dataclass(frozen=True)
class Folders:
    """The layout of a run folder."""

    root: Path

    @property
    def data(self) -> Path:
        """The record of the split of each private image."""
        return self.root / "data"

    def prior(self, name: str) -> Path:
        """A prior that was trained on public images only."""
        return self.root / "priors" / name

    @property
    def starts(self) -> Path:
        """The folder of pretrained starts, beside the run folder. Runs with the same public images share it."""
        return self.root.parent / "starts"

    @property
    def measurement(self) -> Path:
        """The scores of all parts together, and the judges' verdicts on every image."""
        return self.root / "measurement"

    def measured(self, member: str, defense: str, seed: int) -> Path:
        """The scores and verdicts of one part."""
        return self.root / "measured" / (f"{member or 'model'}-{defense}-s{seed}" if defense else member)

    def judge(self, name: str) -> Path:
        """A judge that was trained for this audit."""
        return self.root / "judges" / name

    def model(self, defense: str, seed: int) -> Path:
        """A trained classifier, or the examination of a given one."""
        return self.root / "models" / f"{defense}-s{seed}"

    def secrets(self, defense: str, seed: int) -> Path:
        """The triggers of a classifier, which its defender must keep secret."""
        return self.root / "secrets" / f"{defense}-s{seed}"

    def attack(self, attack: str, defense: str, seed: int) -> Path:
        """The reconstructions of an attack on a classifier."""
        return self.root / "attacks" / attack / f"{defense}-s{seed}"

    def of(self, task: "Task") -> Path:
        """Return the folder that a task writes its artifact to."""
        return {
            "prior": self.prior(task.member),
            "judge": self.judge(task.member),
            "train": self.model(task.defense, task.seed),
            "examine": self.model(task.defense, task.seed),
            "attack": self.attack(task.member, task.defense, task.seed),
            "measure": self.measurement
            if task == Task("measure")
            else self.measured(task.member, task.defense, task.seed),
        }[task.kind]

    def finished(self, recipe: Recipe, *kinds: TaskKind) -> "list[Task]":
        """Return the tasks of some kinds whose artifact is complete."""
        return [task for task in plan(recipe) if task.kind in kinds and self.has(task)]

    def has(self, task: "Task") -> bool:
        """Whether the artifact of a task is complete. A start counts as missing, as its name depends on the images."""
        return task.kind != "start" and self.of(task).exists()


def plan(recipe: Recipe) -> dict[Task, tuple[Task, ...]]:
    """Return every task of an audit with the tasks that must be finished before it, in the order of execution.

    Seeds come one after another, so that an audit that is stopped early has complete results for some seeds. Within a
    seed, slower defenses come first. Given models are examined instead of trained. An attack that needs the signatures
    of a trapdoor is planned only for models that have a trapdoor.
    """
    kind: TaskKind = "examine" if recipe.subjects else "train"
    examined: tuple[Task, ...] = ()  # nothing is trained before all given models are sound
    if recipe.subjects:
        examined = tuple(Task(kind, defense=cell.name, seed=seed) for seed in recipe.seeds for cell in recipe.cells)
    tasks: dict[Task, tuple[Task, ...]] = dict.fromkeys(examined, ())
    tasks |= {Task("start", name): examined for name in recipe.starts()}
    tasks |= {Task("prior", name): examined for name in recipe.priors()}
    slowest_first = sorted(recipe.cells, key=lambda cell: cell.kind == "none")
    for seed in recipe.seeds:
        models = [Task(kind, defense=cell.name, seed=seed) for cell in slowest_first]
        own = () if recipe.model is None else _starts(recipe.model)
        tasks |= {t: () if recipe.subjects else (*own, *_starts(recipe.defense(t.defense))) for t in models}
        for attack in recipe.attacks:
            wanted = attack.public_prior()
            prior = (Task("prior", prior_name(wanted)),) if wanted is not None else ()
            tasks |= {
                Task("attack", attack.name, t.defense, seed): (t, *prior, *_starts(attack))
                for t in models
                if not attack.needs.knows_secrets or recipe.has_trapdoor(t.defense)
            }
    trained_judges = [judge for judge in recipe.judges if judge.kind == "classifier"]
    judges = {Task("judge", judge.name): (*examined, *_starts(judge)) for judge in trained_judges}
    tasks |= judges
    tasks |= _measuring(recipe, tasks, [*judges])
    tasks[Task("measure")] = tuple(tasks)
    return tasks


def _starts(config: Config) -> tuple[Task, ...]:
    return tuple(Task("start", name) for name in starts_in(config))


def _measuring(recipe: Recipe, tasks: dict[Task, tuple[Task, ...]], judges: list[Task]) -> dict[Task, tuple[Task, ...]]:
    """Return the parts of the measurement. Each needs the judges and the artifacts that it measures."""
    measuring = {Task("measure", FLOORS): (*judges, *(task for task in tasks if task.kind == "prior"))}
    for task in tasks:
        if task.kind in ("train", "examine", "attack"):
            measuring[Task("measure", task.member, task.defense, task.seed)] = (*judges, task)
        if task.kind == "train" and recipe.has_trapdoor(task.defense):
            same = [t for t in tasks if t.kind == "attack" and (t.defense, t.seed) == (task.defense, task.seed)]
            measuring[Task("measure", DETECTION, task.defense, task.seed)] = (task, *same)
    return measuring


def with_needs(wanted: list[Task], tasks: dict[Task, tuple[Task, ...]]) -> dict[Task, tuple[Task, ...]]:
    """Return the `wanted` tasks of a plan and all tasks that they need, in the order of the plan."""
    kept: set[Task] = set()
    waiting = list(wanted)
    while waiting:
        task = waiting.pop()
        if task not in kept:
            kept.add(task)
            waiting += tasks[task]
    return {task: needs for task, needs in tasks.items() if task in kept}
