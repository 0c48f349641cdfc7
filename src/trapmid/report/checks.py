"""Sanity checks of the results. Each returns one or two sentences about what makes the numbers doubtful, or None."""

from collections.abc import Callable, Mapping, Sequence

from trapmid.metrics.of_attacks import OUTSIDE_RANGE
from trapmid.metrics.of_models import CLEAN_ACCURACY, ZERO_GRADIENT
from trapmid.metrics.recognition import AA1, FALSE_POSITIVE_RATE
from trapmid.metrics.scores import HELD_OUT, NOT_APPLICABLE, PRIOR_FLOOR, PUBLIC, TRIGGERS_ALONE, Score
from trapmid.metrics.units import percent
from trapmid.report.contents import UNPROTECTED, Contents, Curves
from trapmid.report.verdict import judge, listed

BLIND = 0.05
"""A white-box attack counts as hindered if a larger share of images than this has no gradient."""

RELIABLE = 0.8
"""The share of real held-out images that a judge must recognise at least."""

OUTSIDE = 0.01
"""The share of a generator's pixel values that may lie outside [0, 1]."""

STRANGERS = 0.2
"""The share of public images, which show other people, that a judge may accept as a private identity."""

FALLING = ("loss_clean", "loss on the target")
"""The logged losses that must fall. The two losses of a GAN are not among them: they work against each other."""


def failed(contents: Contents) -> list[str]:
    """The sentences of all checks that found something doubtful, in the order of `CHECKS`."""
    return [sentence for check in CHECKS if (sentence := check(contents)) is not None]


def no_gradient(contents: Contents) -> str | None:
    """Models whose loss has no gradient at many images, which hinders white-box attacks."""
    rows = [(d.title, contents.score(d.name, NOT_APPLICABLE, ZERO_GRADIENT)) for d in contents.defenses]
    blind = [f"{percent(row.value)} ({title})" for title, row in rows if row is not None and row.value > BLIND]
    if not blind:
        return None
    return (
        f"The loss has no gradient at some images: {listed(blind)}. White-box attacks get no direction there, "
        "so a low attack accuracy does not show protection. Compare with an attack that needs only scores or labels."
    )


def outside_range(contents: Contents) -> str | None:
    """Generators whose output leaves the range of pixel values."""
    rows = [(name, contents.score(NOT_APPLICABLE, name, OUTSIDE_RANGE)) for name in contents.floors()]
    outside = [
        f"{percent(row.value)} of the values of {name.removeprefix(PRIOR_FLOOR)}"
        for name, row in rows
        if row is not None and row.value > OUTSIDE
    ]
    if not outside:
        return None
    return (
        f"The attacker's generator produces values outside [0, 1]: {listed(outside)}. The target sees these values "
        "during the search, but the reconstructions are clipped. What the model responded to may be lost in them."
    )


def weak_judge(contents: Contents) -> str | None:
    """Judges that recognise too few real images of the private identities."""
    rows = [(one.title, contents.score(NOT_APPLICABLE, HELD_OUT, AA1, one.name)) for one in contents.judges]
    weak = _where(rows, lambda value: value < RELIABLE)
    if not weak:
        return None
    return (
        f"A judge recognises too few of the real held-out images: {listed(weak)}. "
        "It may also fail to recognise a good reconstruction, so attack accuracies may be too low."
    )


def lenient_judge(contents: Contents) -> str | None:
    """Judges that accept images of other people as private identities."""
    rows = [
        (one.title, contents.score(NOT_APPLICABLE, PUBLIC, FALSE_POSITIVE_RATE, one.name)) for one in contents.judges
    ]
    lenient = _where(rows, lambda value: value > STRANGERS)
    if not lenient:
        return None
    return (
        f"A judge accepts images of other people as private identities: {listed(lenient)} of the public images. "
        "The accuracies marked as accepted are therefore too high."
    )


