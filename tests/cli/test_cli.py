import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from helpers.commands import run
from trapmid import cli
from trapmid.audit.run import settle
from trapmid.console import print_scores
from trapmid.metrics.scores import Score, write_scores
from trapmid.progress import Watch, clock
from trapmid.recipes import choose_recipe

WITHOUT_TORCH = """
import contextlib, io, json, sys
from trapmid.cli import COMMANDS, main
seen = {}
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        sys.argv = ["trapmid", *arguments]
        try:
            main()
        except SystemExit as left:
            code = left.code
    seen[" ".join(arguments)] = [code, out.getvalue()]
heavy = [name for name in ("torch", "pydantic", "pyarrow") if name in sys.modules]
print(json.dumps([seen, heavy]))
"""


def run_without_torch(*commands: list[str]) -> dict[str, tuple[int, str]]:
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=60,
    )
    seen, heavy = json.loads(done.stdout)
    assert heavy == []
    return seen


def test_help_of_every_command_has_an_example_and_imports_nothing_heavy():
    commands = [[command, "--help"] for command in cli.COMMANDS]
    seen = run_without_torch(["--help"], *commands)
    for command in cli.COMMANDS:
        code, text = seen[f"{command} --help"]
        assert code == 0
        assert f"Example: trapmid {command}" in text
        assert command in seen["--help"][1]


def test_argument_errors_exit_with_2_and_import_nothing_heavy():
    seen = run_without_torch(["audti"], ["demo", "--jobs", "many"], ["doctor"], ["audit", "--precision", "float7"])
    assert {code for code, _ in seen.values()} == {2}


def test_missing_paths_are_the_users_mistakes_and_say_what_was_expected(capfd):
    assert run("audit", "--recipe", "demo", "--private", "/nowhere/faces") == 2
    assert "/nowhere/faces does not exist" in capfd.readouterr().err
    assert run("doctor", "/nowhere/faces") == 2
    assert "one folder of images per identity" in capfd.readouterr().err
    assert run("train") == 2
    assert "trapmid list" in capfd.readouterr().err
    assert run("attack", "--out", "/nowhere/run") == 2
    assert "--recipe" in capfd.readouterr().err
    assert run("report", "/nowhere/run") == 2


def test_python_dash_m():
    command = [sys.executable, "-m", "trapmid", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "trapmid demo" in done.stdout


def test_unknown_recipe_member_and_key_are_the_users_mistakes(tmp_path, capfd):
    out = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    assert run("audit", "--recipe", "dmeo", *out) == 2
    assert "celeba64-cpu" in capfd.readouterr().err
    assert run("audit", "--recipe", "demo", "--defenses", "prayer", *out) == 2
    assert "prayer" in capfd.readouterr().err
    assert run("audit", "--recipe", "demo", "--set", "training.epoch=5", *out) == 2
    assert "epochs" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--device", "mps"), "--device mps: trapmid computes on CPUs and CUDA devices. Expected auto, cpu"),
        (("--jobs", "-1"), "--jobs -1: expected a whole number from 0"),
        (("--seed", "-3"), "Seed -3 is out of range. Expected a whole number from 0 to"),
        (("--max-memory", "lots"), "--max-memory 'lots' is not an amount of memory. Expected e.g. 8GiB"),
    ],
)
def test_what_no_machine_can_do_is_refused_before_any_image_is_read(given, said, tmp_path, capfd):
    assert run("train", "--recipe", "demo", "--out", str(tmp_path / "run"), *given) == 2
    told = capfd.readouterr()
    assert said in " ".join(told.err.split())
    assert "load private images" not in told.err


def test_a_folder_that_is_a_file_and_one_without_measurements(tmp_path, capfd):
    (tmp_path / "file").write_text("mine")
    assert run("train", "--recipe", "demo", "--out", str(tmp_path / "file")) == 2
    assert "is a file. Expected a folder for the run" in " ".join(capfd.readouterr().err.split())
    assert (tmp_path / "file").read_text() == "mine"
    settle(choose_recipe("demo", seeds=(1, 1)), tmp_path / "run")
    assert run("report", str(tmp_path / "run")) == 2
    assert "Nothing was measured in" in (said := " ".join(capfd.readouterr().err.split()))
    assert "Run `trapmid measure" in said
    assert settle(None, tmp_path / "run").seeds == (1,)


