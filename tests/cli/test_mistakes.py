"""What the command line answers to mistakes: one sentence, exit code 2, and nothing written."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from helpers.commands import run
from trapmid.console import print_diagnosis
from trapmid.data.diagnosis import Diagnosis, Finding
from trapmid.recipes import choose_recipe
from trapmid.terminal import SafeConsole, visible


def told(capfd: pytest.CaptureFixture[str]) -> str:
    """What was printed to stderr, without line breaks."""
    return " ".join(capfd.readouterr().err.split())


def test_the_version(capfd):
    assert run("--version") == 0
    assert capfd.readouterr().out == f"trapmid {version('trapmid')}\n"


def test_without_a_command_the_help_is_shown(capfd):
    assert run() == 0
    assert "Start with `trapmid demo`" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("audti",), "Did you mean 'audit'?"),
        (("audit", "--recpie", "demo"), "Perhaps you meant: │ │ --recipe NAME"),
        (("audit", "--recipe", "dmeo"), "Did you mean 'demo'?"),
        (("audit", "--recipe", "demo", "--attacks", "gim"), "Did you mean 'gmi'?"),
        (("audit", "--recipe", "demo", "--defenses", "trapmit"), "Did you mean 'trapmid'?"),
        (("audit", "--recipe", "demo", "--set", "training.epoch=3"), "Did you mean 'epochs'?"),
        (("audit", "--recipe", "demo", "--set", "defenses.trapmit.weight=0.3"), "Did you mean 'trapmid'?"),
        (("attack", "--recipe", "demo", "--attack", "plgim"), "Did you mean 'plgmi'?"),
    ],
)
def test_suggests_what_was_meant(arguments, meant, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert meant in told(capfd)
    assert not list(tmp_path.iterdir())


def test_an_attack_that_the_recipe_lacks_is_told_and_leaves_nothing_behind(capfd, tmp_path):
    out = tmp_path / "run"
    assert run("attack", "--recipe", "demo", "--attack", "gmi", "--out", str(out)) == 2
    said = told(capfd)
    assert "Recipe demo has the attacks plgmi, and not gmi. `trapmid audit` with --attacks plgmi gmi adds it." in said
    assert not out.exists()


def test_an_attack_on_a_trapdoor_that_is_not_there(capfd, tmp_path):
    out = tmp_path / "run"
    command = ("attack", "--recipe", "attacks-demo", "--attack", "plgmi++", "--defense", "none", "--out", str(out))
    assert run(*command) == 2
    assert "plgmi++ needs a model with a trapdoor, and the defense none plants none" in told(capfd)
    assert not out.exists()


def test_any_attack_joins_any_recipe_by_its_kind():
    from trapmid.attacks import GMI, Smoothed, parse_attack
    from trapmid.types import UserError

    recipe = choose_recipe("demo", attacks=("plgmi", "gmi", "smoothed-plgmi", "gmi"))
    own = choose_recipe("demo").attack("plgmi")
    assert recipe.attacks == (own, GMI(), Smoothed(base=own))
    with pytest.raises(UserError, match=r"distilled cannot wrap plgmi\+\+"):
        parse_attack("distilled-plgmi++")
    with pytest.raises(UserError, match="'nothing' is not an attack"):
        parse_attack("smoothed-nothing")


def test_a_kind_is_the_only_attack_of_the_recipe_that_has_it():
    from trapmid.attacks import PPDG, Smoothed, parse_attack
    from trapmid.types import UserError

    small = choose_recipe("attacks-demo")
    chosen = choose_recipe("attacks-demo", attacks=("ppdg",))
    assert chosen.attacks == (small.attack("ppdg-plgmi"),) != (PPDG(),)
    two = [Smoothed(base=small.attack(name)) for name in ("plgmi", "gmi")]
    assert parse_attack("smoothed", two[:1]) is two[0]
    with pytest.raises(UserError, match="'smoothed' may be smoothed-plgmi or smoothed-gmi"):
        parse_attack("smoothed", two)
    labelled = two[0].model_copy(update={"label": "mine"})
    assert parse_attack("smoothed", [labelled]) == Smoothed()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seeds.0=-1", "seeds.0: Input should be greater than or equal to 0."),
        ("seeds.1=1", "'1' is not in the list. Its 1 entries go by their numbers, from 0."),
        ("seeds.x=1", "'x' is not in the list. Its 1 entries go by their numbers, from 0."),
        ("seeds.0.x=1", "there is no 'x', because what stands before it has no parts"),
        ("seeds=[]", "seeds: Tuple should have at least 1 item"),
        ("attacks=[]", "attacks: Tuple should have at least 1 item"),
        ("training.optimizer.rate=NaN", "rate: Input should be a finite number."),
        ("training.optimizer.rate=1e999", "rate: Input should be a finite number."),
        ("attacks.plgmi.search_rate=Infinity", "search_rate: Input should be a finite number."),
        ("attacks.plgmi.label=" + "x" * 300, "label: String should have at most 64 characters."),
        ("attacks.plgmi.label=..", "label: String should match pattern"),
        ("training.epochs=" + "9" * 5000, "training.epochs: "),
        ("training.epochs=" + "[" * 100_000, "the value is nested too deeply"),
    ],
)
def test_values_that_no_recipe_takes(change, said, capfd, tmp_path):
    assert run("audit", "--recipe", "demo", "--set", change, "--out", str(tmp_path / "run")) == 2
    assert said in told(capfd)
    assert not (tmp_path / "run").exists()


def test_an_entry_without_a_name_goes_by_its_number():
    assert choose_recipe("demo", changes=("seeds.0=1",)).seeds == (1,)
    assert choose_recipe("demo", seeds=(4, 5, 4), changes=("seeds.1=7",)).seeds == (4, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--recipe", "demo", "--device", "cpu:7"), "trapmid computes on CPUs and CUDA devices"),
        (("train", "--recipe", "demo", "--max-memory", "inf"), "'inf' is not an amount of memory"),
        (("train", "--recipe", "demo", "--max-memory", "-1GiB"), "'-1GiB' is not an amount of memory"),
        (("train", "--recipe", "demo", "--seed", str(2**63)), "is out of range. Expected a whole number from 0 to"),
        (("audit", "--recipe", "demo", "--seeds", "0", "-1"), "Seed -1 is out of range"),
        (("audit", "--recipe", "demo", "--jobs", str(10**30)), "expected a whole number from 0 to a billion"),
        (("audit", "--recipe", "demo", "--identities", "1"), "--identities 1: expected a whole number from 2"),
        (("attack", "--recipe", "demo", "--target", "x.onnx", "--budget", "0"), "--budget 0: expected a whole number"),
        (("detect", "m", "i", "--secrets", "s", "--crop", "0"), "--crop 0: expected a whole number from 1"),
        (("detect", "m", "i", "--secrets", "s", "--fpr", "nan"), "--fpr nan: expected a share between 0 and 1"),
        (("measure", "runs/x", "--jobs", "-3"), "--jobs -3: expected a whole number from 0"),
        (("measure", "runs/x", "--device", "tpu"), "trapmid computes on CPUs and CUDA devices"),
    ],
)
def test_options_out_of_range(arguments, said, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert said in told(capfd)
    assert not list(tmp_path.iterdir())


def test_arguments_that_are_not_utf8(capfd):
    assert run("audit", "--recipe", "demo", "--private", "faces\udcff") == 2
    assert r"The argument faces\udcff has control characters or is not valid UTF-8. Rename" in told(capfd)


def test_bytes_that_are_not_utf8_come_through_the_shell():
    command = [sys.executable.encode(), b"-m", b"trapmid", b"doctor", b"faces\xff"]
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 2
    assert b"not valid UTF-8" in done.stderr


HOSTILE = "p[/b]run\x1b[2J\x9b\u202egnp.exe\udcff"


def test_control_characters_are_made_visible():
    assert visible(HOSTILE) == r"p[/b]run\x1b[2J\x9b\u202egnp.exe\udcff"
    assert visible("a line\n\tand é ü 漢") == "a line\n\tand é ü 漢"


def test_nothing_that_is_printed_reaches_the_terminal_raw(monkeypatch, tmp_path):
    from io import StringIO

    from trapmid.progress import Watch

    shown = StringIO()
    console = SafeConsole(file=shown, width=300, force_terminal=False)
    monkeypatch.setattr("trapmid.console.console", console)
    console.print(f"Run folder: {HOSTILE}")
    with Watch(console) as progress:
        progress(HOSTILE, 0, 3, HOSTILE)
    finding = Finding(
        role="private",
        code="broken",
        severity="error",
        problem=HOSTILE,
        count=1,
        examples=(HOSTILE,),
        remedy="[bold]look[/]",
    )
    print_diagnosis(Diagnosis(facts=(), findings=(finding,)), as_json=False)
    text = shown.getvalue()
    assert text.count(r"p[/b]run\x1b[2J\x9b\u202egnp.exe") == 5
    assert "[bold]look[/]" in text
    assert not set(text) & {"\x1b", "\x9b", "\u202e", "\udcff"}


def test_errors_do_not_reach_the_terminal_raw(capfd):
    assert run("doctor", "nowhere\x1b[31m[/red]") == 2
    said = capfd.readouterr().err
    assert r"nowhere\x1b[31m[/red]" in said
    assert "\x1b" not in said


def test_a_run_folder_with_markup_in_its_name(capfd, tmp_path: Path):
    out = tmp_path / "p[/b]run"
    assert run("report", str(out)) == 2
    assert "p[/b]run" in told(capfd)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("image_size=7",), "image_size: Input should be greater than or equal to 8."),
        (("image_size=16", "model.kind=vgg16"), "model: vgg16 halves its input five times and needs at least 32 px"),
        (
            ("attacks.plgmi.prior.networks.kind=sn-resnet",),
            "attacks.plgmi.prior.networks: The sn-resnet pair is for 64 px",
        ),
        (("model.strides=[2,2]",), "model.tiny: 4 widths and 2 strides; expected one of each per layer"),
        (("judges.classifier.model.width=4",), "width: Input should be a multiple of 8"),
    ],
)
def test_image_sizes_and_shapes_that_no_network_takes(changes, said, capfd, tmp_path):
    assert run("audit", "--recipe", "demo", "--set", *changes, "--out", str(tmp_path / "run")) == 2
    assert said in told(capfd)
    assert not (tmp_path / "run").exists()
