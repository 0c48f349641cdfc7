"""The plan of an audit: its tasks, what each needs, and where each leaves its artifact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trapmid.audit.recipe import Recipe, prior_name
from trapmid.targets import InformedTarget

TaskKind = Literal["prior", "judge", "train", "attack", "measure"]
FLOORS, DETECTION = "floors", "detection"
"""Parts of a measurement that are of no single model or attack."""


@dataclass(frozen=True)
class Task:
    """One step of an audit: a pure function of the recipe and the artifacts it needs.

    Attributes:
        kind: what is done.
        member: name of the prior, the judge or the attack; empty for the others. Of a measurement: which part; without member and
            defense all of it.
        defense: name of the defense, for `train` and `attack` and what is measured of them.
        seed: of the run, for the same.
    """

    kind: TaskKind
    member: str = ""
    defense: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """For progress and logs: unique within an audit."""
        cell = f"{self.defense} seed {self.seed}" if self.defense else ""
        return " ".join(part for part in (self.kind, self.member, cell) if part)


@dataclass(frozen=True)
class Folders:
    """Where things lie in an audit's folder."""

    root: Path

    @property
    def data(self) -> Path:
        """Which private image is in which split."""
        return self.root / "data"

    def prior(self, name: str) -> Path:
        """A prior that knows no target."""
        return self.root / "priors" / name

    @property
    def measurement(self) -> Path:
        """Scores and verdicts."""
        return self.root / "measurement"

    def measured(self, member: str, defense: str, seed: int) -> Path:
        """A part of them."""
        return self.root / "measured" / (f"{member or 'model'}-{defense}-s{seed}" if defense else member)

    def judge(self, name: str) -> Path:
        """A judge that had to be trained."""
        return self.root / "judges" / name

    def model(self, defense: str, seed: int) -> Path:
        """A classifier under attack."""
        return self.root / "models" / f"{defense}-s{seed}"

    def secrets(self, defense: str, seed: int) -> Path:
        """What its defender must keep."""
        return self.root / "secrets" / f"{defense}-s{seed}"

    def attack(self, attack: str, defense: str, seed: int) -> Path:
        """What an attack got out of it."""
        return self.root / "attacks" / attack / f"{defense}-s{seed}"

    def of(self, task: "Task") -> Path:
        """Where a task leaves its artifact."""
        return {
            "prior": self.prior(task.member),
            "judge": self.judge(task.member),
            "train": self.model(task.defense, task.seed),
            "attack": self.attack(task.member, task.defense, task.seed),
            "measure": self.measurement
            if task == Task("measure")
            else self.measured(task.member, task.defense, task.seed),
        }[task.kind]

    def finished(self, recipe: Recipe, kind: TaskKind) -> "list[Task]":
        """The tasks of one kind whose artifact is there."""
        return [task for task in plan(recipe) if task.kind == kind and self.of(task).exists()]


def plan(recipe: Recipe) -> dict[Task, tuple[Task, ...]]:
    """Every task of an audit with those that must be finished first, in the order in which to begin them.

    An attack that knows the signatures of a trapdoor meets only models that have one. Seed after seed, so that an audit that is stopped early has whole seeds; the slower defenses first within each.
    """
    tasks: dict[Task, tuple[Task, ...]] = {Task("prior", name): () for name in recipe.priors()}
    slowest_first = sorted(recipe.defenses, key=lambda defense: defense.kind == "none")
    for seed in recipe.seeds:
        trainings = [Task("train", defense=defense.name, seed=seed) for defense in slowest_first]
        tasks |= dict.fromkeys(trainings, ())
        for attack in recipe.attacks:
            wanted = attack.public_prior()
            prior = (Task("prior", prior_name(wanted)),) if wanted is not None else ()
            tasks |= {
                Task("attack", attack.name, t.defense, seed): (t, *prior)
                for t in trainings
                if attack.needs is not InformedTarget or recipe.defense(t.defense).has_trapdoor
            }
    judges = [Task("judge", judge.name) for judge in recipe.judges if judge.kind == "classifier"]
    tasks |= dict.fromkeys(judges, ())
    tasks |= _measuring(recipe, tasks, judges)
    tasks[Task("measure")] = tuple(tasks)
    return tasks


def _measuring(recipe: Recipe, tasks: dict[Task, tuple[Task, ...]], judges: list[Task]) -> dict[Task, tuple[Task, ...]]:
    """The parts of the measurement, after what they are of and the judges."""
    measuring = {Task("measure", FLOORS): (*judges, *(task for task in tasks if task.kind == "prior"))}
    for task in tasks:
        if task.kind in ("train", "attack"):
            measuring[Task("measure", task.member, task.defense, task.seed)] = (*judges, task)
        if task.kind == "train" and recipe.defense(task.defense).has_trapdoor:
            same = [t for t in tasks if t.kind == "attack" and (t.defense, t.seed) == (task.defense, task.seed)]
            measuring[Task("measure", DETECTION, task.defense, task.seed)] = (task, *same)
    return measuring


def with_needs(wanted: list[Task], tasks: dict[Task, tuple[Task, ...]]) -> dict[Task, tuple[Task, ...]]:
    """The part of a plan that `wanted` takes."""
    kept: set[Task] = set()
    waiting = list(wanted)
    while waiting:
        task = waiting.pop()
        if task not in kept:
            kept.add(task)
            waiting += tasks[task]
    return {task: needs for task, needs in tasks.items() if task in kept}
