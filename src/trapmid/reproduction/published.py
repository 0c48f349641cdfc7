"""The paper's numbers (Liu & Chen, NeurIPS 2024), as far as they could be recovered, each with where it was taken from; never an invented one."""

import json
from functools import cache
from pathlib import Path
from typing import Literal

from trapmid.config import Config
from trapmid.metrics.scores import NOT_APPLICABLE

Provenance = Literal["text", "figure", "notebook", "aggregator"]
PROVENANCE: dict[Provenance, str] = {
    "text": "stated in the paper's text",
    "figure": "read off a plot that the authors' notebooks store: accuracies to 0.15 points (0.25 in figures 5 and 6), KNN distances to 5, FID to 0.3",
    "notebook": "printed in the authors' notebooks, exact",
    "aggregator": "from a third-party list of results, not verified",
}
"""What each provenance is worth."""

FILE = Path(__file__).with_name("published.json")


class Published(Config):
    """One published number.

    Attributes:
        experiment: the table or figure.
        row: the row's key there.
        attack: name of the attack; "-" for a number of the model alone.
        metric: as in scores.json.
        value: in the paper's unit: percent for accuracies, shares and detection; seconds for training time.
        relation: "=" as given, "~" approximately, or the bound that the text states instead of a number.
        source: where it was taken from.
        spread: standard deviation over runs, where it is known.
        note: what has to be known about it.
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
        """As it stands in a table: `~6.3`, `< 2`, `81.37`."""
        number = f"{self.value:,g}" if self.value >= 1e5 else f"{self.value:g}"
        return {"=": number, "~": f"~{number}"}.get(self.relation, f"{self.relation} {number}")

    @property
    def is_a_number(self) -> bool:
        """Whether a difference from it means something: not where the paper gives a bound."""
        return self.relation in ("=", "~")


@cache
def published() -> tuple[Published, ...]:
    """All of them."""
    return tuple(Published.model_validate(entry) for entry in json.loads(FILE.read_text(encoding="utf-8")))


def look_up(experiments: tuple[str, ...], row: str, attack: str, metric: str) -> Published | None:
    """The number of a cell, from the first of `experiments` that has it; of the model alone where the attack has none of its own."""
    numbers = {(one.experiment, one.row, one.attack, one.metric): one for one in published()}
    for experiment in experiments:
        for of in (attack, NOT_APPLICABLE):
            if (experiment, row, of, metric) in numbers:
                return numbers[experiment, row, of, metric]
    return None
