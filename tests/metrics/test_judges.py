"""Judges: which are accepted, what they do not recognise, and whether the face judge recognises real faces."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.nn import functional as F

from helpers.precision import in_double_precision
from helpers.real_faces import PRIVATE, needs_real_faces
from helpers.statistics.judging import IDENTITIES, JUDGE, judge_of, judged_people, model_of
from helpers_attacks import CPU, TINY, faces
from trapmid.data import Split, SplitConfig, split
from trapmid.data.parquet import ParquetSource
from trapmid.defenses import TrainedModel
from trapmid.engine import generator
from trapmid.metrics.accuracy import Acceptance
from trapmid.metrics.controls import derangement
from trapmid.metrics.embedders import CentroidJudge, FaceEmbedder, ImageEmbedder
from trapmid.metrics.evidence import Model
from trapmid.metrics.judge import Judge, Opinion
from trapmid.metrics.judges import JUDGES, AnyJudge, ClassifierJudge, check_independent
from trapmid.metrics.panel import SAMPLES_PER_IDENTITY, Panel
from trapmid.metrics.recognition import GENERATOR_PRIVATE_NEAREST
from trapmid.metrics.robustness import APGD
from trapmid.metrics.samples import draw_public, over_all_seeds, sample_rows
from trapmid.metrics.scores import ScoreKey, find
from trapmid.metrics.table import measure
from trapmid.models.embedder import align_to_arcface
from trapmid.priors import Prior
from trapmid.trapdoor import Secrets
from trapmid.types import Images, Labels, Pixels, UserError


@pytest.fixture(autouse=True)
def precise(request: pytest.FixtureRequest) -> Iterator[None]:
    """Networks that were trained here are used in float64: no processor's rounding decides what a judge accepts."""
    with in_double_precision() if {"judge", "target"} & set(request.fixturenames) else nullcontext():
        yield


@pytest.fixture(scope="module")
def private() -> Split:
    return judged_people()


@pytest.fixture(scope="module")
def judge() -> Judge:
    with in_double_precision():
        return judge_of(0)


@pytest.fixture(scope="module")
def target() -> TrainedModel:
    with in_double_precision():
        return model_of(0)


@pytest.fixture(scope="module")
def panel(private: Split, judge: Judge) -> Panel:
    return Panel([judge], private)


def test_every_judge_equals_its_own_json() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyJudge)
    members = (JUDGE, FaceEmbedder(), ImageEmbedder(network="resnet50", weights=Path("weights")))
    assert {type(member) for member in members} == set(JUDGES)
    for member in members:
        assert adapter.validate_json(member.model_dump_json()) == member
        assert member.paper


def test_threshold_is_the_95th_percentile_of_real_distances() -> None:
    rng = torch.Generator().manual_seed(0)
    train_labels, val_labels = torch.arange(4).repeat(100), torch.arange(4).repeat(500)
    centres = 10 * torch.randn(4, 8, generator=rng)
    real = Opinion(torch.zeros(400, 4), centres[train_labels] + torch.randn(400, 8, generator=rng))
    held_out = Opinion(torch.zeros(2000, 4), centres[val_labels] + torch.randn(2000, 8, generator=rng))
    acceptance = Acceptance.calibrate(real, train_labels, held_out, val_labels)
    assert float(acceptance.accepts(held_out, val_labels).double().mean()) == pytest.approx(0.95, abs=1e-3)
    others = Opinion(torch.zeros(2000, 4), centres[val_labels] + torch.randn(2000, 8, generator=rng))
    assert float(acceptance.accepts(others, val_labels).double().mean()) == pytest.approx(0.95, abs=0.02)
    assert float(acceptance.accepts(held_out, (val_labels + 1) % 4).double().mean()) < 0.05  # other people's faces
    assert bool(acceptance.accepts(real, train_labels).all())


def test_judge_accepts_real_faces_and_refuses_blank_squares(private: Split, panel: Panel) -> None:
    val = private.part("val")
    (of_val,) = panel.judge(val.pixels, val.labels)
    assert float(of_val.accepted.double().mean()) == pytest.approx(0.95, abs=0.035)  # 30 images
    for level in (0, 128, 255):
        blank = torch.full((IDENTITIES, 3, 32, 32), level, dtype=torch.uint8)
        (verdicts,) = panel.judge(blank, torch.arange(IDENTITIES))
        assert int((verdicts.rank == 0).sum()) >= 1  # the classifier always names an identity ...
        assert not bool(verdicts.accepted.any())  # ... and the acceptance rejects it


