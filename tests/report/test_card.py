"""The section for a model card: a head that the Hub reads, the numbers of the report, and no private name."""

from pathlib import Path

import pytest
import yaml

from trapmid.report.card import CARD, card, write_card
from trapmid.report.contents import Attack, Defense
from trapmid.types import UserError


def head_of(text: str) -> list[dict]:
    """The evaluation results in the head of a card."""
    before, head, _ = text.split("---\n", 2)
    assert before == ""
    return yaml.safe_load(head)["model-index"]


def test_its_head_has_every_score_as_it_was_measured(make):
    contents = make()
    models = head_of(card(contents))
    assert [model["name"] for model in models] == ["none", "trapmid"]
    for model in models:
        (result,) = model["results"]
        (metric,) = result["metrics"]
        assert result["task"] == {"type": "image-classification"}
        assert result["dataset"] == {"name": "50 private identities", "type": "private"}
        assert metric["type"] == "attack_accuracy_1"
        assert "PLG-MI" in metric["name"]
        score = contents.score(model["name"], "plgmi", "attack_accuracy_1")
        assert metric["value"] == pytest.approx(score.value, abs=1e-6)


def test_its_text_has_the_verdict_the_table_and_what_to_compare_with(make):
    text = card(make())
    assert "\n## Model inversion\n" in text
    assert "- **Trap-MID: " in text
    assert "| Unprotected | PLG-MI | white-box | 64.0 % | 61.0 % to 67.0 % |" in text
    assert "| Trap-MID | PLG-MI | white-box | 5.0 % | " in text
    assert "the judge (Evaluation classifier)" in text
    assert "for comparison: random pictures 3.0 % and held-out private images 97.0 %." in text
    assert "50 identities, 12,000 public images, 64 px, seeds 0, 1, 2. Made by trapmid 0.1.0, torch 2.15.0." in text
    assert "\u00a0" not in text


def test_without_a_floor_it_compares_with_the_ceiling_alone(make):
    assert "for comparison: held-out private images 97.0 %." in card(make(floor=None))


def test_names_of_models_cannot_break_the_head(make):
    name = 'mine: "new"\n- #1 {x}'
    scores = [score.model_copy(update={"defense": name}) for score in make().scores if score.defense == "none"]
    attack = Attack(name="plgmi", title='PLG: "MI" # two')
    (model,) = head_of(card(make(scores=scores, attacks=[attack], defenses=[Defense(name=name, title="Mine")])))
    assert model["name"] == name
    assert 'of PLG: "MI" # two (lower' in model["results"][0]["metrics"][0]["name"]


def test_an_attack_without_scores_has_no_row(make):
    text = card(make(attacks=[Attack(name="plgmi", title="PLG-MI"), Attack(name="gmi", title="GMI")]))
    assert all(len(model["results"]) == 1 for model in head_of(text))
    assert "| GMI |" not in text


def test_no_identity_is_named(make):
    text = card(make(identities=3, names=("Ada Lovelace", "Grace Hopper", "Mary Somerville")))
    assert not [name for name in ("Ada", "Grace", "Mary", "n000") if name in text]


def test_a_folder_without_an_audit_is_refused_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(UserError):
        write_card(tmp_path)
    assert not (tmp_path / CARD).exists()
