"""The command for results as data: leaderboard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trapmid.cli.running import loading
from trapmid.console import console

Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]


@dataclass(frozen=True)
class MakeCards:
    """Write a card for every attack on every defense of a run folder.

    Attributes:
        run: the run folder.
        to: folder for the cards.
        command: the whole command that made the run folder. It is needed if settings were changed, or if a model of
            your own was audited.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    to: Folder = Path("results")
    command: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = None


@dataclass(frozen=True)
class CheckCard:
    """Make a card again from its run folder, and compare every value. The exit code is 2 if one differs.

    Attributes:
        card: the card, a .json file.
        run: the run folder that it comes from.
    """

    card: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CARD")]
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class BuildPage:
    """Write a page with all cards of a folder: one HTML file that needs no network.

    Attributes:
        cards: folder of the cards.
        to: file to write.
    """

    cards: Folder = Path("results")
    to: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("leaderboard.html")


Action = (
    Annotated[MakeCards, tyro.conf.subcommand("card")]
    | Annotated[CheckCard, tyro.conf.subcommand("check")]
    | Annotated[BuildPage, tyro.conf.subcommand("build")]
)


def leaderboard(action: Action) -> None:
    """Turn results into cards, check the cards of others, and show all of them on a page.

    A card is a JSON file with the main numbers of one attack on one defense, the command, the seeds, and digests of
    everything behind it. results/README.md says how to contribute one.

    Example: trapmid leaderboard card runs/demo

    Example: trapmid leaderboard check results/CARD.json --run runs/demo

    Example: trapmid leaderboard build --cards results --to leaderboard.html

    Args:
        action: what to do.
    """
    with loading():
        from trapmid.leaderboard import cards_of, check_card, read_card, write_cards, write_leaderboard
    if isinstance(action, MakeCards):
        for file in write_cards(cards_of(action.run, action.command), action.to):
            console.print(f"Card: {file}")
    elif isinstance(action, CheckCard):
        check_card(read_card(action.card), action.run)
        console.print(f"{action.card}: every value is that of {action.run}")
    else:
        console.print(f"Leaderboard: {write_leaderboard(action.cards, action.to)}")
