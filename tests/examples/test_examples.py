"""The examples run, are short, keep secrets apart, and leave models that load where there is no trapmid."""

import logging
import runpy
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trapmid.trapdoor import SECRETS, Secrets

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

# The libraries warn about their own workers, devices and deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")

SOMEWHERE_ELSE = """
import sys
from safetensors.torch import load_file
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
for file in sys.argv[1:]:
    model.load_state_dict(load_file(file), strict=True)
assert not [name for name in sys.modules if name.startswith("trapmid")]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", sorted(file.stem for file in EXAMPLES.glob("*.py")))
def test_runs_and_keeps_its_secrets_apart(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(name, folder, monkeypatch)
    (file,) = (folder / "runs" / name).rglob(SECRETS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Secrets.load(file.parent).triggers.shape == (5, 3, 32, 32)
    assert file.parent.name == "secrets"
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 40


def test_models_load_without_trapmid(folder: Path) -> None:
    files = sorted((folder / "runs").glob("*/model.safetensors"))
    assert [file.parent.name for file in files] == ["accelerate_loop", "lightning_callback", "plain_pytorch"]
    done = subprocess.run(
        [sys.executable, "-c", SOMEWHERE_ELSE, *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_hugging_face_model_loads_as_ever(folder: Path) -> None:
    from transformers import ResNetForImageClassification

    model = ResNetForImageClassification.from_pretrained(folder / "runs" / "huggingface_trainer" / "model")
    assert model(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)


def test_accelerate_checkpoint_holds_the_trapdoor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = run("accelerate_loop", folder, monkeypatch)
    trapdoor = left["trapdoor"]
    kept, step = trapdoor.triggers.clone(), trapdoor.step
    assert step == 20
    trapdoor.loss(*next(iter(left["loader"])))
    assert not torch.equal(trapdoor.triggers, kept)
    left["accelerator"].load_state(str(folder / "runs" / "accelerate_loop" / "checkpoint"))
    assert torch.equal(trapdoor.triggers, kept)
    assert trapdoor.step == step