def fooled_judge(contents: Contents) -> str | None:
    """Judges that respond to a trigger alone, as the trapdoored model is meant to."""
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
        f"A judge responds to triggers alone. Shown triggers on an average {contents.data.subject}, it names their "
        f"identity: {listed(fooled)}. It counts a reconstruction of the trigger as a reconstruction of the person, "
        "so attack accuracies may be too high. A judge that never saw the model names the identity only if the "
        "triggers themselves show features of the person: then the triggers are biometric data, and so is a detector, "
        "which is made from them. Protect the folder of secrets accordingly."
    )


def label_beats_white_box(contents: Contents) -> str | None:
    """Label-only attacks that recover more than every white-box attack."""
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
        f"A label-only attack recovers more than every white-box attack: {listed(said)}. A white-box attacker can do "
        "everything that a label-only attacker can. The white-box attacks are too weak, or the gradients mislead them."
    )


def no_better_than_luck(contents: Contents) -> str | None:
    """Attacks that do not get above the floor even on the unprotected model."""
    floor = contents.floor(AA1)
    rows = [(one.title, contents.score(UNPROTECTED, one.name, AA1)) for one in contents.attacks]
    lost = _where(rows, lambda value: floor is not None and value <= floor.value)
    if not lost:
        return None
    return (
        f"On the unprotected model, an attack scores no better than random samples of its generator: {listed(lost)}. "
        "The attack fails or is too short. That it also fails on a defended model does not show protection."
    )


def too_good(contents: Contents) -> str | None:
    """Implausibly good results: attacks below the floor, or more clean accuracy than the unprotected model."""
    floor, plain = contents.floor(AA1), contents.score(UNPROTECTED, NOT_APPLICABLE, CLEAN_ACCURACY)
    said = []
    for defense in contents.defenses:
        clean = contents.score(defense.name, NOT_APPLICABLE, CLEAN_ACCURACY)
        if clean is not None and plain is not None and clean.low > plain.high:
            said.append(f"clean accuracy of {defense.title} {percent(clean.value)}, unprotected {percent(plain.value)}")
        for one in contents.attacks:
            row = contents.score(defense.name, one.name, AA1)
            if row is not None and floor is not None and row.high < floor.low:
                said.append(
                    f"{one.title} on {defense.title} {percent(row.value)}, random samples {percent(floor.value)}"
                )
    if not said:
        return None
    return (
        f"Some results are too good to be plausible: {listed(said)}. A defense cannot push an attack below random "
        "samples and rarely makes a classifier more accurate. Look for a classifier that learned nothing, "
        "an attack that failed, or trainings that differ in more than the defense."
    )


def loss_not_falling(contents: Contents) -> str | None:
    """Trainings and attacks whose loss did not fall."""
    stuck = [curves.cell for curves in contents.curves if any(_stays(curves, key) for key in FALLING)]
    if not stuck:
        return None
    return (
        f"The loss did not fall between the first and the last quarter of the steps: {listed(stuck)}. "
        "Nothing was learned there, so the results say little. Check the curve, the learning rate and the steps."
    )


def unadaptive_claim(contents: Contents) -> str | None:
    """Protection that no adaptive attack was tried against."""
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
        f"Protection is shown only against attackers who do not know the defense: {listed(claimed)}. "
        "Run adaptive attacks before you rely on it, for example with the recipe adaptive-demo or adaptive-cpu."
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


def _where(rows: Sequence[tuple[str, Score | None]], doubtful: Callable[[float], bool]) -> list[str]:
    """Title and percentage of the rows whose value is doubtful."""
    return [f"{title} {percent(row.value)}" for title, row in rows if row is not None and doubtful(row.value)]


def _stays(curves: Curves, key: str) -> bool:
    values = [float(row[key]) for row in _rows_with(curves.rows, key)]
    quarter = len(values) // 4
    return quarter > 0 and not sum(values[-quarter:]) < sum(values[:quarter])


def _rows_with(rows: Sequence[Mapping[str, int | float]], key: str) -> list[Mapping[str, int | float]]:
    return [row for row in rows if key in row]
