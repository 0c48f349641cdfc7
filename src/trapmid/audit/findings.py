"""Interprets the facts of an examination: the problems of a model, and how to solve them."""

from collections.abc import Sequence
from typing import Any, Literal

from trapmid.config import Config
from trapmid.metrics.units import percent
from trapmid.subjects import Subject
from trapmid.subjects.inputs import Normalise
from trapmid.subjects.network import batch_of

SMALL_BATCH = 8
"""A model that takes fewer images at once is slow. With a ResNet-18 at 64 px and one image, gradients took six times
as long as with 64."""


class ModelFinding(Config):
    """A finding about a model for its user. An `error` prevents the audit."""

    severity: Literal["error", "warning", "note"]
    problem: str
    remedy: str = ""


def judge_model(
    facts: dict[str, Any],
    matched: dict[str, tuple[float, dict[int, int]]],
    best: str,
    subject: Subject,
    names: Sequence[str],
    finite: bool,
) -> tuple[tuple[ModelFinding, ...], tuple[str, ...]]:
    """Derive the findings from the facts, and the order of the classes that they suggest if it is a different one.

    Args:
        facts: fields of an `Examination`.
        matched: for each normalisation, the accuracy with every identity matched to the class that is predicted for its
            images, and the class of each identity.
        best: the normalisation with the highest such accuracy.
        subject: the model.
        names: the names of its classes in the audit.
        finite: whether all answers are numbers.
    """
    found: list[ModelFinding] = []
    order: tuple[str, ...] = ()
    own, accuracy, n = subject.normalise.name, facts["accuracy"], facts["images"]
    share, chance = matched.get(own, (0.0, {}))[0], 1 / len(names)
    if not finite:
        found.append(
            ModelFinding(severity="error", problem="The model answers private images with NaN.", remedy=_RANGE)
        )
    better, noise = matched[best][0] if matched else 0.0, 0.05 + 2 * (0.25 / n) ** 0.5
    if better - share > noise:
        rivals = [text for text, (reached, _) in matched.items() if text != best and better - reached <= noise]
        found.append(
            ModelFinding(
                severity="error",
                problem=f"The model recognises {percent(better)} of the private images if it gets "
                f"{Normalise.of(best).told}, and {percent(share)} with {subject.normalise.told}.",
                remedy=f"{_twice(own, best)}Give --normalize {best}.{_rivals(rivals, matched)}",
            )
        )
    if better >= 0.5 and matched[best][0] - _direct(matched[best], accuracy, best == own) > 0.3:
        pairs = matched[best][1]
        moved = [(names[person], names[place]) for person, place in pairs.items() if person != place]
        if len(moved) > 0.3 * len(pairs):
            order = _order(pairs, names)
            examples = ", ".join(f"images of {a!r} as {b!r}" for a, b in moved[:3])
            found.append(
                ModelFinding(
                    severity="error",
                    problem=f"The classes are in another order than the names: the model takes {examples}. With every "
                    f"identity matched to the class that its images get, it recognises {percent(better)} of them.",
                    remedy="Give --classes FILE with one name on each line, in the model's order. `trapmid doctor "
                    "--order FILE` writes the order that the images speak for.",
                )
            )
    if not found:
        found += _of_accuracy(accuracy, chance, facts["by_identity"])
    zero = facts["zero_gradients"]
    if zero is not None and zero > 0.5:
        found.append(
            ModelFinding(
                severity="warning",
                problem=f"{percent(zero)} of the images have no usable gradient.",
                remedy="Attacks that follow gradients will find little, which shows no protection. Audit with "
                "--access scores as well.",
            )
        )
    for key, what in (("differs", "shown again"), ("batch_differs", "shown alone and not in a batch")):
        if facts[key] > 0.01:
            found.append(
                ModelFinding(
                    severity="warning",
                    problem=f"The same image gets another answer when it is {what}: probabilities differ by up to "
                    f"{facts[key]:.2f}.",
                    remedy="Is a layer in train mode, or noise added? Attacks see what an attacker would see.",
                )
            )
    if facts["answers"] == "probabilities":
        told = (
            "The model answers with probabilities. Attacks see their logarithm, in which very small ones are cut off."
        )
        found.append(ModelFinding(severity="note", problem=told))
    batch = batch_of(subject.module)
    if batch is not None and batch < SMALL_BATCH:
        told = (
            f"The model was exported for batches of {batch} and computes larger ones piece by piece. An audit is "
            "several times faster if you export it for batches of any size."
        )
        found.append(ModelFinding(severity="note", problem=told))
    return tuple(found), order


_RANGE = "Its weights are damaged, or it takes images in another range: see --normalize."


def _direct(matched: tuple[float, dict[int, int]], accuracy: float, own: bool) -> float:
    """The accuracy with the present names.

    It is either measured, or bounded by the identities that are matched to their own class.
    """
    share, pairs = matched
    return accuracy if own else share * sum(person == place for person, place in pairs.items()) / len(pairs)


def _order(pairs: dict[int, int], names: Sequence[str]) -> tuple[str, ...]:
    """The names in the model's order. Classes without a matching identity get one of the remaining names."""
    taken = {place: names[person] for person, place in pairs.items()}
    left = iter([name for name in names if name not in set(taken.values())])
    return tuple(taken[place] if place in taken else next(left) for place in range(len(names)))


def _twice(own: str, best: str) -> str:
    return "It seems to normalise images by itself. " if best == "unit" and own != "unit" else ""


def _rivals(names: Sequence[str], matched: dict[str, tuple[float, dict[int, int]]]) -> str:
    told = " and ".join(f"{name} ({percent(matched[name][0])})" for name in names)
    return f" With {told} it does nearly as well: choose what it was trained with." if told else ""


def _of_accuracy(accuracy: float, chance: float, by_identity: dict[str, float]) -> list[ModelFinding]:
    if accuracy < 3 * chance and accuracy < 0.5:
        problem = (
            f"The model recognises {percent(accuracy, 1)} of the private images, and guessing {percent(chance, 1)}."
        )
        remedy = "Are these the people that it was trained on, cropped as its training images were?"
        return [ModelFinding(severity="error", problem=problem, remedy=remedy)]
    found = []
    if accuracy < 0.5:
        problem = f"The model recognises only {percent(accuracy)} of the private images."
        remedy = "Check that they are cropped as its training images were. A model that knows little reveals little."
        found.append(ModelFinding(severity="warning", problem=problem, remedy=remedy))
    never = [name for name, share in by_identity.items() if share == 0]
    if never and accuracy >= 0.5:
        problem = f"The model recognises no image of {len(never)} identities, such as {', '.join(never[:3])}."
        found.append(ModelFinding(severity="warning", problem=problem, remedy="Are their names right?"))
    return found
