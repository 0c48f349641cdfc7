"""docs/metrics.md, made from the table of metrics. `python -m trapmid.metrics.document` prints it."""

import sys

from trapmid.metrics.metric import AnyMetric, Subject
from trapmid.metrics.table import METRICS

SECTIONS: dict[Subject, str] = {
    "model": "Of a model",
    "attack": "Of an attack",
    "prior": "Of a prior, and of public images",
    "trapdoor": "Of a trapdoor as a detector",
}
DIGITS = r"(\d+)"
HEAD = """# Metrics

This page is made from `trapmid.metrics.METRICS` by `python -m trapmid.metrics.document > docs/metrics.md`. The report,
the table on the console, `trapmid reproduce` and `trapmid list` read the same table.

`scores.json` and `scores.parquet` have one row for each value, with the columns `defense`, `attack`, `seed`, `judge`,
`metric`, `value`, `low` and `high`. Shares are stored as fractions and printed as percent. "Better" is meant for
whoever publishes the model. Metrics of an attack are also measured for the floors (random samples of a prior,
public images) and for the ceiling (held-out private images).
"""


def document() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for subject, title in SECTIONS.items():
        lines = ["name", "title", "unit", "better", "what it measures", "paper", "version"]
        rows = [lines, ["---"] * len(lines), *(_row(metric) for metric in METRICS if metric.subject == subject)]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    return "\n".join(parts)


def _row(metric: AnyMetric) -> list[str]:
    name = f"`{metric.name}{metric.variants.replace(DIGITS, 'N')}`"
    better = {"neither": ""}.get(metric.better, metric.better)
    return [name, metric.title, metric.unit.label, better, metric.about, metric.paper, str(metric.version)]


if __name__ == "__main__":
    sys.stdout.write(document())
