"""The verdict on models that were not trained in the audit: whether attacks show more than chance does."""

from trapmid.metrics.recognition import AA1
from trapmid.metrics.scores import NOT_APPLICABLE, PUBLIC, Score
from trapmid.metrics.units import percent
from trapmid.report.contents import Attack, Contents, Defense


def risk(contents: Contents, model: Defense) -> tuple[str, list[str]]:
    """The level of risk that the audit shows, and the sentences that support it.

    A model reveals images if the 95 % interval of AA-1 of the strongest attack that searches for images lies wholly
    above that of random pictures: samples of a generator, or public images drawn at random. Look-alikes among the
    attacker's own images are told beside it, since they need no search.
    """
    found = [(attack, score) for attack in contents.attacks if (score := _of(contents, model, attack)) is not None]
    searched = [one for one in found if one[0].searches]
    if not searched:
        return "unknown", ["No attack that searches for images was scored on this model."]
    attack, best = max(searched, key=lambda one: one[1].value)
    sentences = [
        f"{attack.title} is recognised in {percent(best.value, 1)} of its attempts "
        f"(95\u00a0% interval {percent(best.low, 1)} to {percent(best.high, 1)})."
    ]
    floors = [contents.floor(AA1), contents.score(NOT_APPLICABLE, PUBLIC, AA1)]
    floor = max((one for one in floors if one is not None), key=lambda one: one.value, default=None)
    if floor is None:
        return "unknown", [*sentences, "No floor was measured, so this cannot be told from chance."]
    sentences.append(f"Random pictures reach {percent(floor.value, 1)}.")
    alike = next((score for one, score in found if not one.searches), None)
    if alike is not None:
        sentences.append(f"Look-alikes among the public images, which need no search, reach {percent(alike.value, 1)}.")
    if best.low > floor.high:
        return "reveals", sentences
    return "chance", [*sentences, "Another attack, or more effort, may recover more."]


def facts(contents: Contents) -> list[str]:
    """What the examination of each model told."""
    said = []
    for one in contents.given:
        said.append(
            f"{one.name} ({one.kind}) recognises {percent(one.accuracy, 1)} of a sample of the private images. It may "
            "have learned them, so this is no accuracy on new images."
        )
        said += [f"{one.name}: {note}" for note in one.notes]
    return said


def _of(contents: Contents, model: Defense, attack: Attack) -> Score | None:
    return contents.score(model.name, attack.name, AA1)
