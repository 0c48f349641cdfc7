"""Cards come from verified run folders, a changed card or run is noticed, and the page shows and sorts them."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.commands import run
from helpers.old_runs import unpack_run
from trapmid.audit.run import settle
from trapmid.data import FolderSource
from trapmid.files import write_atomic
from trapmid.leaderboard import ResultCard, cards_of, check_card, read_card, read_cards, write_cards, write_leaderboard
from trapmid.leaderboard.making import command_of, reported
from trapmid.metrics.scores import read_scores
from trapmid.recipes import choose_recipe
from trapmid.report.pdf import BROWSERS
from trapmid.types import UserError

COMMAND = "trapmid audit --recipe demo --set training.epochs=2"
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def cards(folder: Path) -> list[ResultCard]:
    return cards_of(folder, COMMAND)


@pytest.fixture
def card(cards: list[ResultCard]) -> ResultCard:
    return next(one for one in cards if (one.defense.name, one.attack.name) == ("trapmid", "plgmi"))


def test_a_card_for_every_attack_on_every_defense(folder: Path, cards: list[ResultCard]) -> None:
    recipe = settle(None, folder)
    informed = {one.name for one in recipe.attacks if one.needs.knows_secrets}
    pairs = {(cell.name, one.name) for cell in recipe.cells for one in recipe.attacks}
    pairs -= {(defense, attack) for defense, attack in pairs if attack in informed and defense != "trapmid"}
    assert {(card.defense.name, card.attack.name) for card in cards} == pairs
    assert len({card.name for card in cards}) == len({card.settings for card in cards}) == len(pairs)


def test_its_numbers_are_those_of_the_run(folder: Path, card: ResultCard) -> None:
    rows = read_scores(folder)
    assert set(card.measured) <= set(rows)
    of_attack = [one for one in rows if (one.defense, one.attack, one.seed) == ("trapmid", "plgmi", 0)]
    accuracy = next(one for one in of_attack if one.metric == "attack_accuracy_1")
    assert card.score("attack_accuracy_1") == accuracy
    paper = card.published("attack_accuracy_1")
    assert paper is not None
    assert (paper.value, paper.experiment) == (6.3, "table1")
    assert reported("trapmid", "brep") == tuple(one for one in card.reported if one.attack == "-")


def test_a_card_survives_its_file_and_its_check(folder: Path, card: ResultCard, tmp_path: Path) -> None:
    (file,) = write_cards([card], tmp_path)
    assert read_card(file) == card
    assert run("leaderboard", "check", str(file), "--run", str(folder)) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": (1,)}, "seeds.0 is 1 in the card and 0 in the run folder"),
        ({"settings": "0" * 16}, "settings is '0000000000000000' in the card"),
        ({"reported": ()}, "reported is 0 entries in the card and"),
        ({"versions": {}}, "versions.trapmid is None in the card"),
    ],
)
def test_a_changed_card_is_noticed(folder: Path, card: ResultCard, change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        check_card(card.model_copy(update=change), folder)


def test_a_better_number_is_noticed(folder: Path, card: ResultCard) -> None:
    better = [one.model_copy(update={"value": one.value / 2}) for one in card.measured]
    with pytest.raises(UserError, match=r"measured\.0\.value is 0\.3125 in the card and 0\.625 in the run folder"):
        check_card(card.model_copy(update={"measured": tuple(better)}), folder)


def test_a_damaged_run_and_another_one_are_noticed(card: ResultCard, tmp_path: Path) -> None:
    folder = unpack_run(tmp_path)
    scores = folder / "measured" / "plgmi-trapmid-s0" / "scores.json"
    write_atomic(scores, scores.read_text().replace("0.75", "0.65"))
    with pytest.raises(UserError, match=r"scores\.json"):
        check_card(card, folder)
    shutil.rmtree(folder / "models" / "trapmid-s0")
    shutil.copytree(folder / "models" / "none-s0", folder / "models" / "trapmid-s0")
    with pytest.raises(UserError, match=r"plgmi/trapmid-s0 was made from another model than the one"):
        check_card(card, folder)
    shutil.rmtree(folder / "measured")
    with pytest.raises(UserError, match=r"No attack in .* is measured with all of its seeds"):
        check_card(card, folder)


def test_the_command_of_an_unchanged_recipe_is_known(folder: Path) -> None:
    assert command_of(choose_recipe("demo", seeds=(0, 2))) == "trapmid audit --recipe demo --seeds 0 2"
    named = choose_recipe("celeba64-cpu", private=folder / "data", public=folder / "models")
    assert command_of(named) == "trapmid audit --recipe celeba64-cpu --private data --public models --seeds 0 1 2"
    spaced = named.model_copy(update={"private": FolderSource(path="my photos")})
    assert "--private 'my photos' --public" in command_of(spaced)
    for recipe in (choose_recipe("demo", changes=("training.epochs=3",)), settle(None, folder)):
        with pytest.raises(UserError, match="Name the command that made it: --command"):
            command_of(recipe)


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no cards\. Expected"):
        read_cards(tmp_path)
    (tmp_path / "card.json").write_text('{"schema_version": 1}')
    with pytest.raises(UserError, match="is not a card that this trapmid can read: defense"):
        read_cards(tmp_path)


@pytest.fixture(scope="module")
def page(cards: list[ResultCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_cards(cards, folder)
    return write_leaderboard(folder, folder / "leaderboard.html")


def test_the_page_has_every_card_and_loads_nothing(page: Path, cards: list[ResultCard]) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count('<th scope="row"') == text.count("<summary") == len(cards)
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=|https?://|url\(", text)
    assert "paper ~6.3" in text


# The page's script runs in a browser only. The test above checks what it sorts without one.
@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on the PATH")
def test_a_browser_sorts_it(page: Path, tmp_path: Path) -> None:
    press = "const b = document.querySelectorAll('thead button')[3]; b.click(); b.click();"
    allowed = base64.b64encode(hashlib.sha256(press.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8").replace("script-src ", f"script-src 'sha256-{allowed}' ")
    (tmp_path / "copy.html").write_text(text.replace("</body>", f"<script>{press}</script></body>"), encoding="utf-8")
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += ["--dump-dom", (tmp_path / "copy.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    rows = re.findall(r"<tr>\n<th scope=\"row\".*?</tr>", dom, re.DOTALL)
    values = [float(re.findall(r'data-order="([^"]*)"', row)[3]) for row in rows]
    assert values == sorted(values)
    assert len(set(values)) > 1
    pairs = re.findall(r'<th scope="row" data-order="([^"]*)".*?aria-label="Card of .*? on ([^"]*)"', dom, re.DOTALL)
    assert len(pairs) == len(values)
    assert all(row == card for row, card in pairs), "each card stays with its row"
    assert 'aria-sort="ascending"' in dom


def test_the_cards_of_the_repository_can_be_read() -> None:
    for file in sorted((Path(__file__).parents[2] / "results").glob("*.json")):
        assert f"{read_card(file).name}.json" == file.name
        assert json.loads(file.read_text(encoding="utf-8"))["command"].startswith("trapmid ")
