"""A training under Hugging Face's Trainer that was interrupted and resumed ends as one that was not.

Triggers stay out of its folder.
"""

import stat
from pathlib import Path
from types import ModuleType

import pytest
import torch

from trapmid.trapdoor import Secrets
from trapmid.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # the Trainer warns about its own devices and workers


@pytest.fixture(scope="module")
def under() -> ModuleType:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from helpers import under_transformers

    return under_transformers


def test_resumed_is_as_if_never_interrupted(under: ModuleType, tmp_path: Path) -> None:
    whole = under.fit(tmp_path / "whole", tmp_path / "whole-secrets")
    kept = sorted(file.name for file in (tmp_path / "whole-secrets").iterdir())
    checkpoints = sorted(file.name for file in (tmp_path / "whole").glob("checkpoint-*"))
    assert kept == [*(f"{name}.pt" for name in checkpoints), "secrets.safetensors"]
    assert len(checkpoints) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "whole-secrets").iterdir()} == {0o600}

    under.fit(tmp_path / "half", tmp_path / "secrets", stop_at=7)  # the last checkpoint is of step 6
    resumed = under.fit(tmp_path / "half", tmp_path / "secrets", resume=tmp_path / "half" / "checkpoint-6")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
    triggers = [Secrets.load(tmp_path / name).triggers for name in ("whole-secrets", "secrets")]
    assert torch.equal(*triggers)


def test_mistakes(under: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lie inside the Trainer's output_dir .* may be pushed to a hub"):
        under.fit(tmp_path / "t", tmp_path / "t" / "secrets")
    under.fit(tmp_path / "t", tmp_path / "s", stop_at=4)
    with pytest.raises(UserError, match=r"checkpoint-3\.pt is missing, .* Give the folder of secrets"):
        under.fit(tmp_path / "t", tmp_path / "other", resume=tmp_path / "t" / "checkpoint-3")
