"""The report says what the numbers allow, hides what it must, and is one file."""

import base64
import io
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from trapmid.metrics.scores import Score
from trapmid.metrics.units import percent
from trapmid.report import tables
from trapmid.report.contents import Attack, Detection, GalleryRow, Judge
from trapmid.report.figures import draw
from trapmid.report.gallery import person, webp
from trapmid.report.logs import training_curves
from trapmid.report.page import render
from trapmid.report.verdict import judge


def page(contents, **how) -> str:
    return render(contents, draw(contents), **how)


@pytest.fixture(scope="module")
def usual(make) -> str:
    """The page of the usual contents. Other pages are made without curves unless they are about them."""
    return page(make())


def said(contents) -> str:
    verdict = judge(contents)
    found = [sentence for finding in verdict.findings for sentence in finding.sentences]
    return " ".join([verdict.headline, *found, *verdict.notes]).replace("\u00a0", " ")


def level(contents) -> str:
    return judge(contents).findings[0].level


def test_the_good_case_in_words(make):
    contents = make()
    assert said(contents).startswith(
        "An attacker who has public photographs of other people and full access to the model recovered a recognisable "
        "face in 64 % of the attempts on the unprotected model, and in 5 % of those on the model trained with "
        "Trap-MID. "
        "Random pictures reach 3 %."
    )
    assert level(contents) == "protects"
    assert "falls to the level of random pictures (5.0 % against 64.0 %; random pictures reach 3.0 %)" in said(contents)
    assert "No attack in this audit knew of the defense" in said(contents)


def test_one_attempt_is_a_share_of_identities(make):
    contents = make(attacks=[Attack(name="plgmi", title="PLG-MI", access="label")])
    assert "access to the model's decisions only" in said(contents)
    assert "for 64 % of the identities from the unprotected model, and for 5 % from the model trained" in said(contents)


def test_less_but_more_than_guessing_is_partial(make):
    contents = make(trapped=0.3)
    assert level(contents) == "partly"
    assert "still more than random pictures show" in said(contents)


def test_overlap_shows_nothing(make):
    contents = make(trapped=0.61)
    assert level(contents) == "fails"
    assert "this audit does not show that Trap-MID helps" in said(contents)


def test_worse_than_unprotected_is_said(make):
    contents = make(plain=0.3, trapped=0.6)
    assert level(contents) == "fails"
    assert "recovers more from this model than from the unprotected one" in said(contents)


@pytest.mark.parametrize("trapped", [0.05, 0.3])
def test_a_trapdoor_that_did_not_take_gets_no_credit(make, trapped):
    contents = make(trapped=trapped, success=0.41)
    assert level(contents) == "unknown"
    assert "The trapdoor was not installed: the model assigns 41.0 % of the triggered images" in said(contents)


def test_a_weak_attack_cannot_show_protection(make):
    contents = make(plain=0.04, trapped=0.03, curves=[])
    assert level(contents) == "unknown"
    assert "This audit therefore cannot show protection" in said(contents)
    assert "cannot show protection" in page(contents)


def test_without_floor_or_unprotected_model_nothing_is_claimed(make):
    contents = make(floor=None)
    assert level(contents) == "unknown"
    assert "No floor was measured" in said(contents)
    alone = make()
    alone = make(defenses=alone.defenses[1:], scores=[row for row in alone.scores if row.defense != "none"])
    assert level(alone) == "unknown"
    assert "on the model trained with Trap-MID" in said(alone)
    assert "nothing to compare with" in said(alone)


def test_no_scores_at_all_is_a_page_all_the_same(make):
    contents = make(scores=[], gallery=[], curves=[], costs=[])
    assert "No attack was scored" in said(contents)
    assert "Cannot be judged" in page(contents)


def test_a_model_that_learned_less_is_not_praised(make):
    contents = make(clean=(0.95, 0.7))
    assert level(contents) == "partly"
    assert "A model that has learned less also reveals less" in said(contents)


def test_the_strongest_attack_counts(make):
    contents = make()
    second = [
        row.model_copy(update={"attack": "kedmi", "value": 0.4, "low": 0.38, "high": 0.42})
        for row in contents.scores
        if row.defense == "trapmid" and row.attack == "plgmi" and row.seed is None
    ]
    attacks = [*contents.attacks, Attack(name="kedmi", title="KED-MI", adaptive=True)]
    both = make(scores=[*contents.scores, *second], attacks=attacks)
    assert "in 40 % of those on the model trained with Trap-MID" in said(both)
    assert "knew of the defense" not in said(both)
    assert level(both) == "partly"


def test_judges_and_seeds_are_spoken_of(make):
    assert "The same, judged by Face embedder: 58 % (Unprotected) and 5 % (Trap-MID)." in said(make())
    assert "Counting only pictures that the judge accepts" in said(make())
    assert "There is one seed only" in said(make(seeds=[0]))
    assert tables.judges_table(make(judges=[Judge(name="tiny", title="Tiny")])) is None