def test_ceiling_is_far_above_the_floor(private: Split, panel: Panel) -> None:
    public = faces(20, 5, first=500)
    ceiling = {score.metric: score for score in measure(*panel.ceiling())}
    floor = {score.metric: score for score in measure(*panel.floor("public", draw_public(public, IDENTITIES)))}
    assert floor["attack_accuracy_5"].value == 1  # five identities
    assert floor["attack_accuracy_1_accepted"].value <= floor["attack_accuracy_1"].value
    assert {score.attack for score in floor.values()} == {"public"}
    assert all(score.seed is None and score.defense == "-" for score in (*ceiling.values(), *floor.values()))


def test_floor_has_no_favourites(private: Split, panel: Panel) -> None:
    """Images of private people that were not made for an identity count only by chance."""
    test = private.part("test")
    floor = {score.metric: score.value for score in measure(*panel.floor("prior", test.pixels.repeat(8, 1, 1, 1)))}
    assert floor["attack_accuracy_1"] == pytest.approx(1 / IDENTITIES, abs=0.1)


def test_reconstructions_are_scored_one_by_one(private: Split, panel: Panel) -> None:
    """Real pictures handed in as reconstructions, half of them under the wrong name."""
    test = private.part("test")
    wrong = torch.arange(len(test)) % 2 == 1
    labels = torch.where(wrong, (test.labels + 1) % IDENTITIES, test.labels)
    evidence = panel.images(ScoreKey("none", "plgmi", 3), test.pixels, labels)
    by_metric = {score.metric: score for score in measure(*evidence)}
    rows = list(sample_rows(evidence[0], private.images.identities, torch.rand(len(test))))
    assert set(by_metric) == {
        "attack_accuracy_1",
        "attack_accuracy_5",
        "attack_accuracy_1_accepted",
        "attack_accuracy_1_corrected",
        "attack_accuracy_1_wrong_identity",
        "knn_distance",
        "knn_distance_l2",
        "fid",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "precision_naeem",
        "recall_naeem",
        "density_naeem",
    }
    assert len(rows) == len(test)
    assert by_metric["attack_accuracy_1"].value == pytest.approx(np.mean([row["rank"] == 0 for row in rows]))
    assert by_metric["attack_accuracy_1_accepted"].value == pytest.approx(
        np.mean([row["rank"] == 0 and row["accepted"] for row in rows])
    )
    distances = np.array([row["distance"] for row in rows])
    assert by_metric["knn_distance"].value == pytest.approx(distances.mean(), rel=1e-5)
    assert by_metric["knn_distance_l2"].value == pytest.approx(np.sqrt(distances).mean(), rel=1e-5)
    assert [row["identity"] for row in rows] == [private.images.identities[label] for label in labels]


def test_a_wrong_name_and_a_correction_give_nothing_to_nobody(private: Split, panel: Panel) -> None:
    """Real pictures under their own names, and under those that the wrong-identity control gives them."""
    test = private.part("test")
    key = ScoreKey("none", "x", 0)
    right, *_ = panel.images(key, test.pixels, test.labels)
    wrong, *_ = panel.images(key, test.pixels, derangement(IDENTITIES)[test.labels])
    own = {score.metric: score.value for score in measure(right)}
    others = {score.metric: score.value for score in measure(wrong)}
    assert own["attack_accuracy_1_wrong_identity"] == others["attack_accuracy_1"]


def test_strangers_are_told_from_private_people(private: Split, judge: Judge) -> None:
    public = faces(20, 5, first=500)
    beside = Panel([judge], private, public=draw_public(public, IDENTITIES))
    floor = {score.metric: score for score in measure(*beside.public_floor())}
    assert floor["attack_accuracy_1"].attack == "public"
    assert "private_nearest_share" not in floor
    opinion = judge.opinion(beside.public)
    acceptance = Acceptance.calibrate(
        judge.opinion(private.part("train").pixels),
        private.part("train").labels,
        judge.opinion(private.part("val").pixels),
        private.part("val").labels,
    )
    taken = [
        bool(acceptance.accepts(Opinion(opinion.scores[[i]], opinion.features[[i]]), opinion.scores[[i]].argmax(1)))
        for i in range(len(beside.public))
    ]
    assert floor["false_positive_rate"].value == pytest.approx(np.mean(taken))
    of_both = (
        {score.metric for score in measure(*evidence)}
        for evidence in (beside.ceiling(), beside.floor("prior:x", beside.public))
    )
    assert all("private_nearest_share" in metrics for metrics in of_both)
    assert not list(Panel([judge], private).public_floor())


