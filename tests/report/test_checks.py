"""Each check speaks where it should and is silent where it should be, and the page has what it says."""

import re

import pytest

from trapmid.metrics.recognition import AA1, AA1_WRONG_IDENTITY
from trapmid.metrics.scores import TRIGGERS_ALONE, Score
from trapmid.report import checks, tables
from trapmid.report.contents import Attack, Curves
from trapmid.report.figures import draw
from trapmid.report.page import render


def page(contents, **how) -> str:
    return render(contents, draw(contents), **how)


def row(defense, attack, judge, metric, value, spread=0.01) -> Score:
    return Score(
        defense=defense,
        attack=attack,
        seed=None,
        judge=judge,
        metric=metric,
        value=value,
        low=value - spread,
        high=value + spread,
    )


def having(make, *rows: Score, **changes):
    return make(scores=[*make().scores, *rows], **changes)


def test_of_an_ordinary_audit_only_the_adaptive_attack_is_missed(make):
    assert checks.failed(make()) == [checks.unadaptive_claim(make())]


def test_blind_white_box_attacks(make):
    said = checks.no_gradient(having(make, row("trapmid", "-", "-", "zero_gradient_share", 0.4)))
    assert "no gradient at some images: 40\u00a0% (Trap-MID)" in said
    assert checks.no_gradient(having(make, row("trapmid", "-", "-", "zero_gradient_share", 0.01))) is None


def test_generators_that_leave_the_range(make):
    said = checks.outside_range(having(make, row("-", "prior:cgan", "-", "outside_range_share", 0.2)))
    assert "values outside [0, 1]: 20\u00a0% of the values of cgan" in said
    assert checks.outside_range(having(make, row("-", "prior:cgan", "-", "outside_range_share", 0.002))) is None


def test_weak_judges(make):
    scores = [one for one in make().scores if (one.attack, one.judge) != ("real", "embedder")]
    weak = make(scores=[*scores, row("-", "real", "embedder", "attack_accuracy_1", 0.55)])
    assert "too few of the real held-out images: Face embedder 55\u00a0%" in checks.weak_judge(weak)
    assert checks.weak_judge(make()) is None


def test_lenient_judges(make):
    said = checks.lenient_judge(having(make, row("-", "public", "tiny", "false_positive_rate", 0.3)))
    assert "accepts images of other people as private identities" in said
    assert "30\u00a0% of the public images" in said
    assert checks.lenient_judge(having(make, row("-", "public", "tiny", "false_positive_rate", 0.1))) is None


@pytest.mark.parametrize(("named", "speaks"), [(0.5, True), (0.03, False)])
def test_judges_fooled_by_triggers(make, named, speaks):
    control = row("trapmid", TRIGGERS_ALONE, "embedder", "attack_accuracy_1", named)
    for floor in (0.03, None):
        scores = [*make(floor=floor).scores, control]
        said = checks.fooled_judge(make(scores=scores))
        assert (said is not None) == speaks
        assert said is None or "Face embedder 50\u00a0% (Trap-MID)" in said
        assert said is None or "the triggers are biometric data" in said


def replaced(make, *rows: Score):
    """An ordinary audit in which these rows stand in the place of those of the same cell."""
    cells = {(row.defense, row.attack, row.judge, row.metric) for row in rows}
    others = [row for row in make().scores if (row.defense, row.attack, row.judge, row.metric) not in cells]
    return make(scores=[*others, *rows])


def test_an_attack_that_gets_nothing_out_of_the_unprotected_model(make):
    floor = make().floor(AA1).value
    (attack, *_) = make().attacks
    lost = row("none", attack.name, make().judges[0].name, "attack_accuracy_1", floor)
    assert f"no better than random samples of its generator: {attack.title}" in checks.no_better_than_luck(
        replaced(make, lost)
    )
    found = row("none", attack.name, make().judges[0].name, "attack_accuracy_1", floor + 0.1)
    assert checks.no_better_than_luck(replaced(make, found)) is None
    assert checks.no_better_than_luck(make(floor=None)) is None


def test_what_is_too_good_to_be_true(make):
    floor, judge = make().floor(AA1), make().judges[0].name
    (attack, *_) = make().attacks
    below = row("trapmid", attack.name, judge, "attack_accuracy_1", floor.low - 0.02)
    assert f"{attack.title} on Trap-MID" in checks.too_good(replaced(make, below))
    within = row("trapmid", attack.name, judge, "attack_accuracy_1", floor.low)
    assert checks.too_good(replaced(make, within)) is None
    plain = make().score("none", "-", "clean_accuracy")
    better = row("trapmid", "-", plain.judge, "clean_accuracy", plain.high + 0.02)
    assert "clean accuracy of Trap-MID" in checks.too_good(replaced(make, better))
    alike = row("trapmid", "-", plain.judge, "clean_accuracy", plain.high)
    assert checks.too_good(replaced(make, alike)) is None


@pytest.mark.parametrize(("labels", "speaks"), [(0.9, True), (0.6, False)])
def test_labels_beating_white_box(make, labels, speaks):
    attacks = [*make().attacks, Attack(name="brep", title="BREP-MI", access="label")]
    contents = having(make, row("none", "brep", "tiny", "attack_accuracy_1", labels), attacks=attacks)
    said = checks.label_beats_white_box(contents)
    assert (said is not None) == speaks
    assert said is None or "BREP-MI on Unprotected (90\u00a0%)" in said
    only = having(make, row("none", "brep", "tiny", "attack_accuracy_1", labels), attacks=attacks[1:])
    assert checks.label_beats_white_box(only) is None


