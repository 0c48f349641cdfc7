"""Hundreds of hostile command lines: each succeeds, or is refused in one sentence and changes no file."""

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from helpers.fuzzing import check, stop_before_training

pytestmark = pytest.mark.slow

CALLS = 400
NUMBERS = ["0", "1", "-1", "2", "9223372036854775808", "1" * 400, "nan", "inf", "1e3", "x", "", "0x10", "١", "1_0"]  # noqa: RUF001
NAMES = ["plgmi", "gmi", "none", "trapmid", "ted+", "trapmid+negls", "negls+negls", "+", "smoothed-gmi",
         "distilled-plgmi++", "-", "robust-robust-gmi", "lokt", "ppa", "public-nearest", "plgmi++", "evading", "", "..",
         "a/b", "é", "\x1b[2J", "[/b]", "x" * 300, "os:system", "trapmid.attacks:GMI", "nowhere.module:X"]  # fmt: skip
KEYS = ["training.epochs", "training.epoch", "seeds", "seeds.0", "seeds.9", "seeds.-1", "attacks", "attacks.0",
        "attacks.plgmi.label", "attacks.plgmi.prior.networks.kind", "attacks.0.kind", "defenses.trapmid.weight",
        "defenses.none", "defenses.1.blend.end", "judges", "judges.classifier.model.kind", "judges.0.model.width",
        "model.kind", "model.widths", "model.strides.0", "image_size", "channels", "private.path", "private.kind",
        "private.images_per_identity", "name", "about", "split.val", "split", "robustness.budgets.0", "robustness",
        "fidelity", "training.optimizer.rate", "training.augmentation.crop_area", "", ".", "a.b.c.d", "__class__",
        "identities", "training.optimizer", "private"]  # fmt: skip
VALUES = ["0", "1", "-1", "NaN", "Infinity", "-Infinity", "1e999", "null", "true", "[]", "{}", "[1,2]", "[[1]]", '"x"',
          "x", "", "9" * 5000, "[" * 5000, '{"kind":"none"}', '{"kind":"x"}', "tiny", "vgg16", "zoo", "onepass", "gmi",
          "lokt", "parquet", "folder", "adamw", "0.5", "1.5", "2", "64", "16", "[0,0]", "[8]", "=", "a=b", "\x1b[2J",
          "é"]  # fmt: skip


def paths(root: Path) -> list[str]:
    """Data sets, good and bad, and what is none."""
    faces = root / "faces"
    for person in range(3):
        (faces / f"p{person}").mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), (person * 60, number * 60, 9)).save(faces / f"p{person}" / f"{number}.png")
    (root / "junk.parquet").write_bytes(b"PAR1 no parquet PAR1")
    (root / "model.onnx").write_bytes(b"no onnx")
    (root / "old.tar").write_bytes(b"no checkpoint")
    (root / "empty").mkdir()
    (root / "[b]odd\x1b[2J name").mkdir()
    names = [
        "faces",
        "faces/p0",
        "junk.parquet",
        "model.onnx",
        "old.tar",
        "empty",
        "[b]odd\x1b[2J name",
        "faces/p0/0.png",
        "none",
    ]
    return [
        *(str(root / name) for name in names),
        "",
        ".",
        "/dev/null",
        "x" * 5000,
        "faces\udcff",
        "http://127.0.0.1:9",
        "~",
    ]


def command(rng: random.Random, files: list[str], out: Path) -> list[str]:
    """One command line out of the grammar, now and then with a mistake in it."""

    def path() -> str:
        return rng.choice(files)

    def folder() -> str:
        return rng.choice([str(out / rng.choice(["a", "b", "p[/b]", "é", "x" * 300, "a/b/c"])), path(), str(out / "a")])

    def change() -> str:
        return f"{rng.choice(KEYS)}{rng.choice(['=', '=', '=', '=', ''])}{rng.choice(VALUES)}"

    def several(make, most: int = 3) -> list[str]:
        return [make() for _ in range(rng.randint(0, most))]

    number, name = (lambda: rng.choice(NUMBERS)), (lambda: rng.choice(NAMES))
    recipe = lambda: rng.choice(["demo", "demo", "demo", "attacks-demo", "adaptive-demo", "dmeo", "", "celeba64-cpu"])  # noqa: E731
    machine = {"--device": lambda: rng.choice(["cpu", "cpu:7", "cuda", "cuda:99", "mps", "", "tpu:-1"]),
               "--jobs": number,
               "--max-memory": lambda: rng.choice(["8GiB", "inf", "nan", "-1", "0", "", "1e99G", "GiB", "8 gigs"]),
               "--precision": lambda: rng.choice(["32-true", "bf16-mixed", "16"])}  # fmt: skip
    job = {"--recipe": recipe, "--out": folder, "--private": path, "--public": path}
    lists = {"--set": change, "--seeds": number, "--defenses": name, "--attacks": name}
    options = {
        "demo": ({"--out": folder, **machine}, {"--set": change, "--seeds": number}, 0),
        "audit": ({**job, "--identities": number, **machine}, lists, 0),
        "train": ({**job, "--defense": name, "--seed": number, **machine}, {"--set": change}, 0),
        "attack": (
            {**job, "--attack": name, "--defense": name, "--seed": number, "--target": path, "--budget": number,
             **machine},
            {"--set": change}, 0,
        ),
        "measure": ({"--device": machine["--device"], "--jobs": number}, {}, 1),
        "report": ({"--to": folder}, {}, 1),
        "doctor": ({"--public": path}, {}, 1),
        "convert": ({"--to": folder}, {}, 1),
        "list": ({}, {}, 0),
        "detect": ({"--secrets": path, "--private": path, "--fpr": number, "--crop": number}, {"--set": change}, 2),
        "reproduce": ({"--out": folder, "--scale": lambda: rng.choice(["cpu", "paper", "x"]), **job},
                      {"--seeds": number, "--set": change}, 0),
    }  # fmt: skip
    chosen = rng.choice(list(options))
    single, multiple, positional = options[chosen]
    line = [chosen, *(path() for _ in range(positional if rng.random() < 0.9 else rng.randint(0, 3)))]
    if chosen == "reproduce":
        line += ["--plan", rng.choice(["table9", "table1", "figure2", "list", "table99", "", "Table1"])]
    probability = rng.choice([0.2, 0.4])
    for flag, make in single.items():
        if flag == "--recipe" or rng.random() < probability:
            line += [flag, make()]
    for flag, make in multiple.items():
        if rng.random() < probability:
            line += [flag, *several(make)]
    if rng.random() < 0.1:
        line.insert(
            rng.randint(0, len(line)),
            rng.choice(["--", "-", "--nothing", "--json", "--redact", "", "--help", "\x00", "--out"]),
        )
    return line


def test_every_command_line_succeeds_or_is_refused(tmp_path, capfd, monkeypatch):
    stop_before_training(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    files, out, counts = paths(tmp_path / "data"), tmp_path / "runs", Counter()
    rng = random.Random(0)
    for _ in range(CALLS):
        check(command(rng, files, out), [tmp_path], capfd, counts)
    print(f"{CALLS} command lines: {dict(counts)}")  # noqa: T201
    assert counts["0"] > CALLS / 50
    assert counts["2"] > CALLS / 2
