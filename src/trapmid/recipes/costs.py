"""How long the tasks of an audit take, as far as it was measured or counted before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trapmid.audit import Recipe, Task


@dataclass(frozen=True)
class Cost:
    """Estimates of what the tasks of audits cost on a machine.

    Attributes:
        plain: seconds of a training without a defense.
        trainings: training time by kind of defense, as a multiple of `plain`; 1 for kinds that are not listed.
        attacks: seconds by name of the attack, for prior and search together. Attacks that are not listed are taken to
            be as long as the longest of the others.
        priors: seconds by kind of prior, in the same way. Each is trained once.
        judge: seconds of the training of a judge, which happens once.
        measure: seconds of a measurement for each trained model and each attack.
        memory: memory of one process in GiB.
        basis: where the estimates come from.
    """

    plain: float
    trainings: Mapping[str, float]
    attacks: Mapping[str, float]
    priors: Mapping[str, float]
    judge: float
    measure: float
    memory: float
    basis: str

    def seconds(self, task: Task, recipe: Recipe) -> float:
        """The seconds of a task of a recipe, on one core or one GPU."""
        match task.kind:
            case "train":
                defense = recipe.defense(task.defense)
                return self.plain * self.trainings.get(defense.name, self.trainings.get(defense.kind, 1.0))
            case "attack":
                attack, longest = recipe.attack(task.member), max(self.attacks.values())
                return self.attacks.get(attack.name, self.attacks.get(attack.kind, longest))
            case "prior":
                return self.priors.get(recipe.priors()[task.member].kind, max(self.priors.values()))
            case "measure":
                return 0.0 if task == Task("measure") else self.measure  # which only joins the others
        return self.judge


HOUR = 3600.0
_TRAININGS = {
    "trapmid": 4.2, "onepass": 2.0, "anonymous": 4.9, "ted": 2.0, "ted+": 4.2, "bido": 1.5, "trapmid+negls": 4.2,
}  # fmt: skip

SMALL_FACES = Cost(
    plain=90.0,
    trainings=_TRAININGS,
    attacks={
        "plgmi": 270.0, "plgmi+": 270.0, "plgmi++": 270.0, "gmi": 90.0, "kedmi": 120.0, "lomma-gmi": 400.0,
        "lomma-kedmi": 350.0, "brep": 120.0, "brep-untargeted": 120.0, "ppa": 200.0,
    },
    priors={"cgan": 300.0, "dcgan": 200.0, "stylegan2": 1400.0},
    judge=90.0,
    measure=30.0,
    memory=2.4,
    basis="measured on one quiet core: trainings none, onepass and trapmid, PLG-MI and its prior; "
    "the others by the steps they take beside these",
)  # fmt: skip
DRAWN = Cost(
    plain=70.0,
    trainings={
        **_TRAININGS, "trapmid": 3.7, "ted+": 3.7, "onepass": 2.3, "trapmid+negls": 3.7, "onepass+negls": 2.3,
    },
    attacks={
        "plgmi": 36.0, "plgmi+": 36.0, "plgmi++": 36.0, "gmi": 14.0, "kedmi": 18.0, "lomma-gmi": 40.0,
        "lomma-kedmi": 36.0, "brep": 27.0, "brep-untargeted": 27.0, "ppa": 27.0,
    },
    priors={"cgan": 40.0, "dcgan": 27.0, "stylegan2": 160.0},
    judge=36.0,
    measure=5.0,
    memory=1.2,
    basis="measured on one core: trainings none, trapmid and onepass+negls, PLG-MI and its prior; "
    "the others by the steps they take beside these",
)  # fmt: skip
PUBLISHED_FACES = Cost(
    plain=840.0,
    trainings={
        "trapmid": 5.36, "onepass": 2.2, "ted": 2.0, "ted+": 5.36, "bido": 1.5, "negls": 2.0, "trapmid+negls": 10.7,
    },
    attacks={
        "plgmi": 6.5 * HOUR, "plgmi+": 7.0 * HOUR, "plgmi++": 7.0 * HOUR, "gmi": 1.7 * HOUR, "kedmi": HOUR,
        "lomma-gmi": 3.5 * HOUR, "lomma-kedmi": 2.0 * HOUR, "brep": 40.0 * HOUR, "brep-untargeted": 10.0 * HOUR,
    },
    priors={"dcgan": 0.5 * HOUR},
    judge=1.5 * HOUR,
    measure=600.0,
    memory=16.0,
    basis="Trap-MID's training as published (75 minutes on an RTX A6000, which are 12 TFLOP/s), other trainings by "
    "their steps beside it, attacks by counting operations at 10 TFLOP/s: orders of magnitude",
)  # fmt: skip
PORTRAITS = Cost(
    plain=4 * HOUR,
    trainings={"trapmid": 5.36},
    attacks={"ppa": 200.0 * HOUR},
    priors={"stylegan2": 60.0},
    judge=4 * HOUR,
    measure=HOUR,
    memory=48.0,
    basis="by counting operations at 10 TFLOP/s: orders of magnitude",
)


class Known(NamedTuple):
    """What the tasks of a recipe cost, and what runs one of them: `GPU` or `core`."""

    cost: Cost
    unit: str


KNOWN: dict[str, Known] = {
    **dict.fromkeys(
        ("demo", "attacks-demo", "adaptive-demo", "attacks-published-demo", "defenses-published-demo"),
        Known(DRAWN, "core"),
    ),
    **dict.fromkeys(("celeba64-cpu", "defenses-cpu", "attacks-cpu", "adaptive-cpu"), Known(SMALL_FACES, "core")),
    "celeba64_vgg16": Known(PUBLISHED_FACES, "GPU"),
}
"""The costs of recipes by name."""
