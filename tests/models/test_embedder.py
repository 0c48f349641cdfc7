"""Face embedders in ONNX files: one image at a time or many, and what is refused."""

from pathlib import Path

import pytest
import torch

from helpers.embedders import Exported, written_embedder
from helpers.real_faces import DATA, needs_real_faces
from trapmid.models import Embedder
from trapmid.types import UserError


@pytest.mark.parametrize(("exported", "batch"), [("any", 64), ("one", 4), ("one, in a constant", 4), ("the first", 1)])
def test_an_image_has_the_same_embedding_in_any_company(exported: Exported, batch: int, tmp_path: Path) -> None:
    embedder = Embedder(written_embedder(tmp_path / "net.onnx", exported))
    images = torch.rand(6, 3, 32, 32)
    together = embedder(images)
    assert embedder.batch == batch
    assert together.shape == (6, 8)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(together, torch.cat([embedder(image) for image in images.split(1)]), atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_without_onnx_a_network_for_one_image_gets_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written_embedder(tmp_path / "net.onnx", "one")
    images = torch.rand(3, 3, 32, 32)
    together = Embedder(file)(images)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    alone = Embedder(file)
    assert alone.batch == 1
    torch.testing.assert_close(alone(images), together, atol=1e-5, rtol=0)


def test_what_is_no_face_embedder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Embedder(tmp_path / "nowhere.onnx")
    with pytest.raises(UserError, match=r"takes images \[.*64, 64\].*Expected a face embedder"):
        Embedder(written_embedder(tmp_path / "small.onnx", side=64))
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match="is not a network that onnxruntime can run"):
        Embedder(tmp_path / "text.onnx")


@pytest.mark.slow
@needs_real_faces
def test_edgeface_takes_batches() -> None:
    assert Embedder(DATA / "edgeface_s_gamma_05.onnx").batch == 4
