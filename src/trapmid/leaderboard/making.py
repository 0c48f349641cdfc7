"""Makes the cards of a run folder from its verified artifacts."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from trapmid.audit.cells import model_manifest
from trapmid.audit.measuring import MEASURED
from trapmid.audit.plan import Folders
from trapmid.audit.recipe import Recipe
from trapmid.audit.run import settle
from trapmid.leaderboard.card import AttackMethod, Images, Method, ResultCard
from trapmid.manifests import Manifest, open_artifact
from trapmid.metrics.of_models import CLEAN_ACCURACY, TRAPDOOR_SUCCESS
from trapmid.metrics.recognition import AA1, AA1_ACCEPTED, AA1_CORRECTED, AA5, KNN_DISTANCE
from trapmid.metrics.samples import over_all_seeds
from trapmid.metrics.scores import Score, read_scores
from trapmid.recipes import choose_recipe
from trapmid.report.collect import ACCESS
from trapmid.reproduction.published import Published, published
from trapmid.types import UserError

MAIN = tuple(
    metric.name for metric in (CLEAN_ACCURACY, TRAPDOOR_SUCCESS, AA1, AA1_CORRECTED, AA1_ACCEPTED, AA5, KNN_DISTANCE)
)
"""The metrics of a card."""

MAIN_TABLE = "table1"
"""The paper's table that cards are compared with."""


def cards_of(run: str | Path, command: str | None = None) -> list[ResultCard]:
    """The cards of a run folder: one for every defense and every attack of which all seeds are measured.

    Args:
        run: the run folder.
        command: the command that made it. By default it is found by comparison with trapmid's own recipes.

    Raises:
        UserError: nothing is measured, an artifact is damaged or was measured before it changed, or the recipe was
            changed and no command is given.
    """
    run = Path(run)
    recipe, folders = settle(None, run), Folders(run)
    command = command or command_of(recipe)
    cards = [
        _card(recipe, folders, defense, attack, command)
        for defense in (cell.name for cell in recipe.cells)
        for attack in (one.name for one in recipe.attacks)
        if all(folders.measured(attack, defense, seed).exists() for seed in recipe.seeds)
    ]
    if not cards:
        raise UserError(f"No attack in {run} is measured with all of its seeds. Run `trapmid measure {run}` first.")
    return cards


def _card(recipe: Recipe, folders: Folders, defense: str, attack: str, command: str) -> ResultCard:
    cell, method = recipe.cell(defense), recipe.attack(attack)
    data = open_artifact(folders.data, "data")
    first = open_artifact(folders.attack(attack, defense, recipe.seeds[0]), "attack")
    rows = [*_scores(recipe, folders, defense, attack)]
    return ResultCard(
        defense=Method(name=defense, title=cell.heading, publication=cell.paper),
        attack=AttackMethod(
            name=attack,
            title=method.heading,
            publication=method.paper,
            access=ACCESS[method.needs],
            adaptive=method.adaptive,
        ),
        data=Images(
            private=recipe.private.title if recipe.private else "",
            public=recipe.public.title if recipe.public else "",
            identities=data.fact("identities", int),
            public_images=data.fact("public_images", int),
            image_size=recipe.image_size,
            digests={"private": data.parents["private"], "public": data.parents["public"]},
        ),
        recipe=recipe.name,
        model="given" if recipe.model is None else recipe.model.kind,
        settings=_settings(recipe, defense, attack),
        command=command,
        seeds=recipe.seeds,
        measured=(*rows, *(over_all_seeds(rows) if len(recipe.seeds) > 1 else ())),
        reported=reported(defense, attack),
        evidence=dict(_evidence(recipe, folders, defense, attack)),
        versions=first.versions,
        made=first.created,
    )


def _settings(recipe: Recipe, defense: str, attack: str) -> str:
    cells = {
        name: tuple(one for one in getattr(recipe, name) if one.name == defense) for name in ("defenses", "subjects")
    }
    only = {**cells, "attacks": (recipe.attack(attack),), "private": None, "public": None, "seeds": (0,)}
    return recipe.model_copy(update=only).fingerprint()


def _scores(recipe: Recipe, folders: Folders, defense: str, attack: str) -> Iterator[Score]:
    """The main scores of an attack and of the models that it attacked, from the parts of the measurement."""
    for seed in recipe.seeds:
        for member in ("", attack):
            found = read_scores(folders.measured(member, defense, seed))
            yield from (one for one in found if one.metric in MAIN and one.attack in (attack, "-"))


def _evidence(recipe: Recipe, folders: Folders, defense: str, attack: str) -> Iterator[tuple[str, str]]:
    """The digests of all artifacts behind a card, each of them opened and compared with what was made from it.

    Raises:
        UserError: an artifact is damaged, or another one than that which was attacked or measured.
    """
    for seed in recipe.seeds:
        model, found = model_manifest(recipe, folders, defense, seed), folders.attack(attack, defense, seed)
        attacked = open_artifact(found, "attack")
        _came_from(folders, attacked, found, "model", model.digest())
        yield str(folders.model(defense, seed).relative_to(folders.root).as_posix()), model.digest()
        yield str(found.relative_to(folders.root).as_posix()), attacked.digest()
        for member, name, parent in (("", "model", model), (attack, attack, attacked)):
            place = folders.measured(member, defense, seed)
            part = open_artifact(place, MEASURED)
            _came_from(folders, part, place, name, parent.digest())
            yield str(place.relative_to(folders.root).as_posix()), part.digest()


def _came_from(folders: Folders, made: Manifest, place: Path, name: str, digest: str) -> None:
    if made.parents.get(name) != digest:
        raise UserError(
            f"{place} was made from another {name} than the one that is in {folders.root} now. Run the audit again, "
            "which makes anew what no longer fits."
        )


def command_of(recipe: Recipe) -> str:
    """The command of an audit by one of trapmid's recipes with nothing changed but its images and seeds.

    Raises:
        UserError: something else was changed, so the command cannot be known.
    """
    try:
        own = choose_recipe(recipe.name, seeds=recipe.seeds)
    except UserError:
        own = None
    if own is None or own.model_copy(update={"private": recipe.private, "public": recipe.public}) != recipe:
        example = "model.pt2 --private ..." if recipe.subjects else "--recipe ... --set ..."
        raise UserError(
            f"The recipe {recipe.name} of this run is none of trapmid's own, or has changed settings. Name the command "
            f"that made it: --command 'trapmid audit {example}'."
        )
    paths = "".join(
        f" --{side} {shlex.quote(source.title)}"
        for side, source in (("private", recipe.private), ("public", recipe.public))
        if source is not None and source != getattr(own, side)
    )
    return f"trapmid audit --recipe {recipe.name}{paths} --seeds {' '.join(map(str, recipe.seeds))}"


def reported(defense: str, attack: str) -> tuple[Published, ...]:
    """What the paper's main table reports for a defense and an attack."""
    return tuple(
        one
        for one in published()
        if one.experiment == MAIN_TABLE and one.row == defense and one.attack in (attack, "-")
    )
