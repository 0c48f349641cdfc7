"""The paper's numbers: each says where it was taken from, and has a cell to stand in."""

import pytest

from trapmid.metrics.units import Unit
from trapmid.reproduction import EXPERIMENTS
from trapmid.reproduction.experiment import column
from trapmid.reproduction.published import PROVENANCE, Published, look_up, published


@pytest.mark.parametrize(
    "one", published(), ids=lambda one: f"{one.experiment}-{one.row}-{one.attack}-{one.metric}".replace(" ", "_")
)
def test_a_number_has_a_provenance_and_a_cell(one):
    experiment = EXPERIMENTS[one.experiment]
    assert one.source in PROVENANCE
    assert one.metric in experiment.columns
    attacks = {row.attack for row in experiment.rows if row.key == one.row}
    assert attacks
    if column(one.metric).of_model:
        assert one.attack in attacks | {"-"}
    else:
        assert one.attack in attacks
    if column(one.metric).metric.unit is Unit.SHARE:
        assert 0 <= one.value <= 100
    found = look_up((one.experiment,), one.row, one.attack, one.metric)
    assert found is one


def test_no_cell_has_two_numbers():
    keys = [(one.experiment, one.row, one.attack, one.metric) for one in published()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("cell", "value", "source"),
    [
        (("table1", "none", "plgmi", "attack_accuracy_1"), 95.81, "text"),
        (("table1", "trapmid", "gmi", "clean_accuracy"), 81.37, "text"),
        (("table1", "bido", "kedmi", "attack_accuracy_1"), 34.8, "figure"),
        (("table2", "trapmid", "lomma-kedmi", "attack_accuracy_1"), 61.25, "text"),
        (("table7", "alpha=0.05", "plgmi", "attack_accuracy_1"), 93.86, "text"),
        (("figure3", "trapmid", "lomma-kedmi", "detection_recall"), 29.04, "notebook"),
        (("table12", "trapmid", "-", "clean_accuracy"), 86.04, "aggregator"),
    ],
)
def test_numbers_that_the_text_of_the_reference_gives(cell, value, source):
    experiment, row, attack, metric = cell
    found = look_up((experiment,), row, attack, metric)
    assert (found.value, found.source) == (value, source)


def test_what_was_not_recovered_is_blank():
    for metric in EXPERIMENTS["table5"].columns:
        assert look_up(("table5",), "ted", "plgmi", metric) is None
    assert look_up(("table1",), "mid", "gmi", "clean_accuracy") is None


def test_a_bound_is_no_number_to_differ_from():
    bound = Published(
        experiment="table14",
        row="mid",
        attack="plgmi",
        metric="attack_accuracy_1",
        value=70,
        relation="<",
        source="text",
    )
    assert not bound.is_a_number
    assert bound.text == "< 70"
    assert look_up(("table1",), "trapmid", "plgmi", "attack_accuracy_1").text == "~6.3"