def test_a_generator_that_paints_whom_it_should_is_nearer_to_private_people(private: Split, judge: Judge) -> None:
    """Samples are of every identity alike, and what they are near to is asked of the judge that decides."""
    beside = Panel([judge], private, public=draw_public(faces(20, 5, first=500), IDENTITIES))
    held_out = private.part("test")
    of_private = Paints(torch.stack([held_out.pixels[held_out.of_identity(y)[0]] for y in range(IDENTITIES)]))
    of_strangers = Paints(faces(IDENTITIES, 1, first=900).pixels)
    key = ScoreKey("none", "x", 2)
    for prior in (of_private, of_strangers):
        samples = beside.generator(key, prior)
        (score,) = measure(samples)
        assert (score.defense, score.attack, score.seed, score.metric) == (
            "none",
            "x",
            2,
            GENERATOR_PRIVATE_NEAREST.name,
        )
        by_hand = float(samples.nearest.nearer_to_private[judge.name].double().mean())
        assert score.value == pytest.approx(by_hand)
        assert prior.asked == dict.fromkeys(range(IDENTITIES), SAMPLES_PER_IDENTITY)
    assert not list(measure(Panel([judge], private).generator(key, of_private)))


class Paints(Prior):
    """One picture of each label."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.generator, self.latent_size, self.num_classes = pixels, nn.Identity(), 1, len(pixels)
        self.device, self.rows = torch.device("cpu"), []
        self.asked: Counter[int] = Counter()

    def decode(self, latents: torch.Tensor, labels: Labels) -> Images:
        """The label's."""
        self.asked.update(labels.tolist())
        return self.pixels[labels].float() / 255

    def save(self, folder: Path) -> list[str]:
        """Nothing."""
        return []


def test_faint_triggers_look_like_nobody_and_plain_ones_like_whom_they_show(private: Split, panel: Panel) -> None:
    train = private.part("train")
    portraits = torch.stack([train.images(train.of_identity(y)[:1])[0] for y in range(IDENTITIES)])
    said = {}
    for ratio in (0.0, 1.0):
        rows = list(measure(panel.triggers_alone("trapmid", 3, Secrets(portraits, ratio))))
        assert {(row.defense, row.attack, row.seed) for row in rows} == {("trapmid", "triggers-alone", 3)}
        assert not {row.metric for row in rows} & {"fid", "kid", "precision"}  # a handful of pictures is no set
        said[ratio] = {row.metric: row.value for row in rows}
    assert said[0.0]["attack_accuracy_1"] == 1 / IDENTITIES  # the same picture for everybody
    assert said[0.0]["attack_accuracy_1_corrected"] == 0


def test_judges_that_disagree_are_counted(private: Split, judge: Judge) -> None:
    class Contrary(Judge):
        name = "contrary"

        def opinion(self, pixels: Pixels) -> Opinion:
            opinion = judge.opinion(pixels)
            return Opinion(-opinion.scores, opinion.features)

    test = private.part("test")
    evidence = Panel([judge, Contrary()], private).images(ScoreKey("none", "x", 0), test.pixels, test.labels)
    scores = list(measure(*evidence))
    rows = list(sample_rows(evidence[0], private.images.identities, torch.rand(len(test))))
    (apart,) = find(scores, metric="judge_disagreement")
    hits = {name: [row["rank"] == 0 for row in rows if row["judge"] == name] for name in (judge.name, "contrary")}
    assert apart.value == np.mean([a != b for a, b in zip(*hits.values(), strict=True)])
    assert apart.judge == "-"


def test_model_is_measured_on_the_test_split(private: Split, target: TrainedModel, judge: Judge) -> None:
    key, test = ScoreKey("trapmid", "-", 0), private.part("test")
    secrets = Secrets(torch.rand(IDENTITIES, 3, 32, 32, generator=generator(0, "triggers")), 0.0)
    tried = APGD(images=20, steps=4)
    scores = {score.metric: score for score in measure(Model(key, target, private, secrets, [judge], tried))}
    assert set(scores) == {
        "clean_accuracy",
        "calibration_error",
        "zero_gradient_share",
        "robust_accuracy_2_255",
        "robust_accuracy_8_255",
        "trapdoor_success",
        "trapdoor_delta",
        "trapdoor_delta_worst",
        "trapdoor_epsilon",
    }
    clean = scores["clean_accuracy"]
    with torch.no_grad():
        right = target.classifier(test.images()).logits.argmax(1) == test.labels
    assert clean.value == pytest.approx(float(right.double().mean()))
    assert clean.low <= clean.value <= clean.high
    assert scores["zero_gradient_share"].value == 0.0
    weak, strong = scores["robust_accuracy_2_255"].value, scores["robust_accuracy_8_255"].value
    assert 0 <= strong <= weak <= clean.high
    assert scores["trapdoor_delta_worst"].value <= scores["trapdoor_delta"].value


def test_a_private_trainings_epsilon_is_a_score(private: Split, target: TrainedModel) -> None:
    achieved = target.manifest.model_copy(update={"facts": {**target.manifest.facts, "epsilon": 7.99}})
    scores = measure(Model(ScoreKey("dpsgd", "-", 0), replace(target, manifest=achieved), private))
    assert [score.value for score in scores if score.metric == "privacy_epsilon"] == [7.99]


