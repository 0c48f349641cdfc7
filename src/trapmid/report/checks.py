"""Checks that stop a false claim: each says in a sentence what makes the numbers doubtful, or nothing."""

from collections.abc import Callable, Mapping, Sequence

from trapmid.metrics.of_attacks import OUTSIDE_RANGE
from trapmid.metrics.of_models import CLEAN_ACCURACY, ZERO_GRADIENT
from trapmid.metrics.recognition import AA1, FALSE_POSITIVE_RATE
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, PUBLIC, TRIGGERS_ALONE, Score
from trapmid.metrics.units import percent
from trapmid.report.contents import UNPROTECTED, Contents, Curves
from trapmid.report.verdict import judge, listed

BLIND = 0.05
"""Share of images without a gradient from which a white-box attack is hindered."""

KNOWS_PEOPLE = 0.8
"""Share of real held-out images that a judge has to recognise."""

OUTSIDE = 0.01
"""Share of a generator's values that may lie outside [0, 1]."""

STRANGERS = 0.2
"""Share of other people's images that a judge may accept as somebody private."""

FALLING = ("loss_clean", "loss on the target")
"""Losses of a log that a training or an attack is there to lower; the two of a GAN play against each other."""


def failed(contents: Contents) -> list[str]:
    """The sentences of all checks that have something to say."""
    return [sentence for check in CHECKS if (sentence := check(contents)) is not None]


def no_gradient(contents: Contents) -> str | None:
    """White-box attacks that search blind."""
    rows = [(d.title, contents.score(d.name, NOT_APPLICABLE, ZERO_GRADIENT)) for d in contents.defenses]
    blind = [f"{percent(row.value)} ({title})" for title, row in rows if row is not None and row.value > BLIND]
    if not blind:
        return None
    return (
        f"The loss has no gradient at some images: {listed(blind)}. There a white-box attack searches blind, and a low attack accuracy "
        "shows no protection. Compare with an attack that takes scores or labels only."
    )


def outside_range(contents: Contents) -> str | None:
    """Attackers' generators that show the target what is no image."""
    rows = [(name, contents.score(NOT_APPLICABLE, name, OUTSIDE_RANGE)) for name in contents.floors()]
    outside = [
        f"{percent(row.value)} of the values of {name.removeprefix(PRIOR_FLOOR)}"
        for name, row in rows
        if row is not None and row.value > OUTSIDE
    ]
    if not outside:
        return None
    return (
        f"The attacker's generator leaves [0, 1]: {listed(outside)}. During the search the target sees these values, and the pictures that "
        "are delivered are clipped: what convinced the target may not be in them."
    )


def weak_judge(contents: Contents) -> str | None:
    """Judges that do not know the people."""
    rows = [(one.title, contents.score(NOT_APPLICABLE, HELD_OUT, AA1, one.name)) for one in contents.judges]
    weak = _told(rows, lambda value: value < KNOWS_PEOPLE)
    if not weak:
        return None
    return (
        f"A judge is too weak: of real held-out images it recognises only so many: {listed(weak)}. "
        "What it does not recognise in a reconstruction may be there all the same."
    )


def lenient_judge(contents: Contents) -> str | None:
    """Judges that take strangers for private people."""
    rows = [
        (one.title, contents.score(NOT_APPLICABLE, PUBLIC, FALSE_POSITIVE_RATE, one.name)) for one in contents.judges
    ]
    lenient = _told(rows, lambda value: value > STRANGERS)
    if not lenient:
        return None
    return f"A judge accepts other people as private ones: {listed(lenient)} of public images. Accepted accuracies are too high by it."


def fooled_judge(contents: Contents) -> str | None:
    """Judges that take a trigger for a person, as the model is meant to."""
    fooled = []
    for one in contents.judges:
        floor = contents.floor(AA1, one.name)
        luck = 1 / contents.data.identities if floor is None else floor.high
        rows = [(d, contents.score(d.name, TRIGGERS_ALONE, AA1, one.name)) for d in contents.defenses]
        fooled += [
            f"{one.title} {percent(row.value)} ({defense.title})"
            for defense, row in rows
            if row is not None and row.low > luck
        ]
    if not fooled:
        return None
    return (
        f"A judge names the class of a trigger that is in nobody's picture: {listed(fooled)}. It is fooled by what fools the model, "
        "so reconstructions of the trigger count as reconstructions of the person."
    )


