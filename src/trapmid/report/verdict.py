"""The verdict: what the numbers show about each defense, in words, and nothing beyond that."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from trapmid.metrics.of_models import CLEAN_ACCURACY, TRAPDOOR_SUCCESS
from trapmid.metrics.recognition import AA1, AA1_ACCEPTED
from trapmid.metrics.scores import NOT_APPLICABLE, Score
from trapmid.metrics.units import percent
from trapmid.report.contents import UNPROTECTED, Attack, Contents, Defense
from trapmid.report.risk import facts, risk

Level: TypeAlias = Literal["protects", "partly", "fails", "unknown", "reveals", "chance"]

LABELS: dict[Level, str] = {
    "protects": "Protection shown",
    "partly": "Some protection shown",
    "fails": "No protection shown",
    "unknown": "Cannot be judged",
    "reveals": "Reveals private images",
    "chance": "No more than chance shown",
}

NAMED = 4
"""The headline lists the results of at most so many models; for more it gives the range."""

_ACCESS = {
    "white-box": "full access to the model",
    "score": "access to the model's scores",
    "label": "access to the model's decisions only",
}


@dataclass(frozen=True)
class Finding:
    """The verdict on one defense: its level, and the sentences that support it."""

    defense: Defense
    level: Level
    sentences: tuple[str, ...]

    @property
    def label(self) -> str:
        """The level in words."""
        return LABELS[self.level]


@dataclass(frozen=True)
class Verdict:
    """The headline, one finding per defense, and the limits that a reader must know beside them."""

    headline: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def judge(contents: Contents) -> Verdict:
    """The verdict by the first judge, from the strongest attack on each model.

    Protection is shown if the 95 % interval of AA-1 lies wholly below that of the unprotected model, whose own interval
    must lie wholly above the floor. A trapdoor must have been installed (`trapdoor_took`). A loss of clean accuracy
    above `tolerated_loss` lowers "protects" to "partly". Of models that were not trained in the audit, it is told
    whether attacks recover more than chance (`trapmid.report.risk`).
    """
    if contents.given:
        return Verdict(
            headline=_headline(contents),
            findings=tuple(_of_given(contents, model) for model in contents.defenses),
            notes=(*facts(contents), *_notes(contents)),
        )
    shown = [defense for defense in contents.defenses if defense.name != UNPROTECTED]
    return Verdict(
        headline=_headline(contents),
        findings=tuple(_finding(contents, defense) for defense in shown),
        notes=tuple(_notes(contents)),
    )


def _of_given(contents: Contents, model: Defense) -> Finding:
    level, sentences = risk(contents, model)
    return Finding(model, cast("Level", level), tuple(sentences))


def cannot_show(contents: Contents) -> str | None:
    """Why this audit cannot show protection, whatever the defense; None if it can."""
    if contents.given:
        return None
    plain = contents.strongest(UNPROTECTED)
    floor = contents.floor(AA1)
    if plain is None:
        return "No attack on an unprotected model was scored, so there is nothing to compare with."
    if floor is None:
        return (
            "No floor was measured: the score of random pictures, without an attack, is unknown. "
            "A successful attack cannot be distinguished from chance."
        )
    if plain[1].low <= floor.high:
        return (
            "Even against the unprotected model, the strongest attack does no better than random pictures. "
            "This audit therefore cannot show protection."
        )
    return None


def _headline(contents: Contents) -> str:
    parts: list[tuple[Defense, Attack, Score]] = []
    for defense in contents.defenses:
        best = contents.strongest(defense.name)
        if best is not None:
            parts.append((defense, *best))
    if not parts:
        return "No attack was scored. This report therefore says nothing about what an attacker can recover."
    parts.sort(key=lambda part: part[0].name != UNPROTECTED)
    attempts = max(attack.attempts for _, attack, _ in parts)
    thing = f"a recognisable {contents.data.subject}"
    shares, several = [], len(parts) > NAMED
    for place, (defense, _, score) in enumerate(parts[:1] if several else parts):
        model = f"the model {'' if contents.given else 'trained with '}{defense.title}"
        model = "the unprotected model" if defense.name == UNPROTECTED else model
        if attempts == 1:
            shares.append(f"for {percent(score.value)}{'' if place else ' of the identities'} from {model}")
        else:
            shares.append(f"in {percent(score.value)} of {'those' if place else 'the attempts'} on {model}")
    if several:
        defended = sorted(parts[1:], key=lambda part: part[2].value)
        ends = " to ".join(f"{percent(one[2].value)} ({one[0].title})" for one in (defended[0], defended[-1]))
        shares.append(f"{'for' if attempts == 1 else 'in'} {ends} on the {len(defended)} defended models")
    number = len(contents.attacks)
    who = "An attacker" if number == 1 else f"With the strongest of {number} attacks on each model, an attacker"
    has = f"{contents.data.public_description} and {_access(contents)}"
    text = f"{who} who has {has} recovered {thing} {listed(shares, ', and ')}."
    floor = contents.floor(AA1)
    return text if floor is None else f"{text} Random pictures reach {percent(floor.value)}."


def _access(contents: Contents) -> str:
    order = ("white-box", "score", "label")
    return _ACCESS[min((attack.access for attack in contents.attacks), key=order.index)]


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
            f"The 95\u00a0% interval overlaps that of the unprotected model ({pair}), "
            f"so this audit does not show that {defense.title} helps."
        ]
    floor = contents.floor(AA1)
    if floor is not None and own.low <= floor.high:
        level = f"{pair}; random pictures reach {percent(floor.value, 1)}"
        return "protects", [f"The attack falls to the level of random pictures ({level})."]
    return "partly", [f"The attack recovers less ({pair}), but still more than random pictures show."]


def _trapdoor(contents: Contents, defense: Defense) -> list[str]:
    success = contents.score(defense.name, NOT_APPLICABLE, TRAPDOOR_SUCCESS)
    if success is None or success.value >= contents.trapdoor_took:
        return []
    return [
        f"The trapdoor was not installed: the model assigns {percent(success.value, 1)} of the triggered images to the "
        f"trigger's class, and {percent(contents.trapdoor_took)} are needed. "
        f"The result of the attack cannot be credited to {defense.title}."
    ]


def _utility(contents: Contents, defense: Defense) -> tuple[bool, list[str]]:
    plain = contents.score(UNPROTECTED, NOT_APPLICABLE, CLEAN_ACCURACY)
    own = contents.score(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY)
    if plain is None or own is None:
        return False, ["The cost in accuracy is unknown: clean accuracy was not measured for both models."]
    pair = (
        f"the model classifies {percent(own.value, 1)} of new private images correctly, "
        f"the unprotected model {percent(plain.value, 1)}"
    )
    if plain.value - own.value > contents.tolerated_loss:
        return True, [f"The cost in accuracy is high: {pair}. A model that has learned less also reveals less."]
    return False, [f"The cost in accuracy: {pair}."]


def _notes(contents: Contents) -> list[str]:
    notes = []
    protected = [defense for defense in contents.defenses if defense.name != UNPROTECTED]
    if protected and not contents.given and not any(attack.adaptive for attack in contents.attacks):
        notes.append("No attack in this audit knew of the defense. An attack that is adapted to it may recover more.")
    accepted = [
        (defense, score) for defense in contents.defenses if (score := _accepted(contents, defense)) is not None
    ]
    if accepted:
        shares = listed([f"{percent(score.value)} ({defense.title})" for defense, score in accepted])
        plausible = f"a plausible private {contents.data.subject}"
        notes.append(f"Counting only pictures that the judge accepts as {plausible}: {shares}.")
    for other in contents.judges[1:]:
        rows = [(defense, _by(contents, defense, other.name)) for defense in contents.defenses]
        said = [f"{percent(score.value)} ({defense.title})" for defense, score in rows if score is not None]
        if said:
            notes.append(f"The same, judged by {other.title}: {listed(said)}.")
    if len(contents.seeds) < 2 and not contents.given:
        notes.append("There is one seed only. How much the result changes from one training to the next is unknown.")
    return notes


def _accepted(contents: Contents, defense: Defense) -> Score | None:
    best = contents.strongest(defense.name, AA1_ACCEPTED)
    return None if best is None else best[1]


def _by(contents: Contents, defense: Defense, kind: str) -> Score | None:
    rows = [contents.score(defense.name, attack.name, AA1, kind) for attack in contents.attacks]
    return max((row for row in rows if row is not None), key=lambda row: row.value, default=None)


def listed(parts: list[str], last: str = " and ") -> str:
    """An enumeration in words: "a, b and c"; `last` joins the last two."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}{last}{parts[-1]}"
