"""An audit of a model of images that are no faces, which a timm network with local weights judges."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers.foreign import Logits, exported
from helpers.patterns import patterns
from helpers_attacks import SIZE, trained_classifier
from trapmid import cli
from trapmid.audit.plan import Folders
from trapmid.data import ImageSet
from trapmid.manifests import open_artifact, sha256
from trapmid.metrics.scores import find, read_scores


def photographs(images: ImageSet, folder: Path) -> Path:
    for pixels, label, name in zip(images.pixels, images.labels.tolist(), images.origins, strict=True):
        place = folder / images.identities[label] / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place)
    return folder


@pytest.mark.slow
def test_three_images_of_each_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import timm

    learned = patterns(5, 8, SIZE)
    model = exported(Logits(trained_classifier(learned)).eval(), tmp_path / "net.pt2")
    few = learned.subset(torch.cat([learned.of_identity(number)[:3] for number in range(5)]))
    private = photographs(few, tmp_path / "private")
    public = photographs(patterns(9, 6, SIZE, first=5), tmp_path / "public")
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")

    def audit(*options: str) -> int:
        out = ["--out", str(tmp_path / "run"), "--attacks", "public-nearest", "--jobs", "1", "--device", "cpu"]
        common = ["audit", str(model), "--private", str(private), "--public", str(public), *out]
        monkeypatch.setattr(sys, "argv", ["trapmid", *common, *options])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    assert audit("--judge", "timm:test_vit") == 2
    assert "needs --judge-weights FILE" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
    assert audit("--judge", "timm:test_vit", "--judge-weights", str(tmp_path / "vit.safetensors")) == 0
    (ceiling,) = find(read_scores(tmp_path / "run"), attack="real", judge="image-embedder", metric="attack_accuracy_1")
    assert ceiling.value == 1
    digest = f"sha256:{sha256(tmp_path / 'vit.safetensors')}"
    floors = open_artifact(Folders(tmp_path / "run").measured("floors", "", 0), "measured")
    judge = {"kind": "image-embedder", "label": "", "network": "test_vit", "weights": digest}
    assert judge in floors.recipe["judges"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"test_vit of timm, weights {digest[:23]}; no private image trained it" in page
