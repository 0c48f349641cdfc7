"""Charts: every number of the declared columns is drawn where it belongs, and unknown numbers are left out."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from trapmid.reproduction import EXPERIMENTS
from trapmid.reproduction.charts import FILE, draw
from trapmid.reproduction.experiment import Bars, Curve, column
from trapmid.reproduction.published import look_up
from trapmid.reproduction.results import Entry, Reproduction
from trapmid.reproduction.write import attack_title, write

CHARTED = [name for name, one in EXPERIMENTS.items() if one.chart is not None]
SVG = "{http://www.w3.org/2000/svg}"


def made(name, values, published=True):
    """A table whose cells are `values` by row, attack and metric, and blank elsewhere."""
    one = EXPERIMENTS[name]
    entries = tuple(
        Entry(
            row=row.key,
            title=row.title,
            attack=row.attack,
            metric=metric,
            judge="",
            seeds=(0,),
            value=(value := values.get((row.key, row.attack, metric), math.nan)),
            low=value - 0.1,
            high=value + 0.05,
            published=look_up((name,), row.key, row.attack, metric) if published else None,
            difference=math.nan,
        )
        for row in one.rows
        for metric in one.columns
    )
    return Reproduction(
        experiment=name,
        scale="cpu",
        title=one.title,
        shows=one.shows,
        columns=one.columns,
        entries=entries,
        seconds=0.0,
        peak_memory_mib=0.0,
        differs=(),
        folders=(),
    )


def texts(folder):
    root = ET.parse(folder / FILE).getroot()
    return root, [element.text for element in root.iter(f"{SVG}text")]


def test_the_papers_charts_are_declared():
    assert CHARTED == ["figure3", "figure5", "figure6"]
    for name in CHARTED:
        one = EXPERIMENTS[name]
        assert set(one.chart.metrics) <= set(one.columns)
        if isinstance(one.chart, Curve):
            assert {row.key for row in one.rows} == set(one.chart.at)


@pytest.mark.parametrize("name", CHARTED)
def test_a_standalone_file_says_what_it_shows(name, tmp_path):
    one = EXPERIMENTS[name]
    first, metric = one.rows[0], one.chart.metrics[0]
    table = made(name, {(first.key, first.attack, metric): 0.5})
    pictures = draw(one.chart, table, tmp_path)
    root, shown = texts(tmp_path)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == one.title
    assert {column(metric).title for metric in one.chart.metrics} <= set(shown)
    assert {"here", "in the paper"} <= set(shown)
    text = (tmp_path / FILE).read_text()
    assert "here 50.0 (40.0 to 55.0), in the paper" in text
    assert "var(" not in text
    before = text
    draw(one.chart, table, tmp_path)
    assert (tmp_path / FILE).read_text() == before
    write(table, tmp_path, pictures)
    page = (tmp_path / "reproduction.md").read_text()
    (told,) = re.findall(r"^!\[(.*)\]\(chart\.svg\)$", page, re.MULTILINE)
    assert column(metric).title in told
    assert page.index("chart.svg") < page.index("| --- |")


def test_bars_have_only_the_lines_that_somebody_measured(tmp_path):
    one = EXPERIMENTS["figure3"]
    draw(one.chart, made("figure3", {}), tmp_path)
    _, shown = texts(tmp_path)
    assert "here" not in shown
    names = [attack_title(row.attack) for row in one.rows]
    assert "Adversarial, L2 0.5" in names
    # attacks have a recall and an AUC, adversarial examples a DSR and an AUC
    assert all(shown.count(name) == 2 for name in names)


def test_bars_and_intervals_are_as_long_as_the_numbers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, stream, **_: drawn.append(self))
    values = {(key, "plgmi", "clean_accuracy"): value for key, value in (("none", 0.7), ("crop", 0.4))}
    draw(Bars(("clean_accuracy",)), made("figure5", values), tmp_path)
    ((axes,),) = (figure.axes for figure in drawn)
    widths = [patch.get_width() for patch in axes.patches]
    assert sorted(widths) == pytest.approx(sorted([70, 86.2, 84.8, 40, 85.1, 82.4, 81.6]))
    ends = [segment[:, 0] for bars in axes.collections for segment in bars.get_segments()]
    assert [list(end) for end in ends] == [pytest.approx([60, 75]), pytest.approx([30, 45])]


def test_a_curve_leaves_out_what_is_missing_and_keeps_the_distances(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, stream, **_: drawn.append(self))
    values = {("p=0", "plgmi", "attack_accuracy_1"): 0.5, ("p=0.875", "plgmi", "attack_accuracy_1"): 0.2}
    one = EXPERIMENTS["figure6"]
    draw(one.chart, made("figure6", values), tmp_path)
    _, axes = drawn[0].axes
    lines = {line.get_label(): line for line in axes.lines if len(line.get_xdata()) > 1}
    theirs = next(line for label, line in lines.items() if label == "in the paper")
    assert list(theirs.get_xdata()) == [0, 0.5, 0.75, 0.875]
    assert list(theirs.get_ydata()) == [93.1, 95.4, 62.5, 29.8]
    ours = next(line for line in axes.lines if line is not theirs and list(line.get_ydata()) == pytest.approx([50, 20]))
    assert list(ours.get_xdata()) == [0, 0.875]


def test_nothing_to_draw_is_no_chart(tmp_path):
    assert draw(EXPERIMENTS["figure5"].chart, made("figure5", {}, published=False), tmp_path) == ()
    assert not (tmp_path / FILE).exists()
