"""The verdict: what the numbers allow to be said, in words, and no more than that."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trapmid.metrics.of_models import CLEAN_ACCURACY, TRAPDOOR_SUCCESS
from trapmid.metrics.recognition import AA1, AA1_ACCEPTED
from trapmid.metrics.scores import NOT_APPLICABLE, Score
from trapmid.metrics.units import percent
from trapmid.report.contents import UNPROTECTED, Attack, Contents, Defense

Level: TypeAlias = Literal["protects", "partly", "fails", "unknown"]

LABELS: dict[Level, str] = {
    "protects": "Protection shown",
    "partly": "Some protection shown",
    "fails": "No protection shown",
    "unknown": "Cannot be judged",
}

NAMED = 4
"""Models whose results the headline can list; of more it gives the range."""

_HOLDS = {
    "white-box": "holds the model",
    "score": "can read the model's scores",
    "label": "can read only the model's decisions",
}


@dataclass(frozen=True)
class Finding:
    """What was found about one defense."""

    defense: Defense
    level: Level
    sentences: tuple[str, ...]

    @property
    def label(self) -> str:
        """The level in words."""
        return LABELS[self.level]


@dataclass(frozen=True)
class Verdict:
    """The headline sentence, one finding per defense, and the limits that belong beside them."""

    headline: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def judge(contents: Contents) -> Verdict:
    """Read the scores by the first judge, against the strongest attack on each model."""
    shown = [defense for defense in contents.defenses if defense.name != UNPROTECTED]
    return Verdict(
        headline=_headline(contents),
        findings=tuple(_finding(contents, defense) for defense in shown),
        notes=tuple(_notes(contents)),
    )


def cannot_show(contents: Contents) -> str | None:
    """Why no defense could look good or bad in this audit; None where one can."""
    plain = contents.strongest(UNPROTECTED)
    floor = contents.floor(AA1)
    if plain is None:
        return "No attack on an unprotected model was scored, so there is nothing to compare with."
    if floor is None:
        return "No floor was measured (random guesses without an attack), so success cannot be told from luck."
    if plain[1].low <= floor.high:
        return (
            "The attack does no better than guessing even against the unprotected model, "
            "so this audit cannot show protection."
        )
    return None


def _headline(contents: Contents) -> str:
    parts: list[tuple[Defense, Attack, Score]] = []
    for defense in contents.defenses:
        best = contents.strongest(defense.name)
        if best is not None:
            parts.append((defense, *best))
    if not parts:
        return "No attack was scored, so this report says nothing about what an attacker can recover."
    parts.sort(key=lambda part: part[0].name != UNPROTECTED)
    attempts = max(attack.attempts for _, attack, _ in parts)
    thing = f"a recognisable {contents.data.subject}"
    shares, several = [], len(parts) > NAMED
    for place, (defense, _, score) in enumerate(parts[:1] if several else parts):
        model = f"the {'one' if place else 'model'} trained with {defense.title}"
        model = "the unprotected model" if defense.name == UNPROTECTED else model
        if attempts == 1:
            shares.append(f"for {percent(score.value)}{'' if place else ' of the identities'} from {model}")
        else:
            shares.append(f"in {percent(score.value)} of {'those' if place else 'the attempts'} on {model}")
    if several:
        defended = sorted(parts[1:], key=lambda part: part[2].value)
        ends = " to ".join(f"{percent(one[2].value)} ({one[0].title})" for one in (defended[0], defended[-1]))
        what = "the identities" if attempts == 1 else "the attempts"
        shares.append(f"of {what} on the {len(defended)} others in {ends}")
    who = "An attacker" if len(contents.attacks) == 1 else "The strongest attacker tried"
    has = f"{_access(contents)} and {contents.data.public_description}"
    text = f"{who} who {has} recovered {thing} {listed(shares, ', and ')}"
    floor = contents.floor(AA1)
    if floor is None:
        return f"{text}."
    return f"{text}; guessing {contents.data.subject}s at random gives {percent(floor.value)}."


def _access(contents: Contents) -> str:
    order = ("white-box", "score", "label")
    return _HOLDS[min((attack.access for attack in contents.attacks), key=order.index)]


def _finding(contents: Contents, defense: Defense) -> Finding:
    best = contents.strongest(defense.name)
    if best is None:
        return Finding(defense, "unknown", ("No attack on this model was scored.",))
    blocked = cannot_show(contents)
    plain = contents.strongest(UNPROTECTED)
    if blocked is not None or plain is None:
        return Finding(defense, "unknown", (blocked or "", *_trapdoor(contents, defense)))

    level, sentences = _compare(contents, defense, plain[1], best[1])
    missing = _trapdoor(contents, defense)
    lost = _utility(contents, defense)
    if missing and level != "fails":
        level = "unknown"
    elif lost[0] and level == "protects":
        level = "partly"
    return Finding(defense, level, (*sentences, *missing, *lost[1]))


def _compare(contents: Contents, defense: Defense, plain: Score, own: Score) -> tuple[Level, list[str]]:
    pair = f"{percent(own.value, 1)} against {percent(plain.value, 1)}"
    if own.low > plain.high:
        return "fails", [f"The attack recovers more from this model than from the unprotected one ({pair})."]
    if own.high >= plain.low:
        return "fails", [
            f"The interval overlaps that of the unprotected model ({pair}): "
            f"this audit does not show that {defense.title} helps."
        ]
    floor = contents.floor(AA1)
    if floor is not None and own.low <= floor.high:
        level = f"{pair}; guessing {percent(floor.value, 1)}"
        return "protects", [f"The attack falls to the level of guessing ({level})."]
    return "partly", [f"The attack recovers less ({pair}), but still more than guessing does."]


def _trapdoor(contents: Contents, defense: Defense) -> list[str]:
    success = contents.score(defense.name, NOT_APPLICABLE, TRAPDOOR_SUCCESS)
    if success is None or success.value >= contents.trapdoor_took:
        return []
    return [
        f"The trapdoor did not take: {percent(success.value, 1)} of the triggered images reach their class, "
        f"{percent(contents.trapdoor_took)} are needed. Whatever the attack does here is not {defense.title}'s doing."
    ]


def _utility(contents: Contents, defense: Defense) -> tuple[bool, list[str]]:
    plain = contents.score(UNPROTECTED, NOT_APPLICABLE, CLEAN_ACCURACY)
    own = contents.score(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY)
    if plain is None or own is None:
        return False, ["Clean accuracy was not measured for both models, so the price of the defense is not known."]
    pair = f"{percent(own.value, 1)} of new private images are classified correctly, {percent(plain.value, 1)} without"
    if plain.value - own.value > contents.tolerated_loss:
        return True, [f"The price is high: {pair}. A model that has learned less also gives less away."]
    return False, [f"The price in accuracy: {pair}."]


def _notes(contents: Contents) -> list[str]:
    notes = []
    protected = [defense for defense in contents.defenses if defense.name != UNPROTECTED]
    if protected and not any(attack.adaptive for attack in contents.attacks):
        notes.append("No attack tried here knew of the defense. One that does may recover more.")
    accepted = [
        (defense, score) for defense in contents.defenses if (score := _accepted(contents, defense)) is not None
    ]
    if accepted:
        shares = listed([f"{percent(score.value)} ({defense.title})" for defense, score in accepted])
        notes.append(f"Counting only pictures that the judge accepts as a plausible {contents.data.subject}: {shares}.")
    for other in contents.judges[1:]:
        rows = [(defense, _by(contents, defense, other.name)) for defense in contents.defenses]
        said = [f"{percent(score.value)} ({defense.title})" for defense, score in rows if score is not None]
        if said:
            notes.append(f"A second opinion, {other.title}: {listed(said)}.")
    if len(contents.seeds) < 2:
        notes.append("One seed only: how much the result changes from one training to the next is not known.")
    return notes


def _accepted(contents: Contents, defense: Defense) -> Score | None:
    best = contents.strongest(defense.name, AA1_ACCEPTED)
    return None if best is None else best[1]


def _by(contents: Contents, defense: Defense, kind: str) -> Score | None:
    rows = [contents.score(defense.name, attack.name, AA1, kind) for attack in contents.attacks]
    return max((row for row in rows if row is not None), key=lambda row: row.value, default=None)


def listed(parts: list[str], last: str = " and ") -> str:
    """As people list things: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}{last}{parts[-1]}"