@pytest.mark.parametrize("key", ["loss_clean", "loss on the target"])
def test_losses_that_do_not_fall(make, key):
    def curves(*values: float) -> Curves:
        return Curves(cell="Training, Trap-MID, seed 0", rows=[{"epoch": i, key: v} for i, v in enumerate(values)])

    for flat in ([1.0] * 8, [1, 1, 2, 2, 3, 3, 3, 3], [1.0, 0.5, 0.4, float("nan")]):
        assert "Training, Trap-MID, seed 0" in checks.loss_not_falling(make(curves=[curves(*flat)]))
    for fine in ([4.0, 3.0, 2.0, 1.0], [1, 5, 5, 1, 0.5, 0.9, 0.4, 0.6], [1.0, 2.0]):  # of two rows nothing is known
        assert checks.loss_not_falling(make(curves=[curves(*fine)])) is None
    others = Curves(cell="x", rows=[{"step": i, "loss of the generator": 1.0} for i in range(8)])
    assert checks.loss_not_falling(make(curves=[others])) is None


def test_protection_without_an_adaptive_attack(make):
    assert "only against attackers who do not know the defense: Trap-MID." in checks.unadaptive_claim(make())
    assert checks.unadaptive_claim(make(trapped=0.63)) is None  # nothing is claimed
    attacks = [*make().attacks, Attack(name="evading-plgmi", title="past the detector", adaptive=True)]
    assert checks.unadaptive_claim(make(attacks=attacks)) is not None  # known, but not run on this model
    tried = having(make, row("trapmid", "evading-plgmi", "tiny", "attack_accuracy_1", 0.06), attacks=attacks)
    assert checks.unadaptive_claim(tried) is None


def measured(make):
    return having(
        make,
        row("none", "plgmi", "tiny", "precision", 0.41),
        row("none", "plgmi", "tiny", "density_naeem", 1.25),
        row("none", "plgmi", "inception", "fid", 77.0),
        row("none", "plgmi", "tiny", AA1_WRONG_IDENTITY.name, 0.02),
        row("none", "plgmi", "tiny", "attack_accuracy_1_corrected", -0.004),
        row("none", "plgmi", "-", "judge_disagreement", 0.12),
        row("trapmid", TRIGGERS_ALONE, "tiny", "attack_accuracy_1", 0.021),
        row("-", "public", "tiny", "false_positive_rate", 0.06),
        row("trapmid", "-", "-", "calibration_error", 0.052),
        row("trapmid", "-", "-", "robust_accuracy_8_255", 0.11),
        row("trapmid", "-", "-", "robust_accuracy_2_255", 0.53),
    )


def test_further_measures_by_judge_and_network(make):
    tables_of = dict(tables.further_tables(measured(make)))
    assert list(tables_of) == ["Evaluation classifier", "inception"]
    assert [column[0] for column in tables_of["Evaluation classifier"].columns] == [
        "KNN distance",
        "FID",
        "Precision",
        "Density, per image",
    ]
    assert [cell.value for cell in tables_of["Evaluation classifier"].rows[0].cells] == [
        "812.4",
        "31.2",
        "41.0\u00a0%",
        "1.25",
    ]
    assert [cell.value for cell in tables_of["inception"].rows[0].cells] == ["77.0"]


def test_controls_and_corrections_stand_beside_raw_accuracy(make):
    contents = measured(make)
    controls = tables.controls_table(contents)
    assert [(one.head, one.sub, one.cells[0].value) for one in controls.rows] == [
        ("Unprotected", "PLG-MI, under a wrong name", "2.0\u00a0%"),
        ("Trap-MID", "its triggers alone, on an average face", "2.1\u00a0%"),
        ("Other people", "accepted as a private identity", "6.0\u00a0%"),
    ]
    main = tables.main_table(contents)
    place = [title for title, _ in main.columns].index("AA-1 corrected")
    assert main.rows[0].cells[place].value == "-0.4\u00a0%"
    judges = tables.judges_table(contents)
    assert judges.columns[-1][0] == "Disagree"
    assert judges.rows[0].cells[-1].value == "12.0\u00a0%"


def test_the_price_of_a_defense(make):
    price = tables.price_table(measured(make))
    assert list(price.columns) == [
        ("Clean accuracy", "higher is more useful"),
        ("Calibration error", "lower is better"),
        ("Robust accuracy", "within 2/255"),
        ("Robust accuracy", "within 8/255"),
    ]
    assert [cell.value for cell in price.rows[1].cells][1:] == ["5.2\u00a0%", "53.0\u00a0%", "11.0\u00a0%"]


def test_a_private_trainings_epsilon_is_a_column(make):
    price = tables.price_table(having(make, row("trapmid", "-", "-", "privacy_epsilon", 7.994)))
    assert [title for title, _ in price.columns] == ["Clean accuracy", "Privacy epsilon"]
    assert [one.cells[1].value for one in price.rows] == ["", "7.99"]


def test_scores_of_an_earlier_version_make_a_page_without_the_new_tables(make):
    """Nothing of what is measured today was in them."""
    old = make()
    assert tables.controls_table(old) is None
    assert tables.price_table(old) is None
    assert "Disagree" not in [title for title, _ in tables.judges_table(old).columns]
    assert "Negative controls: pictures" not in page(make(gallery=[], curves=[]))


def test_the_page_has_what_was_measured_and_what_the_checks_say(make):
    blind = row("trapmid", "-", "-", "zero_gradient_share", 0.4)
    scores = [*measured(make).scores, blind]
    html = page(make(scores=scores, warnings=["said by hand"], gallery=[], curves=[]))
    for said in ("said by hand", "no gradient at some images", "Negative controls: pictures", "Robust accuracy"):
        assert said in html
    assert "in the features of inception" in html
    assert "No check raised a warning" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
