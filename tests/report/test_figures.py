"""Figures: what is drawn is what the CSV holds, files are whole and equal, labels and colours can be read."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from trapmid.defenses import NegLS, NoDefense
from trapmid.metrics.scores import Score
from trapmid.report.ablation import ablations
from trapmid.report.chart import STYLE, slug
from trapmid.report.contents import Ablation, Defense, Detection
from trapmid.report.figures import draw
from trapmid.report.labels import spread_labels
from trapmid.report.page import render
from trapmid.report.palette import DARK, DRAWN_WITH, LIGHT
from trapmid.report.write import write_figures


def named(charts, name):
    (found,) = [one for one in charts if one.name.startswith(name)]
    return found


def chart(contents, name):
    """The figure of that name, without drawing the logs of trainings."""
    return named(draw(replace(contents, curves=[])), name)


def table(one) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(one.csv())))


def detection() -> Detection:
    rng = np.random.default_rng(0)
    sets = {"real": 0.1, "public": 0.0, "plgmi": 0.6}
    scores = {name: (mean + 0.1 * rng.standard_normal(50)).tolist() for name, mean in sets.items()}
    titles = {"real": "Held-out", "public": "Public", "plgmi": "PLG-MI"}
    return Detection(defense="trapmid", cell="Trap-MID, seed 0", scores=scores, titles=titles, threshold=0.35)


def twelve(make):
    """Twelve defenses with three seeds, most of them close together."""
    names = ["none", *(f"defense-{number}" for number in range(1, 12))]
    rng, rows = np.random.default_rng(1), []
    for name in names:
        clean, attacked = rng.uniform(0.65, 0.78), rng.uniform(0.38, 0.5)
        for attack, metric, judge, value in (
            ("-", "clean_accuracy", "-", clean),
            ("plgmi", "attack_accuracy_1", "tiny", attacked),
        ):
            common = {"defense": name, "attack": attack, "judge": judge, "metric": metric}
            for seed, by in ((None, 0.0), (0, 0.02), (1, 0.0), (2, -0.02)):
                rows.append(Score(seed=seed, value=value + by, low=value - 0.08, high=value + 0.08, **common))
    defenses = [Defense(name=name, title=f"A rather long name {name}") for name in names]
    return make(scores=rows, defenses=defenses)


def test_the_csv_holds_the_scores_that_are_drawn(make):
    contents = make()
    charts = draw(contents)
    bars = table(named(charts, "accuracy"))
    assert [(row["model"], row["attack"]) for row in bars] == [
        ("Unprotected", "PLG-MI"),
        ("Trap-MID", "PLG-MI"),
        ("floor", ""),
        ("ceiling", ""),
    ]
    score = contents.score("trapmid", "plgmi", "attack_accuracy_1")
    ends = [float(bars[1][f"attack_accuracy_1{end}"]) for end in ("", "_low", "_high")]
    assert ends == [score.value, score.low, score.high]
    seeds = [row["seed"] for row in table(named(charts, "tradeoff")) if row["model"] == "Trap-MID"]
    assert seeds == ["mean", "0", "1", "2"]
    log = table(named(charts, "log-01"))
    assert [float(row["loss_clean"]) for row in log] == [row["loss_clean"] for row in contents.curves[0].rows]


def test_the_csv_of_a_detector_holds_its_bins_and_its_curve(make):
    contents = make(detections=[detection()], curves=[])
    charts = draw(contents)
    bins = table(named(charts, "scores-01-trap-mid-seed-0"))
    for name, scores in contents.detections[0].scores.items():
        those = [row for row in bins if row["set"] == name]
        assert sum(float(row["share"]) for row in those) == pytest.approx(1)
        low, high = float(those[3]["from"]), float(those[3]["to"])
        assert float(those[3]["share"]) == pytest.approx(np.mean([low <= score < high for score in scores]))
        assert {row["threshold"] for row in those} == {"0.35"}
    curve = table(named(charts, "roc-01-trap-mid-seed-0"))
    assert {(row["set"], row["against"]) for row in curve} == {("plgmi", "public")}
    assert float(curve[-1]["recovered_flagged"]) == 1


def test_files_are_whole_equal_and_the_only_ones(make, tmp_path):
    charts = draw(make(detections=[detection()], curves=[]))
    for folder in ("one", "two"):
        write_figures(charts, tmp_path / folder)
    files = {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}
    assert files.keys() == {f"{one.name}.{kind}" for one in charts for kind in ("svg", "csv")}
    (tmp_path / "one" / "kept.txt").write_text("not ours")
    write_figures(charts[:1], tmp_path / "one")
    assert {file.name for file in (tmp_path / "one").iterdir()} == {"accuracy.svg", "accuracy.csv", "kept.txt"}


def test_a_file_has_real_colours_and_the_page_its_own(make):
    for one in draw(make(detections=[detection()])):
        alone, inline = one.svg(), one.inline()
        root = ET.fromstring(alone)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in alone
        assert not re.search(r"#0500\d\d", alone + inline)
        assert "prefers-color-scheme: dark" in alone
        drawn = re.sub(r"<style.*?</style>", "", alone, flags=re.DOTALL)
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) <= {LIGHT[name] for name in ("card", *DRAWN_WITH)}
        assert "<style" not in inline
        assert "xmlns" not in inline
        assert one.title in alone.replace("&amp;", "&")


def test_the_page_links_the_files_where_there_are_any(make):
    contents = make(curves=[])
    charts = draw(contents)
    html = render(contents, charts, folder="report-figures")
    links = re.findall(r'href="(report-figures/[^"]+)"', html)
    assert links == [f"report-figures/{one.name}.{kind}" for one in charts for kind in ("svg", "csv")]
    assert "report-figures" not in render(contents, charts)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(color: str) -> float:
        parts = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        return float(
            np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_contrast_of_the_page_is_aa(make, place):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    html = render(make(), [])
    roots = re.findall(r":root \{([^}]*--paper[^}]*)\}", html)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[place]))
    assert colors == (LIGHT, DARK)[place]
    for ground in ("paper", "card"):
        for text in ("ink", "muted", "link", "good", "some", "bad", "open"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for mark in (name for name in colors if name.startswith("series")):
            assert contrast(colors[mark], colors[ground]) >= 3, (mark, ground)
    assert contrast(colors["card"], colors["bad"]) >= 4.5  # the check mark of a hit


def test_labels_of_twelve_close_points_cover_nothing():
    rng = np.random.default_rng(0)
    points = [(f"Defense number {number}", *rng.uniform(0.4, 0.6, 2)) for number in range(12)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        spread_labels(axes, points)
        figure.draw_without_rendering()
        texts = [text for text in axes.texts if text.get_text()]
        assert [text.get_text() for text in texts] == [text for text, _, _ in points]
        boxes = [super(type(text), text).get_window_extent() for text in texts]
        room = axes.get_window_extent()
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1 for box in boxes)
    for _, x, y in points:
        mark = axes.transData.transform((x, y))
        assert not any(box.contains(*mark) for box in boxes)


def test_twelve_defenses_are_told_apart(make):
    contents = twelve(make)
    one = chart(contents, "tradeoff")
    assert [row["seed"] for row in one.rows] == ["mean", 0, 1, 2] * 12
    assert all(f">{defense.title}<" in one.inline() for defense in contents.defenses)
    assert "A rather long name defense-11: clean accuracy" in one.inline()


def test_ablations_are_found_where_one_number_differs():
    members = [
        NoDefense(),
        *(NegLS(label=f"s{at}", smoothing=value) for at, value in enumerate((-0.3, -0.1, -0.2))),
        *(NegLS(label=f"f{at}", smoothing=-0.1, start_at=0.2, full_at=value) for at, value in enumerate((0.7, 0.8))),
    ]
    assert ablations(members) == [
        Ablation(kind="NegLS", setting="smoothing", defenses={-0.3: "s0", -0.2: "s2", -0.1: "s1"})
    ]
    assert ablations(members[:3]) == []


def test_an_ablation_is_drawn_over_its_values(make):
    contents = twelve(make)
    values = {0.01: "defense-1", 0.02: "defense-2", 0.5: "defense-3", 0.7: "not measured"}
    contents = make(
        scores=contents.scores,
        defenses=contents.defenses,
        ablations=[Ablation(kind="Trap-MID", setting="blend.end", defenses=values)],
    )
    one = chart(contents, "ablation-01-trap-mid-blend-end")
    rows = table(one)
    assert [float(row["blend.end"]) for row in rows] == [0.01, 0.02, 0.5]
    score = contents.score("defense-2", "plgmi", "attack_accuracy_1")
    assert float(rows[1]["attack_accuracy_1"]) == score.value
    assert one.said[2].startswith("blend.end 0.5: Clean accuracy ")
    assert one.title in render(contents, [one])


def test_names_of_files_are_plain():
    assert slug("Training, TeD+ & Co./é, seed 0") == "training-ted-co-seed-0"
