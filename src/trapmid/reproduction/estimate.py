"""Estimates of the time, memory and disk space of a reproduction, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from trapmid.audit import Folders, Task, plan
from trapmid.audit.plan import with_needs
from trapmid.audit.workload import Line, Workload
from trapmid.metrics.scores import NOT_APPLICABLE
from trapmid.models import ModelConfig
from trapmid.priors import Diffusion, OwnPrior
from trapmid.recipes.costs import Cost
from trapmid.reproduction.experiment import Experiment, ExperimentRow
from trapmid.reproduction.scale import Scale, identities_of
from trapmid.reproduction.studies import Layout, Study

GIB = 2**30


@dataclass(frozen=True)
class Estimate(Workload):
    """The estimated cost of a plan, whose folders run one after another.

    Attributes:
        memory: memory of one process in GiB.
        disk: disk space of the results in bytes.
        bases: where the estimates of time come from.
    """

    memory: float
    disk: float
    bases: tuple[str, ...]


def estimate(layout: Layout, experiments: Sequence[Experiment], scale: Scale) -> Estimate:
    """Every task of a layout with its estimated cost."""
    costs = {layout.sources[one.name, row].folder: scale.cost(row.target) for one in experiments for row in one.rows}
    lines = tuple(line for study in layout.studies for line in _lines(study, costs[study.folder]))
    return Estimate(
        lines=lines,
        memory=max(cost.memory for cost in costs.values()),
        disk=sum(map(_disk, layout.studies)),
        bases=tuple(dict.fromkeys(cost.basis for cost in costs.values())),
    )


def cells(layout: Layout, experiment: Experiment) -> list[tuple[ExperimentRow, str]]:
    """Every row with its state in words: done, to do, or without a run of its own."""
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
    """The tasks that the rows need, and the parts of the measurement, which `reproduce` begins after all of them."""
    folders, everything = Folders(study.folder), plan(study.recipe)
    needs = with_needs(list(study.tasks), everything)
    parts = [Task("measure", one.member, one.defense, one.seed) for one in needs if one.kind in ("train", "attack")]
    needs |= dict.fromkeys(parts, tuple(needs))
    return [
        Line(study.folder, task, cost.seconds(task, study.recipe), folders.has(task), needed)
        for task, needed in needs.items()
    ]


def _disk(study: Study) -> float:
    """Bytes of classifiers, generators, triggers and pictures. Checkpoints of running tasks need additional space."""
    recipe = study.recipe
    identities = identities_of(recipe)
    picture = recipe.channels * recipe.image_size**2
    total = 0.0
    for task in study.tasks:
        if task.kind == "train":
            total += 4 * weights(recipe.own_model, identities, recipe.image_size, recipe.channels)
            total += 4 * identities * picture if recipe.defense(task.defense).has_trapdoor else 0
        if task.kind == "attack":
            attack = recipe.attack(task.member)
            total += identities * attack.effort.images_per_identity * picture
            own = attack.own_prior()
            total += 0 if own is None else 4 * of_generator(own, identities, recipe.image_size, recipe.channels)
    return total


@cache
def weights(model: ModelConfig, identities: int, image_size: int, channels: int) -> int:
    """The number of parameters and buffers of a network of this architecture, without allocating them."""
    with torch.device("meta"):
        network = model.without_pretraining().network(identities, image_size, channels)
    return _numbers(network)


@cache
def of_generator(prior: OwnPrior, identities: int, image_size: int, channels: int) -> int:
    """The number of parameters and buffers of the generator that an attack keeps, without allocating them."""
    with torch.device("meta"):
        if isinstance(prior, Diffusion):
            return _numbers(prior.networks.build(identities, image_size, channels))
        return _numbers(prior.pair(identities, image_size, channels).generator)


def _numbers(network: nn.Module) -> int:
    return sum(value.numel() for value in network.state_dict().values())
