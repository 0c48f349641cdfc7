"""The numbers of the Trap-MID paper (Liu and Chen, NeurIPS 2024) that could be recovered, each with its source."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

from trapmid.config import Config
from trapmid.metrics.scores import NOT_APPLICABLE

Provenance = Literal["text", "figure", "notebook", "aggregator"]
PROVENANCE: dict[Provenance, str] = {
    "text": "stated in the paper's text",
    "figure": "read off a plot stored in the authors' notebooks, with an error of up to 0.15 points for accuracies "
    "(0.25 in "
    "figures 5 and 6), 5 for KNN distances and 0.3 for FID",
    "notebook": "printed in the authors' notebooks, exact",
    "aggregator": "from a third-party list of results, not verified",
}
"""How reliable the numbers of each provenance are."""

FILE = Path(__file__).with_name("published.json")


class Published(Config):
    """One published number.

    Attributes:
        experiment: the table or figure.
        row: the key of its row there.
        attack: name of the attack; "-" for a number of the model alone.
        metric: the name of the metric, as in scores.json.
        value: in the paper's unit: percent for accuracies, shares and detection; seconds for training time.
        relation: "=" for a given value, "~" for an approximate one, or the bound that the text states instead.
        source: where it was taken from, a key of `PROVENANCE`.
        spread: standard deviation over runs; None if it is unknown.
        note: what a reader must know about it.
    """

    experiment: str
    row: str
    attack: str
    metric: str
    value: float
    relation: Literal["=", "~", "<", "<=", ">", ">="] = "="
    source: Provenance
    spread: float | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """The number as text for a table: `~6.3`, `< 2`, `81.37`."""
        number = f"{self.value:,g}" if self.value >= 1e5 else f"{self.value:g}"
        return {"=": number, "~": f"~{number}"}.get(self.relation, f"{self.relation} {number}")

    @property
    def is_a_number(self) -> bool:
        """Whether it is a value and not a bound, so that a difference from it is meaningful."""
        return self.relation in ("=", "~")


@cache
def published() -> tuple[Published, ...]:
    """All published numbers."""
    return tuple(Published.model_validate(entry) for entry in json.loads(FILE.read_text(encoding="utf-8")))


def look_up(experiments: tuple[str, ...], row: str, attack: str, metric: str) -> Published | None:
    """The published number of a cell from the first of `experiments` that has one; None if there is none.

    If there is no number for the attack, the number for the model alone is used.
    """
    numbers = {(one.experiment, one.row, one.attack, one.metric): one for one in published()}
    for experiment in experiments:
        for of in (attack, NOT_APPLICABLE):
            if (experiment, row, of, metric) in numbers:
                return numbers[experiment, row, of, metric]
    return None
