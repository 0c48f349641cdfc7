"""What a comparison shows, in words, and nothing beyond that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from trapmid.comparison.differences import Difference
from trapmid.comparison.matching import Match
from trapmid.comparison.tables import signed, span
from trapmid.metrics.of_models import CLEAN_ACCURACY
from trapmid.metrics.recognition import AA1
from trapmid.metrics.units import Unit, percent

Level: TypeAlias = Literal["less", "more", "open"]


ONE_RUN = (
    "These are single runs. Another seed changes such numbers by several points even for the same model, so repeat "
    "both audits with --seeds 0 1 2 before you prefer one of the models."
)


@final
@dataclass(frozen=True)
class Finding:
    """What is shown about one pair of models.

    Attributes:
        level: whether the second model reveals less or more than the first one; "open" if neither is shown.
        headline: in one sentence.
        sentences: the numbers.
    """

    level: Level
    headline: str
    sentences: tuple[str, ...]


def findings(match: Match, found: Sequence[Difference]) -> list[Finding]:
    """A finding for each pair of models, by the first judge that both sides have.

    The attack that counts is the one with the highest AA-1 on either model, among those that search for images, because
    a model is as safe as its worst case. The second model reveals less if the 95 % interval of the difference of its
    AA-1 lies below 0. With one seed, that interval is over identities and says nothing about how much another run of
    the attack would differ, so the finding is about that run alone.
    """
    titles = match.titles()
    return [_finding(match, found, pair, title) for pair, title in zip(match.models, titles, strict=True)]


def _finding(match: Match, found: Sequence[Difference], pair: tuple[str, str], title: tuple[str, str]) -> Finding:
    rows = [one for one in found if (one.model_a, one.model_b) == pair]
    searching = {attack.name for attack in match.attacks if attack.searches}
    judge = match.judges[0]
    by_attack = [one for one in rows if one.metric == AA1.name and one.judge == judge.name]
    scored = [one for one in by_attack if one.attack in searching] or [
        one for one in by_attack if one.attack in {attack.name for attack in match.attacks}
    ]
    sentences = [_told(one, "Clean accuracy", title) for one in rows if one.metric == CLEAN_ACCURACY.name]
    if not scored:
        return Finding("open", "No attack was scored on both models.", tuple(sentences))
    strongest = max(scored, key=lambda one: max(one.a, one.b))
    heading = next(one.heading for one in match.attacks if one.name == strongest.attack)
    level: Level = "less" if strongest.high < 0 else "more" if strongest.low > 0 else "open"
    one_run = len(match.seeds) == 1
    reveals = "revealed" if one_run else "reveals"
    headline = {
        "less": f"{title[1]} {reveals} less than {title[0]}",
        "more": f"{title[1]} {reveals} more than {title[0]}",
        "open": f"No difference between {title[0]} and {title[1]} is shown",
    }[level] + (" in one run of the attack." if one_run and level != "open" else ".")
    told = _told(strongest, f"AA-1 of {heading}, the strongest attack,", title)
    return Finding(level, headline, (told, *sentences, *([ONE_RUN] if one_run else [])))


def _told(one: Difference, what: str, title: tuple[str, str]) -> str:
    text = (
        f"{what} is {percent(one.a, 1)} for {title[0]} and {percent(one.b, 1)} for {title[1]}: a difference of "
        f"{signed(one.difference, Unit.SHARE)} percentage points"
    )
    ends = span(one)
    return f"{text} (95\u00a0% interval {ends}, {one.interval})." if ends else f"{text}."