def test_means_over_seeds(private: Split, target: TrainedModel) -> None:
    scores = [score for seed in (0, 1) for score in measure(Model(ScoreKey("none", "-", seed), target, private))]
    means = list(over_all_seeds(scores))
    assert [mean.metric for mean in means] == ["clean_accuracy", "calibration_error", "zero_gradient_share"]
    assert [mean.value for mean in means] == pytest.approx([score.value for score in scores[:3]])
    assert all(mean.low == mean.high == mean.value for mean in means)
    assert find([*scores, *means], seed=None) == means


def test_judge_of_the_targets_architecture_is_refused(target: TrainedModel) -> None:
    with pytest.raises(UserError, match=r"has the target's architecture \(tiny\)"):
        check_independent(ClassifierJudge("classifier", target), target.classifier, target.manifest.recipe["model"])


def test_other_first_weights_are_no_other_architecture(target: TrainedModel) -> None:
    other = {**target.manifest.recipe["model"], "weights": "sha256:ab", "pretrained": True}
    with pytest.raises(UserError, match="has the target's architecture"):
        check_independent(ClassifierJudge("classifier", target), target.classifier, other)


def test_judge_with_the_targets_weights_is_refused(target: TrainedModel) -> None:
    with pytest.raises(UserError, match="weights are the target's"):
        check_independent(ClassifierJudge("classifier", target), target.classifier, {"kind": "called otherwise"})


def test_independent_judges_may_judge(target: TrainedModel, judge: Judge) -> None:
    check_independent(judge, target.classifier, target.manifest.recipe["model"])


def test_measuring_with_a_dependent_judge_is_refused(private: Split, target: TrainedModel) -> None:
    with pytest.raises(UserError, match="target's architecture"):
        Model(ScoreKey("none", "-", 0), target, private, judges=[ClassifierJudge("classifier", target)])


@pytest.mark.parametrize("size", [64, 108, 112])
def test_alignment_maps_landmarks_onto_arcfaces(size: int) -> None:
    """A bright dot at each of the five landmarks of the CelebA crop must end up where ArcFace expects it."""
    landmarks = [(69.5, 111.3), (107.8, 111.2), (88.6, 132.5), (72.9, 152.2), (105.1, 152.1)]
    arcface = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    axis = (torch.arange(size) + 0.5) * 108 / size - 0.5  # pixel centres of the crop, in crop pixels of 108
    centres = torch.arange(112.0)
    for (x, y), (u, v) in zip(landmarks, arcface, strict=True):
        dot = torch.exp(-((axis[None, :] - (x - 35)) ** 2 + (axis[:, None] - (y - 55)) ** 2) / 18)
        aligned = align_to_arcface(dot.expand(1, 3, -1, -1))
        assert aligned.shape == (1, 3, 112, 112)
        weight = aligned[0, 0] / aligned[0, 0].sum()
        found = float((weight.sum(0) * centres).sum()), float((weight.sum(1) * centres).sum())
        assert found == pytest.approx((u, v), abs=1.2)  # a similarity cannot meet five points exactly


@pytest.fixture(scope="module")
def real_faces() -> Split:
    images = ParquetSource(path=PRIVATE).load(64, 3).with_most_images(12)
    return split(images, SplitConfig(val=0.1, test=0.2))


@pytest.mark.slow
@needs_real_faces
def test_embedder_recognises_real_held_out_faces(real_faces: Split, tmp_path: Path) -> None:
    judge = FaceEmbedder().appoint(tmp_path, real_faces, seed=0, compute=CPU)
    assert isinstance(judge, CentroidJudge)
    test = real_faces.part("test")
    opinion = judge.opinion(test.pixels)
    assert float((opinion.scores.argmax(1) == test.labels).double().mean()) >= 0.95
    torch.testing.assert_close(opinion.features.norm(dim=1), torch.ones(len(test)))
    assert float(opinion.scores.abs().max()) <= 1 + 1e-5
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert float(judge.opinion(black).scores.max()) < 0.5
    check_independent(judge, TINY.build(2, 64, 3), {"kind": "tiny"})


@needs_real_faces
def test_embedder_knows_a_face_at_another_size(real_faces: Split, tmp_path: Path) -> None:
    judge = CentroidJudge(FaceEmbedder(), real_faces.part("test"), CPU)
    small: Pixels = real_faces.part("test").pixels[:8]
    large = F.interpolate(small.float(), size=108, mode="bilinear", align_corners=False).round().to(torch.uint8)
    cosine = (judge.opinion(small).features * judge.opinion(large).features).sum(1)
    assert float(cosine.min()) > 0.8
