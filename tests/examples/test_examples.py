"""The examples run, are short, keep secrets apart, and leave models that load where there is no trapmid."""

import logging
import os
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
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SOMEWHERE_ELSE = """
import sys
from safetensors.torch import load_file
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5))
for file in sys.argv[1:]:
    model.load_state_dict(load_file(file), strict=True)
assert not [name for name in sys.modules if name.startswith("trapmid")]
"""


IN_PROCESSES = ("accelerate_loop", "distributed", "huggingface_trainer", "lightning_callback")
"""Those that run in several processes. The last one starts them itself."""
NAMES = ("accelerate_loop", "huggingface_trainer", "lightning_callback", "plain_pytorch")
"""Those that train; tests/reach starts the server."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def left(folder: Path) -> dict[str, dict[str, Any]]:
    """What every example leaves behind: its variables by name, once they have all run in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        return {name: runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__") for name in NAMES}


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("name", NAMES)
def test_keeps_its_secrets_apart(name: str, folder: Path) -> None:
    (file,) = (folder / "runs" / name).rglob(SECRETS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Secrets.load(file.parent).triggers.shape == (5, 3, 32, 32)
    assert file.parent.name == "secrets"
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 40


@pytest.mark.parametrize("name", IN_PROCESSES)
def test_runs_in_two_processes(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = tmp_path / f"{name}.py"
    script.write_text(
        (EXAMPLES / f"{name}.py").read_text().replace("L.Trainer(", 'L.Trainer(devices=2, strategy="ddp", ')
    )
    command = [sys.executable, "-W", "ignore", *([] if name == "lightning_callback" else launch), str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=400, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "runs" / name).rglob(SECRETS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list((tmp_path / "runs" / name).glob("**/model.safetensors"))
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 40


@pytest.mark.usefixtures("left")
def test_models_load_without_trapmid(folder: Path) -> None:
    files = sorted((folder / "runs").glob("*/model.safetensors"))
    assert [file.parent.name for file in files] == ["accelerate_loop", "lightning_callback", "plain_pytorch"]
    done = subprocess.run(
        [sys.executable, "-c", SOMEWHERE_ELSE, *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("left")
def test_hugging_face_model_loads_as_ever(folder: Path) -> None:
    from transformers import ResNetForImageClassification

    model = ResNetForImageClassification.from_pretrained(folder / "runs" / "huggingface_trainer" / "model")
    assert model(torch.rand(2, 3, 32, 32)).logits.shape == (2, 5)


def test_accelerate_checkpoint_holds_the_trapdoor(folder: Path, left: dict[str, dict[str, Any]]) -> None:
    variables = left["accelerate_loop"]
    trapdoor = variables["trapdoor"]
    kept, step = trapdoor.triggers.clone(), trapdoor.step
    assert step == 20
    trapdoor.loss(*next(iter(variables["loader"])))
    assert not torch.equal(trapdoor.triggers, kept)
    variables["accelerator"].load_state(str(folder / "runs" / "accelerate_loop" / "checkpoint"))
    assert torch.equal(trapdoor.triggers, kept)
    assert trapdoor.step == step


def test_an_attack_of_ones_own_finds_more_than_it_started_from_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "runs" / "own_attack" / "nudged-s0" / "manifest.json"
    first = runpy.run_path(str(EXAMPLES / "own_attack.py"), run_name="__main__")
    made = manifest.read_bytes()
    again = runpy.run_path(str(EXAMPLES / "own_attack.py"), run_name="__main__")
    made_again = manifest.read_bytes()
    found, model, public = first["found"], first["model"], first["public"]
    assert found.labels.tolist() == [identity for identity in range(5) for _ in range(2)]
    with torch.no_grad():
        nearest = model(public.images()).softmax(1).topk(2, dim=0).values.T.flatten()
    assert bool((found.confidence >= nearest - 1e-3).all())
    assert torch.equal(again["found"].pixels, found.pixels)
    assert made_again == made