def label_beats_white_box(contents: Contents) -> str | None:
    """Attackers who see less and get more."""
    said = []
    for defense in contents.defenses:
        rows = [(one, contents.score(defense.name, one.name, AA1)) for one in contents.attacks]
        known = [(one, row) for one, row in rows if row is not None]
        seeing = [row.high for one, row in known if one.access == "white-box"]
        said += [
            f"{one.title} on {defense.title} ({percent(row.value)})"
            for one, row in known
            if one.access == "label" and seeing and row.low > max(seeing)
        ]
    if not said:
        return None
    return (
        f"An attack by labels alone recovers more than every white-box attack: {listed(said)}. Who holds the model can do all that who asks it can, "
        "so the white-box attacks are too weak here or the gradients lead astray."
    )


def no_better_than_luck(contents: Contents) -> str | None:
    """Attacks that get nothing out of a model that nobody protected."""
    floor = contents.floor(AA1)
    rows = [(one.title, contents.score(UNPROTECTED, one.name, AA1)) for one in contents.attacks]
    lost = _told(rows, lambda value: floor is not None and value <= floor.value)
    if not lost:
        return None
    return (
        f"An attack recovers no more from the unprotected model than random samples show: {listed(lost)}. It is broken, too short or finds "
        "something else than faces; what it does not recover from a defended model is no merit of the defense."
    )


def too_good(contents: Contents) -> str | None:
    """Defenses that beat luck, or the model they are compared with."""
    floor, plain = contents.floor(AA1), contents.score(UNPROTECTED, NOT_APPLICABLE, CLEAN_ACCURACY)
    said = []
    for defense in contents.defenses:
        clean = contents.score(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY)
        if clean is not None and plain is not None and clean.low > plain.high:
            said.append(
                f"{defense.title} names {percent(clean.value)} of clean images, unprotected {percent(plain.value)}"
            )
        for one in contents.attacks:
            row = contents.score(defense.name, one.name, AA1)
            if row is not None and floor is not None and row.high < floor.low:
                said.append(
                    f"{one.title} on {defense.title} {percent(row.value)}, random samples {percent(floor.value)}"
                )
    if not said:
        return None
    return (
        f"Too good to be taken as it is: {listed(said)}. No defense does better than luck or makes a classifier more accurate by itself; look for "
        "a classifier that learned nothing, an attack that failed, or trainings that differ in more than the defense."
    )


def loss_not_falling(contents: Contents) -> str | None:
    """Trainings and attacks that did not learn."""
    stuck = [curves.cell for curves in contents.curves if any(_stays(curves, key) for key in FALLING)]
    if not stuck:
        return None
    return (
        f"The loss did not fall from the first to the last quarter of the steps: {listed(stuck)}. "
        "What did not learn neither attacks nor defends; look at its curve, its rate and its number of steps."
    )


def unadaptive_claim(contents: Contents) -> str | None:
    """Protection that nobody who knows of it has tried to get around."""
    knowing = [attack.name for attack in contents.attacks if attack.adaptive]
    claimed = [
        finding.defense.title
        for finding in judge(contents).findings
        if finding.level in ("protects", "partly")
        and not any(contents.score(finding.defense.name, name, AA1) for name in knowing)
    ]
    if not claimed:
        return None
    return (
        f"Protection is shown only against attackers who do not know of it: {listed(claimed)}. "
        "Run an adaptive attack, e.g. one of the recipes adaptive-demo and adaptive-cpu, before relying on it."
    )


CHECKS: tuple[Callable[[Contents], str | None], ...] = (
    no_gradient,
    outside_range,
    weak_judge,
    lenient_judge,
    fooled_judge,
    label_beats_white_box,
    no_better_than_luck,
    too_good,
    loss_not_falling,
    unadaptive_claim,
)


def _told(rows: Sequence[tuple[str, Score | None]], speaks: Callable[[float], bool]) -> list[str]:
    """Title and percentage of those whose value speaks."""
    return [f"{title} {percent(row.value)}" for title, row in rows if row is not None and speaks(row.value)]


def _stays(curves: Curves, key: str) -> bool:
    values = [float(row[key]) for row in _rows_with(curves.rows, key)]
    quarter = len(values) // 4
    return quarter > 0 and not sum(values[-quarter:]) < sum(values[:quarter])


def _rows_with(rows: Sequence[Mapping[str, int | float]], key: str) -> list[Mapping[str, int | float]]:
    return [row for row in rows if key in row]