def test_a_mean_over_seeds_must_be_given(make):
    row = {"defense": "none", "attack": "-", "judge": "-", "metric": "fid", "value": 1.0, "low": 1.0, "high": 1.0}
    with pytest.raises(ValueError, match="no mean over seeds"):
        make(scores=[Score(seed=0, **row), Score(seed=1, **row)])
    with pytest.raises(ValueError, match="holds a seed twice"):
        make(scores=[Score(seed=None, **row), Score(seed=None, **row)])


def test_the_main_table(make):
    table = tables.main_table(make())
    titles = [title for title, _ in table.columns]
    assert titles[:3] == ["Clean accuracy", "AA-1", "AA-1 accepted"]
    assert titles[-1] == "Training cost"
    protected = table.rows[1]
    assert (protected.head, protected.sub) == ("Trap-MID", "PLG-MI")
    assert [cell.value.replace("\u00a0", " ") for cell in protected.cells][:2] == ["93.5 %", "5.0 %"]
    assert protected.cells[-1].value == "5.2\u00a0\u00d7"
    assert [row.head for row in table.frame] == ["Floor", "Ceiling"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.14, "3.1 s"), (59, "59 s"), (250, "4 min 10 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert tables.duration(seconds).replace("\u00a0", " ") == text


def test_small_shares_do_not_round_to_nothing():
    assert percent(0.001) == "under 1\u00a0%"
    assert percent(0.0) == "0\u00a0%"


def strips(html: str) -> list[str]:
    return re.findall(r'src="(data:image/webp;base64,[^"]+)"', html)


def test_redaction_leaves_no_private_image_and_no_name(make):
    contents = make(names=("Ada Lovelace",), curves=[])
    private = [webp(row.private) for row in contents.gallery]
    shown, hidden = page(contents), page(contents, redact=True)
    assert set(private) <= set(strips(shown))
    assert strips(hidden) == [strip for strip in strips(shown) if strip not in private]
    assert not re.search(r'alt="\d+ private', hidden)
    assert "Ada Lovelace" in shown
    assert "Ada Lovelace" not in hidden
    assert "Private images are left out of this copy" in " ".join(hidden.split())
    assert "This file shows private images" in shown


def test_what_users_name_is_escaped(make):
    evil = '<script>alert("x")</script> onload="y" $a$ & _b_'
    curves = [make().curves[0].__class__(cell=evil, rows=make().curves[0].rows)]
    defenses = [make().defenses[0], make().defenses[1].__class__(name="trapmid", title=evil)]
    html = page(make(names=(evil,), title=evil, warnings=[evil], curves=curves, defenses=defenses, config={"a": evil}))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_equal_contents_give_equal_bytes(make, usual):
    assert page(make()) == usual


def test_one_file_without_network_or_script(usual):
    html = usual
    assert "<script" not in html.lower()
    assert not re.search(r"\bon[a-z]+=", re.sub(r'"[^"]*"', '""', html))
    for target in re.findall(r'(?:src|href|action|data|poster)="([^"]*)"', html):
        assert target.startswith(("#", "data:image/webp;base64,")), target
    assert not re.search(r"@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_structure_for_screen_readers(usual):
    html = usual
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    referred = re.findall(r'(?:aria-labelledby|href="#|url\(#)=?"?([\w\- .]+)', html)
    assert {name for one in referred for name in one.split()} <= set(ids)
    levels = [int(one) for one in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert html.count("<table>") == html.count("<caption")
    assert all('scope="' in head for head in re.findall(r"<th\b[^>]*>", html))
    assert all('alt="' in image for image in re.findall(r"<img\b[^>]*>", html))
    assert html.count("<svg") == html.count('role="img"') == 4


def test_many_identities_wait_behind_a_fold(make):
    rows = [GalleryRow(identity=str(who), private=None, columns={}) for who in range(30)]
    html = page(make(gallery=rows, curves=[]))
    assert "6 more identities" in html


@pytest.mark.parametrize(("size", "channels", "shown_at"), [(64, 3, 64), (28, 1, 28), (300, 3, 128)])
def test_a_strip_holds_its_pictures_apart(draw_face, size, channels, shown_at):
    faces = [draw_face(7, shot, size, blur=0.3)[..., :channels] for shot in range(3)]
    strip = Image.open(io.BytesIO(base64.b64decode(webp(faces).partition(",")[2])))
    gap = round(shown_at / 16)
    assert strip.size == (3 * shown_at + 2 * gap, shown_at)
    seen = np.asarray(strip.convert("RGBA")).astype(float)
    for place, one in enumerate(faces):
        left = place * (shown_at + gap)
        small = Image.fromarray(one if channels == 3 else one[..., 0]).convert("RGB").resize((shown_at, shown_at))
        tile = seen[:, left : left + shown_at]
        assert np.abs(tile[..., :3] - np.asarray(small)).mean() < 6
        assert (tile[..., 3] == 255).all()
        assert (seen[:, left + shown_at : left + shown_at + gap, 3] == 0).all()


def test_a_strip_says_which_pictures_were_recognised(make):
    row = make().gallery[0]
    shown = person(row, 1, "face", redact=False)
    assert [strip.count for strip in shown.strips] == [3, 5, 5]
    assert shown.strips[0].alt == "3 private faces of n000000"
    assert shown.strips[1].hits == (1, 2, 4)
    assert shown.strips[1].alt.endswith("5 faces reconstructed for n000000, recognised by the judge: number 2, 3, 5")
    assert shown.strips[2].alt.endswith("none recognised by the judge")
    assert shown.strips[1].note == "3 of 5 recognised"


def test_many_identities_with_five_pictures_are_a_light_page(make):
    few = make(identities=4).gallery
    rows = [few[who % 4] for who in range(100)]
    html = page(make(gallery=rows, curves=[]))
    assert len(html) < 2e6  # 20 MB at a thousand identities
    before, _, behind = html.partition("76 more identities")
    assert before.count('<li class="person">') == 24
    assert behind.count('<li class="person">') == 76
    assert before.count("<details") - before.count("</details") == 1
    images = re.findall(r"<img\b[^>]*>", html)
    assert len(images) == 300
    assert all('loading="lazy"' in image for image in images)
    assert re.search(r"\.person \{[^}]*content-visibility: auto", html)


def test_detection_is_shown_where_there_is_a_trapdoor(make, usual):
    assert 'id="detection"' not in usual
    rng = np.random.default_rng(0)
    sets = {"real": 0.1, "public": 0.0, "plgmi": 0.6, "apgd-linf": 0.3}
    row = {"defense": "trapmid", "seed": None, "judge": "-", "low": float("nan"), "high": float("nan")}
    measured = [
        Score(attack="plgmi", metric="detection_auc", value=0.987, **row),
        Score(attack="plgmi", metric="detection_recall", value=0.75, **row),
        Score(attack="apgd-linf", metric="detection_dsr", value=0.8, **row),
        Score(attack="real", metric="detection_false_positives", value=0.02, **row),
    ]
    detection = Detection(
        defense="trapmid",
        cell="Trap-MID, seed 0",
        scores={name: (mean + 0.1 * rng.standard_normal(50)).tolist() for name, mean in sets.items()},
        titles={"real": "Held-out", "public": "Public", "plgmi": "PLG-MI", "apgd-linf": "Adversarial"},
        threshold=0.35,
    )
    contents = make(detections=[detection], scores=[*make().scores, *measured], curves=[])
    table = tables.detection_table(contents)
    assert [row.sub for row in table.rows] == ["Held-out", "Public", "PLG-MI", "Adversarial"]
    assert [cell.value for cell in table.rows[2].cells] == ["", percent(0.987, 1), percent(0.75, 1), "", ""]
    html = page(contents)
    assert 'id="detection"' in html
    assert re.search(r"PLG-MI: mean 0\.\d+, (100\.0|9\d\.\d)\u00a0% above the threshold", html)
    assert re.search(r"PLG-MI: area (100\.0|9\d\.\d)", html)


def test_attacks_are_told_with_what_they_asked(usual):
    """3,912 s for 60 identities."""
    (row,) = re.findall(r'<th scope="row">plgmi on none, seed 0</th>.*?</tr>', usual)
    assert re.findall(r"<td>(.*?)</td>", row) == [
        *("1\u00a0h 05\u00a0min", "1\u00a0min 05\u00a0s", "105,165", "87.5\u00a0%", "1,702\u00a0MiB", "\u2013")
    ]


def test_a_row_without_scores_says_why(make) -> None:
    attacks = [
        Attack(name="plgmi", title="PLG-MI"),
        Attack(name="evading", title="Detector evasion", needs_trapdoor=True),
        Attack(name="gmi", title="GMI"),
    ]
    table = tables.main_table(make(attacks=attacks))
    assert [(row.head, row.sub) for row in table.rows][:3] == [
        ("Unprotected", "PLG-MI"),
        ("Unprotected", "Detector evasion (not run: it needs a trapdoor, and this model has none)"),
        ("Unprotected", "GMI (not measured yet)"),
    ]


def test_curves_are_named_in_words(make) -> None:
    said = [training_curves(curves, 0).said for curves in make().curves]
    assert said[0][0].startswith("clean loss: from ")
    assert any(line.startswith("success of the trapdoor: from ") for line in said[0])
    assert not any("_" in line for lines in said for line in lines)