def test_our_own_faults_exit_with_1_and_show_the_traceback_only_on_request(monkeypatch, capfd):
    def broken() -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(cli.tools, "loading", broken)
    monkeypatch.delenv("TRAPMID_DEBUG", raising=False)
    assert run("list") == 1
    quiet = capfd.readouterr().err
    assert "the sky fell" in quiet
    assert "TRAPMID_DEBUG=1" in quiet
    assert "Traceback" not in quiet
    monkeypatch.setenv("TRAPMID_DEBUG", "1")
    assert run("list") == 1
    assert "Traceback" in capfd.readouterr().err


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(monkeypatch, capfd):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.tools, "loading", interrupted)
    assert run("list") == 130
    assert "same command to resume" in "".join(capfd.readouterr())


def test_a_reader_that_stops_listening_is_no_bug():
    """As `trapmid ... | head` does; exit code as of a program that SIGPIPE ends."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "trapmid", "reproduce", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_list_names_every_member_of_every_union(capfd):
    from trapmid.attacks import ATTACKS
    from trapmid.defenses import DEFENSES
    from trapmid.models import MODELS
    from trapmid.priors import PRIORS
    from trapmid.recipes import RECIPES

    assert run("list", "--json") == 0
    entries = json.loads(capfd.readouterr().out)
    named = {(entry["union"], entry["kind"]) for entry in entries}
    for union, classes in {"attack": ATTACKS, "defense": DEFENSES, "model": MODELS, "prior": PRIORS}.items():
        assert {(union, member.model_fields["kind"].default) for member in classes} <= named
    assert {("recipe", name) for name in RECIPES} <= named
    assert not [entry for entry in entries if entry["about"].endswith((" App", " Sec", "(App", " Fig"))]
    assert {
        ("judge", "classifier"),
        ("judge", "embedder"),
        ("augmentation", "none"),
    } <= named
    assert all(entry["about"] for entry in entries)
    papers = {entry["kind"]: entry["paper"] for entry in entries if entry["union"] in ("attack", "defense")}
    assert "PLG-MI" in papers["plgmi"]
    assert run("list") == 0
    assert "plgmi" in capfd.readouterr().out


def faces(root: Path, identities: int, first: int = 0) -> Path:
    for identity in range(first, first + identities):
        folder = root / f"person-{identity}"
        folder.mkdir(parents=True)
        for picture in range(3):
            Image.new("RGB", (64, 64), (identity, picture, 7)).save(folder / f"{picture}.png")
    return root


def test_doctor_exits_with_0_for_a_usable_set_and_2_for_errors(tmp_path, capfd):
    good = faces(tmp_path / "good", 3)
    assert run("doctor", str(good), "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["facts"][0]["images"] == 9
    (good / "person-0" / "0.png").write_bytes(b"no picture")
    assert run("doctor", str(good)) == 2
    assert "cannot be read" in " ".join(capfd.readouterr().out.split())
    assert run("doctor", str(tmp_path / "good" / "person-1"), "--json") == 2
    assert "does not name identities" in capfd.readouterr().out


def test_convert_a_legacy_checkpoint(tmp_path, capfd):
    import torch
    from safetensors.torch import load_file

    torch.save({"state_dict": {"module.a": torch.ones(2, 3), "module.b": torch.ones(4)}}, tmp_path / "old.tar")
    new = tmp_path / "new.safetensors"
    assert run("convert", str(tmp_path / "old.tar"), "--to", str(new)) == 0
    assert "2 tensors, 10 numbers" in " ".join(capfd.readouterr().out.split())
    assert {name: tuple(value.shape) for name, value in load_file(new).items()} == {"a": (2, 3), "b": (4,)}
    (tmp_path / "page.tar").write_text("<!DOCTYPE html>")
    assert run("convert", str(tmp_path / "page.tar"), "--to", str(tmp_path / "other")) == 2
    assert "is a web page" in capfd.readouterr().err


def test_plain_progress_is_short_and_tells_begin_end_and_totals():
    console = Console(file=StringIO(), force_terminal=False, width=200)
    with Watch(console) as display:
        display("train none seed 0: start a worker", 0, None, "")
        for step in range(1000):
            display("train none seed 0", step, 1000, f"loss {step}")
        display("train none seed 0", 1000, 1000, "")
        display("train none seed 0", 1000, 1000, "")
        display("audit", 1, 14, "")
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "[0 s] train none seed 0: start a worker"
    assert "train none seed 0  0/1000" in lines[1]
    assert "done in" in lines[2]
    assert "1 of 14 tasks" in lines[3]


def test_the_same_work_once_more_is_timed_by_itself(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("trapmid.progress.time.monotonic", lambda: now[0])
    console = Console(file=StringIO(), force_terminal=False, width=200)
    with Watch(console) as display:
        for seconds in (40, 0, 5):
            display("embed faces", 0, 2, "")
            now[0] += seconds
            display("embed faces", 2, 2, "")
            now[0] += 100
    ends = [line.partition("done in ")[2] for line in console.file.getvalue().splitlines() if "done" in line]
    assert ends == ["40 s", "0 s", "5 s"]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_scores_name_defenses_and_attacks_in_full_at_any_width(width, tmp_path, monkeypatch):
    rows = [Score(defense="-", attack="real", seed=None, judge="j", metric="fid", value=0.311, low=0.3, high=0.32)]
    for metric in ("attack_accuracy_1", "attack_accuracy_1_accepted", "attack_accuracy_5", "knn_distance", "fid"):
        names = {"defense": "onepass", "attack": "distilled-plgmi", "judge": "j", "metric": metric}
        rows.append(Score(**names, seed=None, value=0.765, low=0.66, high=0.81))
    write_scores(tmp_path, rows)
    shown = StringIO()
    monkeypatch.setattr("trapmid.console.console", Console(file=shown, width=width))
    print_scores(tmp_path)
    text = shown.getvalue()
    assert all(word in text for word in ("onepass", "distilled-plgmi", "ceiling", "held-out images"))
    assert "76.5" in text
    assert "0.765" in text  # FID over an embedder's features lies below one
    assert max(map(len, text.splitlines())) <= width


def test_live_progress_keeps_one_bar_per_task():
    console = Console(file=StringIO(), force_terminal=True, width=200)
    with Watch(console) as display:
        display("audit", 0, 2, "")
        display("train none seed 0: load private images", 1, None, "")
        display("train none seed 0", 5, 10, "loss [0.3]")
        assert len(display._live.tasks) == 2
        display("train none seed 0", 10, 10, "")
        assert len(display._live.tasks) == 1


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (185.0, "3 min 05 s"), (4320.0, "1 h 12 min")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_public_names_exist():
    import trapmid

    assert {name for name in trapmid.__all__ if not hasattr(trapmid, name)} == set()
    assert set(trapmid.__all__) <= set(dir(trapmid))
    with pytest.raises(AttributeError, match="nothing"):
        trapmid.nothing  # noqa: B018


def test_audit_plans_without_running_anything(tmp_path, capfd):
    out = tmp_path / "out"
    assert run("audit", "--recipe", "demo", "--seeds", "0", "1", "--plan", "--out", str(out)) == 0
    told = capfd.readouterr().out
    assert "| train trapmid seed 1 | to do | 0.07 |" in told  # 3.7 times 70 seconds
    assert "33 of 33 tasks are to do" in told
    chain = told.split("the critical path, the longest chain of tasks that wait for each other: ")[1].split(", ")
    assert chain[0].startswith("start tiny-")
    assert chain[1:3] == ["train trapmid seed 0", "attack plgmi trapmid seed 0"]
    assert "| 64 |" in told
    assert run("audit", "--recipe", "defenses-pretrained", "--plan", "--out", str(out)) == 0
    told = capfd.readouterr().out
    assert "How long is not known." in told
    assert "The critical path by number of tasks has" in told
    assert not out.exists()


def test_reproduce_plans_without_running_anything(tmp_path, capfd):
    assert run("reproduce", "table9", "--plan", "--out", str(tmp_path / "out")) == 0
    told = capfd.readouterr().out
    assert "Table 9: training time" in told
    assert "GiB of disk" in told
    assert not (tmp_path / "out").exists()
    assert run("reproduce", "list") == 0
    assert "| figure6 |" in capfd.readouterr().out
    assert run("reproduce", "table21") == 2
    assert "'table21' is not an experiment" in capfd.readouterr().err
    assert run("reproduce", "table1", "--scale", "paper") == 2
    assert "needs --private and --public" in capfd.readouterr().err
