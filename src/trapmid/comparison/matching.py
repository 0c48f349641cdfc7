"""What two sides have in common, so that it can be compared, and what cannot be compared at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from trapmid.attacks import AnyAttack
from trapmid.comparison.sides import Side
from trapmid.config import Member
from trapmid.manifests import open_artifact
from trapmid.metrics.judges import AnyJudge
from trapmid.metrics.table import of_name
from trapmid.types import UserError


@final
@dataclass(frozen=True, eq=False)
class Match:
    """What two sides have in common.

    Attributes:
        a: the first side.
        b: the second side.
        models: the names of each pair of models.
        seeds: each pair of seeds, of `a` and of `b`.
        judges: with the same settings on both sides, in the order of `a`.
        attacks: with the same settings on both sides, in the order of `a`.
        notes: sentences about what was left out, and why.
    """

    a: Side
    b: Side
    models: Sequence[tuple[str, str]]
    seeds: Sequence[tuple[int, int]]
    judges: Sequence[AnyJudge]
    attacks: Sequence[AnyAttack]
    notes: Sequence[str]

    def titles(self) -> list[tuple[str, str]]:
        """How each pair of models is called; where that would be the same, with the folder."""
        found = []
        for first, second in self.models:
            names = self.a.recipe.cell(first).heading, self.b.recipe.cell(second).heading
            places = self.a.place, self.b.place
            if names[0] == names[1]:
                names = f"{names[0]} ({places[0]})", f"{names[1]} ({places[1]})"
            found.append(names)
        return found


def match(a: Side, b: Side) -> Match:
    """What two sides have in common.

    Raises:
        UserError: they have other images, or no judge, attack, model or seed in common.
    """
    if a.recipe.image_size != b.recipe.image_size:
        raise UserError(
            f"{a.place} has images of {a.recipe.image_size} px and {b.place} of {b.recipe.image_size} px. Repeat one "
            "audit with the --resolution of the other."
        )
    for side, who in (("private", "people whom the model knows"), ("public", "people whom the attacker has")):
        if a.data.parents[side] != b.data.parents[side]:
            raise UserError(
                f"{a.place} and {b.place} were made from different {side} images, those of the {who}. Repeat one audit "
                "with the images, and the --identities, of the other."
            )
    models = _models(a, b)
    seeds = _seeds(a, b)
    if a.folders.root.resolve() == b.folders.root.resolve() and any(
        (first, of_a) == (second, of_b) for first, second in models for of_a, of_b in seeds
    ):
        raise UserError(f"{a.place} and {b.place} are the same results. Name two of them.")
    judges, other_judges = _common(a.recipe.judges, b.recipe.judges)
    if not judges:
        raise UserError(
            f"{a.place} and {b.place} have no judge in common: {_names(a.recipe.judges)} against "
            f"{_names(b.recipe.judges)}, or with other settings. Repeat one audit with the judges of the other."
        )
    attacks, other_attacks = _common(a.recipe.attacks, b.recipe.attacks)
    if not attacks:
        raise UserError(
            f"{a.place} and {b.place} have no attack in common: {_names(a.recipe.attacks)} against "
            f"{_names(b.recipe.attacks)}, or with other settings. Repeat one audit with the --attacks and the --effort "
            "of the other."
        )
    notes = [
        *(f"{one.heading} has other settings in {b.place} and is left out." for one in (*other_judges, *other_attacks)),
        *_of_seeds(a, b, seeds),
        *_of_judges(a, b, judges),
        *_of_versions(a, b),
    ]
    return Match(a, b, models, seeds, judges, attacks, notes)


def _models(a: Side, b: Side) -> list[tuple[str, str]]:
    """Models of the same name; a single one on both sides, whatever its name.

    Raises:
        UserError: there are none.
    """
    if len(a.models) == len(b.models) == 1:
        return [(a.models[0], b.models[0])]
    if both := [(name, name) for name in a.models if name in b.models]:
        return both
    raise UserError(
        f"{a.place} has the models {', '.join(a.models)} and {b.place} has {', '.join(b.models)}. Name one of each, "
        f"such as {a.folders.root / 'models' / a.models[0]}."
    )


def _seeds(a: Side, b: Side) -> list[tuple[int, int]]:
    """Seeds that both have; a single one on both sides, whatever it is.

    Raises:
        UserError: there are none.
    """
    if len(a.seeds) == len(b.seeds) == 1:
        return [(a.seeds[0], b.seeds[0])]
    if both := [(seed, seed) for seed in a.seeds if seed in b.seeds]:
        return both
    raise UserError(
        f"{a.place} has the seeds {', '.join(map(str, a.seeds))} and {b.place} has {', '.join(map(str, b.seeds))}. "
        "Repeat one audit with the --seeds of the other."
    )


Named = TypeVar("Named", bound=Member)


def _common(first: Sequence[Named], second: Sequence[Named]) -> tuple[list[Named], list[Named]]:
    """The members of the same name and the same settings on both sides, and those of the same name alone."""
    there = {one.name: one.canonical() for one in second}
    both = [one for one in first if one.name in there]
    same = [one for one in both if there[one.name] == one.canonical()]
    return same, [one for one in both if one not in same]


def _names(members: Sequence[Member]) -> str:
    return ", ".join(one.name for one in members)


def _of_seeds(a: Side, b: Side, seeds: Sequence[tuple[int, int]]) -> list[str]:
    notes = []
    for side, used in ((a, {first for first, _ in seeds}), (b, {second for _, second in seeds})):
        if more := [seed for seed in side.seeds if seed not in used]:
            notes.append(f"Seed {', '.join(map(str, more))} is in {side.place} alone and is left out.")
    return notes


def _of_judges(a: Side, b: Side, judges: Sequence[AnyJudge]) -> list[str]:
    """Judges are trained in each run folder, which gives the same weights on the same machine only."""
    notes = []
    for judge in judges:
        folders = [side.folders.judge(judge.name) for side in (a, b)]
        if all(folder.exists() for folder in folders):
            first, second = (open_artifact(folder, "model").digest() for folder in folders)
            if first != second:
                notes.append(
                    f"The judge {judge.heading} was trained in each run folder, and its weights differ. It has the "
                    "same settings and images, but part of a difference may be the judge's."
                )
    return notes


def _of_versions(a: Side, b: Side) -> list[str]:
    names = {row.metric for row in a.scores} & {row.metric for row in b.scores}
    changed = sorted(name for name in names if not same_version(a, b, name))
    if not changed:
        return []
    return [
        f"{', '.join(changed)}: the definition changed between the versions of trapmid that measured the two folders, "
        "so these are left out. `trapmid measure` brings a folder up to date."
    ]


def same_version(a: Side, b: Side, metric: str) -> bool:
    """Whether a score of this name means the same on both sides."""
    known = of_name(metric)
    return known is not None and a.version(known) == b.version(known)
