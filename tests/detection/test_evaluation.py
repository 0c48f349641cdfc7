"""Figure 3's rows against loops over the scores, and the command that asks about any images."""

import json
import sys
from pathlib import Path

import pytest
import torch

from helpers.faces import tiny_public
from helpers.trapped import Trapped
from trapmid import cli
from trapmid.attacks import Found
from trapmid.attacks.inversion import write_found
from trapmid.data.images import to_pixels
from trapmid.detection.evaluation import evaluate, rows
from trapmid.metrics.detecting import Detection
from trapmid.metrics.scores import Score, ScoreKey
from trapmid.metrics.table import measure


@pytest.fixture(scope="module")
def found(trapped: Trapped) -> Found:
    """As an attack would find them that ran into the trapdoor."""
    labels = torch.arange(5).repeat_interleave(4)
    pixels = to_pixels(trapped.secrets.poison(tiny_public().images()[:20], labels))
    return Found(pixels, labels, torch.ones(20))


@pytest.fixture(scope="module")
def evaluation(trapped: Trapped, found: Found) -> Detection:
    key = ScoreKey("trapmid", "-", 0)
    return evaluate(key, trapped.model, trapped.secrets, trapped.split, tiny_public().pixels, {"plgmi": found})


def test_metrics_are_what_the_scores_say(evaluation: Detection) -> None:
    from sklearn.metrics import roc_auc_score

    measured = list(measure(evaluation))
    by: dict[tuple[str, str], Score] = {(r.attack, r.metric): r for r in measured}
    shown: dict[str, list[float]] = {}
    for row in rows(evaluation):
        shown.setdefault(row["shown"], []).append(row["score"])
    assert set(shown) == {"real", "public", "plgmi", "apgd-linf", "apgd-l2"}
    assert evaluation.allowed == 0.05
    for suffix in ("", "_published"):
        threshold = by["-", f"detection_threshold{suffix}"].value
        recall = sum(score > threshold for score in shown["plgmi"]) / 20
        assert by["plgmi", f"detection_recall{suffix}"].value == pytest.approx(recall)
        for name in ("apgd-linf", "apgd-l2"):
            clean, changed = shown["real"], shown[name]
            right = sum(s <= threshold for s in clean) + sum(s > threshold for s in changed)
            assert by[name, f"detection_dsr{suffix}"].value == pytest.approx(right / (2 * len(clean)))
        flagged = sum(s > threshold for s in shown["public"]) / len(shown["public"])
        assert by["public", f"detection_false_positives{suffix}"].value == pytest.approx(flagged)
    truth = [1] * 20 + [0] * len(shown["public"])
    assert by["plgmi", "detection_auc"].value == pytest.approx(roc_auc_score(truth, shown["plgmi"] + shown["public"]))
    for name, scores in shown.items():
        assert by[name, "detection_score"].value == pytest.approx(sum(scores) / len(scores))
    assert len(by) == len(measured)


def detect(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["trapmid", "detect", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as left:
            cli.main()
    return int(left.value.code or 0)


def test_the_command_needs_private_images_once(
    trapped: Trapped, found: Found, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_found(tmp_path / "reconstructions.parquet", found, trapped.model.identities)
    clean = trapped.private
    secrets = ("--secrets", trapped.secrets_folder)
    assert detect(trapped.folder, *secrets, tmp_path) == 2
    assert "--private" in capfd.readouterr().err
    assert (
        detect(
            trapped.folder, *secrets, "--private", trapped.private, "--set", "split.val=0.3", "split.test=0.2", "--json"
        )
        == 2
    )
    capfd.readouterr()
    given = (*secrets, "--private", trapped.private, "--set", "split.val=0.3", "split.test=0.2")
    assert detect(trapped.folder, tmp_path / "reconstructions.parquet", *given, "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["set"]["images"], len(told["images"])) == (20, 20)
    assert told["set"]["flagged"] == sum(image["flagged"] for image in told["images"]) > 15
    assert told["set"]["p_value"] < 1e-6
    assert detect(trapped.folder, *secrets, tmp_path, clean, next(clean.rglob("*.png"))) == 0
    assert "of 221 images" in " ".join(capfd.readouterr().out.split())
    assert detect(trapped.folder, *secrets, tmp_path) == 0
    assert "These images are not all clean" in " ".join(capfd.readouterr().out.split())
    assert detect(trapped.folder, *secrets, clean) == 0
    assert "Nothing stands out" in " ".join(capfd.readouterr().out.split())
    assert detect(trapped.folder, *secrets, clean, "--fpr", "0.01") == 2
    assert "cannot guarantee a false-positive rate of 1.00%" in capfd.readouterr().err
