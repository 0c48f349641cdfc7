"""What a reproduction would take: its cells, hours, memory and disk, told before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from trapmid.audit import Folders, Recipe, Task, plan
from trapmid.audit.plan import with_needs
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.models import ModelConfig
from trapmid.priors import GANConfig
from trapmid.reproduction.experiment import Experiment, ExperimentRow
from trapmid.reproduction.scale import Cost, Scale, identities_of
from trapmid.reproduction.studies import Layout, Study

GIB = 2**30


@dataclass(frozen=True)
class Line:
    """One task of a plan.

    Attributes:
        folder: of its audit.
        task: what is done.
        seconds: on one core or one GPU, estimated.
        done: whether its artifact is there.
    """

    folder: Path
    task: Task
    seconds: float
    done: bool


@dataclass(frozen=True)
class Estimate:
    """A plan in numbers.

    Attributes:
        lines: every task, in order.
        memory: GiB of one process.
        disk: bytes that stay.
        bases: where the seconds are from.
    """

    lines: tuple[Line, ...]
    memory: float
    disk: float
    bases: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of what is not done, one task after another."""
        return sum(line.seconds for line in self.lines if not line.done)


def estimate(layout: Layout, experiments: Sequence[Experiment], scale: Scale) -> Estimate:
    """Every task of a layout with what it costs."""
    costs = {layout.sources[one.name, row].folder: scale.cost(row.target) for one in experiments for row in one.rows}
    lines = tuple(line for study in layout.studies for line in _lines(study, costs[study.folder]))
    return Estimate(
        lines=lines,
        memory=max(cost.memory for cost in costs.values()),
        disk=sum(map(_disk, layout.studies)),
        bases=tuple(dict.fromkeys(cost.basis for cost in costs.values())),
    )


def cells(layout: Layout, experiment: Experiment) -> list[tuple[ExperimentRow, str]]:
    """Every row with its state: `done`, `to do`, or that it takes no run."""
    tasks = {study.folder: set(study.tasks) for study in layout.studies}
    said = []
    for row in experiment.rows:
        cell = layout.sources[experiment.name, row]
        wanted = [
            Task("train", defense=cell.defense, seed=seed)
            if cell.attack == NOT_APPLICABLE
            else Task("attack", cell.attack, cell.defense, seed)
            for seed in cell.seeds
        ]
        folders = Folders(cell.folder)
        if not tasks[cell.folder].issuperset(wanted):
            state = "no run of its own: measured with the model"
        else:
            done = sum(folders.of(task).exists() for task in wanted)
            state = "done" if done == len(wanted) else f"to do: {len(wanted) - done} of {len(wanted)} runs"
        said.append((row, state))
    return said


def _lines(study: Study, cost: Cost) -> list[Line]:
    folders, everything = Folders(study.folder), plan(study.recipe)
    tasks = [*with_needs(list(study.tasks), everything), Task("measure")]
    wanted = sum(task.kind in ("train", "attack") for task in tasks)
    return [
        Line(
            study.folder,
            task,
            cost.measure * wanted if task.kind == "measure" else _seconds(task, study.recipe, cost),
            folders.of(task).exists(),
        )
        for task in tasks
    ]


def _seconds(task: Task, recipe: Recipe, cost: Cost) -> float:
    if task.kind == "train":
        defense = recipe.defense(task.defense)
        known = cost.trainings
        return cost.plain * known.get(defense.name, known.get(defense.kind, 1.0))
    if task.kind == "attack":
        attack = recipe.attack(task.member)
        return cost.attacks.get(attack.name, cost.attacks.get(attack.kind, max(cost.attacks.values())))
    return cost.priors[recipe.priors()[task.member].kind] if task.kind == "prior" else cost.judge


def _disk(study: Study) -> float:
    """Weights of classifiers and generators, triggers and pictures; checkpoints of what is running come on top."""
    recipe = study.recipe
    identities = identities_of(recipe)
    picture = recipe.channels * recipe.image_size**2
    total = 0.0
    for task in study.tasks:
        if task.kind == "train":
            total += 4 * weights(recipe.model, identities, recipe.image_size, recipe.channels)
            total += 4 * identities * picture if recipe.defense(task.defense).has_trapdoor else 0
        if task.kind == "attack":
            attack = recipe.attack(task.member)
            total += identities * attack.images_per_identity * picture
            own = attack.own_prior()
            total += 0 if own is None else 4 * of_generator(own, identities, recipe.image_size, recipe.channels)
    return total


@cache
def weights(model: ModelConfig, identities: int, image_size: int, channels: int) -> int:
    """How many numbers a network of this architecture has; none of them is made for it."""
    with torch.device("meta"):
        network = model.without_pretraining().network(identities, image_size, channels)
    return _numbers(network)


@cache
def of_generator(prior: GANConfig, identities: int, image_size: int, channels: int) -> int:
    """How many numbers the generator has that an attack keeps; none of them is made for it."""
    with torch.device("meta"):
        return _numbers(prior.pair(identities, image_size, channels).generator)


def _numbers(network: nn.Module) -> int:
    return sum(value.numel() for value in network.state_dict().values())
