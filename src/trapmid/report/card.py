"""A section for a model card, beside a report."""

import json
from pathlib import Path

from trapmid.files import write_atomic
from trapmid.metrics.recognition import AA1
from trapmid.metrics.scores import Score
from trapmid.metrics.table import title_of
from trapmid.metrics.units import percent
from trapmid.report.collect import collect
from trapmid.report.contents import Contents
from trapmid.report.verdict import judge

CARD = "model-card.md"


def write_card(out: str | Path) -> Path:
    """Write a section for the model card of each model to OUT/model-card.md, and return its path.

    It begins with the `model-index`, the evaluation results, that Hugging Face's Hub reads from the head of a model
    card, as YAML; JSON strings are YAML, so names need no escaping of their own. No private image and no name of an
    identity is in it.

    Raises:
        UserError: `out` holds no measured audit.
    """
    out = Path(out)
    file = out / CARD
    write_atomic(file, card(collect(out, redact=True)))
    return file


def card(contents: Contents) -> str:
    """The text of `write_card`."""
    verdict = judge(contents)
    lines = ["---", "model-index:"]
    for model in contents.defenses:
        lines += [f"- name: {json.dumps(model.name)}", "  results:"]
        for attack in contents.attacks:
            score = contents.score(model.name, attack.name, AA1)
            if score is not None:
                lines += _result(contents, attack.title, score)
    lines += ["---", "", "## Model inversion", "", verdict.headline, ""]
    lines += [f"- **{one.defense.title}: {one.label}.** {' '.join(one.sentences)}" for one in verdict.findings]
    lines += [f"- {note}" for note in verdict.notes]
    lines += ["", "| model | attack | access | AA-1 | 95 % interval |", "|---|---|---|---|---|"]
    for model in contents.defenses:
        for attack in contents.attacks:
            score = contents.score(model.name, attack.name, AA1)
            if score is not None:
                ends = f"{percent(score.low, 1)} to {percent(score.high, 1)}"
                lines.append(
                    f"| {model.title} | {attack.title} | {attack.access} | {percent(score.value, 1)} | {ends} |"
                )
    floor, ceiling = contents.floor(AA1), contents.ceiling(AA1)
    frame = [f"random pictures {percent(floor.value, 1)}"] if floor else []
    frame += [f"held-out private images {percent(ceiling.value, 1)}"] if ceiling else []
    made = ", ".join(f"{name} {number}" for name, number in contents.versions.items())
    lines += [
        "",
        f"AA-1 is the share of reconstructions that the judge ({contents.judges[0].title}) takes for the attacked "
        f"identity; for comparison: {' and '.join(frame) or 'nothing'}. {contents.data.identities} identities, "
        f"{contents.data.public_images:,} public images, {contents.data.image_size} px, seeds "
        f"{', '.join(map(str, contents.seeds))}. Made by {made}. The audit shows what these attacks recovered, not "
        "that no other attack would recover more.",
    ]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def _result(contents: Contents, attack: str, score: Score) -> list[str]:
    return [
        "  - task:",
        "      type: image-classification",
        "    dataset:",
        f"      name: {json.dumps(f'{contents.data.identities} private identities')}",
        "      type: private",
        "    metrics:",
        f"    - type: {score.metric}",
        f"      name: {json.dumps(f'{title_of(score.metric)} of {attack} (lower is safer)')}",
        f"      value: {score.value:.6g}",
    ]
