"""Checks a card against the run folder that it is said to come from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trapmid.leaderboard.card import ResultCard
from trapmid.leaderboard.making import cards_of
from trapmid.types import UserError


def check_card(card: ResultCard, run: str | Path) -> None:
    """Make the card again from its run folder and compare every value.

    All artifacts behind the card are opened, which compares their files with the SHA-256 in their manifests, and so is
    the chain from model over attack to measurement. Numbers that somebody put into a run folder together with matching
    digests are not found in this way. `trapmid audit` with the command of the card finds them.

    Raises:
        UserError: the run folder has no such result, is damaged, or differs. The message names every difference.
    """
    run = Path(run)
    asked = (card.defense.name, card.attack.name)
    own = next((one for one in cards_of(run, card.command) if (one.defense.name, one.attack.name) == asked), None)
    if own is None:
        raise UserError(f"{run} has no measured {card.attack.name} on {card.defense.name}.")
    found = [*_differences(card.model_dump(mode="json"), own.model_dump(mode="json"), "")]
    if found:
        raise UserError(f"The card {card.name} is not what {run} holds: {'; '.join(found)}.")


def _differences(said: Any, there: Any, place: str) -> Iterator[str]:
    if isinstance(said, dict) and isinstance(there, dict):
        for name in dict.fromkeys([*said, *there]):
            yield from _differences(said.get(name), there.get(name), f"{place}.{name}" if place else name)
    elif isinstance(said, list) and isinstance(there, list) and len(said) == len(there):
        for number, (one, other) in enumerate(zip(said, there, strict=True)):
            yield from _differences(one, other, f"{place}.{number}")
    elif said != there:
        yield f"{place} is {_short(said)} in the card and {_short(there)} in the run folder"


def _short(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, list | dict) else repr(value)
