"""Experiments as audits: cells with the same training share a folder, so that they run once."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trapmid.attacks import AnyAttack
from trapmid.audit import Folders, Recipe, Task, plan
from trapmid.audit.run import settle
from trapmid.config import fingerprint
from trapmid.defenses import Defense
from trapmid.files import alone
from trapmid.manifests import MANIFEST, PARTIAL, RECIPE
from trapmid.recipes import changed
from trapmid.reproduction.experiment import Experiment, ExperimentRow
from trapmid.reproduction.scale import Scale
from trapmid.types import UserError

MEMBERS = {"defenses", "attacks", "seeds", "judges", "fidelity"}
"""Fields that can be extended in a run folder later. All other fields determine the folder."""

DATA = {"private", "public", "image_size", "channels", "identities", "split"}


@dataclass(frozen=True)
class RowSource:
    """The source of the numbers of a row.

    Attributes:
        folder: the folder of the audit.
        defense: name of the defense in that audit.
        attack: name of the attack in that audit; "-" for the model alone.
        seeds: seeds of the runs.
    """

    folder: Path
    defense: str
    attack: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """One audit, and the tasks in it that the rows need.

    Attributes:
        folder: the folder of the audit.
        recipe: the recipe, with the defenses, attacks and seeds of all rows that share it.
        tasks: trainings, attacks and judges that the rows need.
    """

    folder: Path
    recipe: Recipe
    tasks: tuple[Task, ...]

    def settled(self) -> Recipe:
        """The recipe combined with the one in the folder. The result is stored there."""
        return settle(self.recipe, self.folder)

    def finished(self) -> bool:
        """Whether all tasks that are needed are finished, so that no worker has to start."""
        return all(Folders(self.folder).of(task).exists() for task in self.tasks)


@dataclass(frozen=True)
class Layout:
    """All studies of some experiments, and the cell of every row.

    Attributes:
        studies: the studies in the order of first use.
        sources: the source of each row, by the name of the experiment and the row.
    """

    studies: tuple[Study, ...]
    sources: dict[tuple[str, ExperimentRow], RowSource]


def lay_out(
    experiments: Sequence[Experiment],
    scale: Scale,
    out: Path,
    *,
    seeds: tuple[int, ...] = (),
    changes: Sequence[str] = (),
) -> Layout:
    """Assign every row of every experiment to a cell of an audit below `out`.

    Args:
        experiments: the experiments.
        scale: turns rows into recipes.
        out: the folder of all audits.
        seeds: seeds that replace those of the scale.
        changes: changes to values of recipes, in the syntax of `--set`. Each has to fit at least one audit. Audits that
            it does not fit are not changed.

    Raises:
        UserError: a change fits no audit.
    """
    wanted = [(one, row, seeds or scale.seeds(one)) for one in experiments for row in one.rows]
    bases: dict[str, _Audit] = {}
    placed: list[tuple[str, ExperimentRow, str, tuple[int, ...]]] = []
    for experiment, row, of in wanted:
        recipe = scale.recipe(row.target, row.defense)
        key = _content(recipe)
        audit = bases.setdefault(key, _Audit(recipe))
        audit.add(scale.defense(row), scale.attack(row), row, of)
        placed.append((experiment.name, row, key, of))
    recipes = _all_changed({key: audit.recipe() for key, audit in bases.items()}, changes)
    folders = {key: out / f"{recipe.name}-{_content(recipe)[:6]}" for key, recipe in recipes.items()}
    studies = tuple(Study(folders[key], recipe, bases[key].tasks(recipe)) for key, recipe in recipes.items())
    cells = {
        (name, row): RowSource(folders[key], bases[key].names[row][0], bases[key].names[row][1], of)
        for name, row, key, of in placed
    }
    return Layout(studies, cells)


class _Audit:
    """Collects the rows that share one folder."""

    def __init__(self, base: Recipe) -> None:
        self.base = base
        self.defenses: dict[str, Defense] = {}
        self.attacks: dict[str, AnyAttack] = {}
        self.runs: dict[tuple[str, str, int], None] = {}
        self.names: dict[ExperimentRow, tuple[str, str]] = {}

    def add(self, defense: Defense, attack: AnyAttack | None, row: ExperimentRow, seeds: tuple[int, ...]) -> None:
        assert self.defenses.setdefault(defense.name, defense) == defense, "two variants under one name"
        if attack is not None:
            assert self.attacks.setdefault(attack.name, attack) == attack, "two variants under one name"
        name = row.attack if attack is None else attack.name
        self.names[row] = (defense.name, name)
        self.runs |= {(defense.name, name, seed): None for seed in seeds}

    def recipe(self) -> Recipe:
        """The recipe of all rows.

        A report needs an attack. A study without attacks therefore names one, but leaves it out of its tasks.
        """
        attacks = tuple(self.attacks.values()) or self.base.attacks[:1]
        seeds = tuple(sorted({seed for _, _, seed in self.runs}))
        members = {"defenses": tuple(self.defenses.values()), "attacks": attacks, "seeds": seeds}
        return self.base.model_copy(update=members)

    def tasks(self, recipe: Recipe) -> tuple[Task, ...]:
        trained = {(defense, seed) for defense, _, seed in self.runs}
        return tuple(
            task
            for task in plan(recipe)
            if task.kind == "judge"
            or (task.kind == "train" and (task.defense, task.seed) in trained)
            or (task.kind == "attack" and (task.defense, task.member, task.seed) in self.runs)
        )


def _all_changed(recipes: dict[str, Recipe], changes: Sequence[str]) -> dict[str, Recipe]:
    for change in changes:
        done, problem = {}, None
        for key, recipe in recipes.items():
            try:
                done[key] = changed(recipe, (change,))
            except UserError as said:
                problem = said
        if problem is not None and not done:
            raise problem
        recipes = recipes | done
    return recipes


def _content(recipe: Recipe) -> str:
    """A text that differs between recipes whose cells cannot share a folder.

    It does not contain the paths of images, so images that were moved lead to the same folder, which refuses them.
    """
    values = {name: value for name, value in recipe.canonical().items() if name not in MEMBERS | {"about"}}
    for side in ("private", "public"):
        (values[side] or {}).pop("path", None)
    return fingerprint(values)


def adopt(study: Study) -> None:
    """Copy finished judges and priors from neighboring studies that have the same images and settings."""
    here, recipe = Folders(study.folder), study.recipe
    for beside in sorted(study.folder.parent.glob(f"*/{RECIPE}")):
        other, there = settle(None, beside.parent), Folders(beside.parent)
        if beside.parent == study.folder or any(getattr(recipe, name) != getattr(other, name) for name in DATA):
            continue
        pairs = [(there.prior(name), here.prior(name)) for name in recipe.priors()]
        pairs += [(there.judge(judge.name), here.judge(judge.name)) for judge in recipe.judges if judge in other.judges]
        for finished, wanted in pairs:
            begun = wanted.with_name(wanted.name + PARTIAL)
            if not (finished / MANIFEST).exists() or wanted.exists():
                continue
            with alone(wanted):
                if wanted.exists() or begun.exists():
                    continue
                new = wanted.with_name(wanted.name + ".copy")
                shutil.rmtree(new, ignore_errors=True)
                shutil.copytree(finished, new)
                new.rename(wanted)
