"""Judges decide which identity a reconstruction shows. A judge is never the target, and can answer "none of these"."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import nn

from trapmid.data.images import to_unit
from trapmid.data.splits import Split
from trapmid.defenses import NoDefense, TrainedModel, Training, open_model, train
from trapmid.engine import Compute, Progress, no_progress
from trapmid.metrics.embedders import CentroidJudge, FaceEmbedder, ImageEmbedder
from trapmid.metrics.judge import Judge, JudgeConfig, Opinion
from trapmid.models import STARTS, AnyModel, teacher_of
from trapmid.types import Pixels, UserError

_HEAD = 4
"""The most tensors by which a classifier may differ from the same network without a head."""


class EvaluationClassifier(JudgeConfig):
    """`classifier`: the field's standard judge, a classifier of another architecture trained on the private train split."""  # noqa: E501, W505

    title = "Evaluation classifier"
    paper = "GMI (Zhang et al., CVPR 2020), Sec. 4; Trap-MID App. C.7"
    kind: Literal["classifier"] = "classifier"
    model: AnyModel
    training: Training

    def appoint(
        self, folder: Path, private: Split, *, seed: int, compute: Compute, progress: Progress = no_progress
    ) -> Judge:
        """Train without defense, or open."""
        train(
            folder,
            private,
            model=self.model,
            defense=NoDefense(),
            training=self.training,
            seed=seed,
            compute=compute,
            progress=progress,
        )
        return ClassifierJudge(self.name, open_model(folder, compute))


@final
class ClassifierJudge(Judge):
    """Scores are logits, features the penultimate activations."""

    def __init__(self, name: str, trained: TrainedModel) -> None:
        self.name, self.classifier = name, trained.classifier
        self.architecture: dict[str, Any] = trained.manifest.recipe["model"]
        self.teacher = teacher_of(self.architecture)

    @torch.no_grad()
    def opinion(self, pixels: Pixels) -> Opinion:
        """In batches of 256."""
        device = next(self.classifier.parameters()).device
        parts = [self.classifier(to_unit(part.to(device))) for part in pixels.split(256)]
        return Opinion(
            torch.cat([p.logits.float().cpu() for p in parts]), torch.cat([p.features.float().cpu() for p in parts])
        )


AnyJudge = Annotated[EvaluationClassifier | FaceEmbedder | ImageEmbedder, Field(discriminator="kind")]
JUDGES: tuple[type[JudgeConfig], ...] = (EvaluationClassifier, FaceEmbedder, ImageEmbedder)


def check_independent(judge: Judge, target: nn.Module, target_architecture: dict[str, Any] | None) -> None:
    """Refuse a judge that shares its architecture, its weights or its teacher with the model it is to judge.

    Args:
        judge: who is to judge.
        target: the model.
        target_architecture: its config; None if the model is not one of trapmid's, so that only its weights and their
            shapes are looked at.

    Raises:
        UserError: it does.
    """
    refuse_shared_teacher(
        judge.name, judge.teacher, None if target_architecture is None else teacher_of(target_architecture)
    )
    if isinstance(judge, CentroidJudge) and isinstance(judge.embedder, nn.Module):
        _refuse_same_network(judge.name, judge.embedder, target)
    if not isinstance(judge, ClassifierJudge):
        return
    bare = [
        {name: value for name, value in config.items() if name not in STARTS}
        for config in (judge.architecture, target_architecture or {})
    ]
    if bare[0] == bare[1]:
        raise UserError(
            f"The judge has the target's architecture ({judge.architecture['kind']}): it would be fooled by what "
            "fools the target. Give the judge another model."
        )
    mine, theirs = judge.classifier.state_dict(), target.state_dict()
    if mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise UserError("The judge's weights are the target's. Train a judge of another architecture.")


def _refuse_same_network(judge: str, embedder: nn.Module, target: nn.Module) -> None:
    """Refuse an embedder whose weights have the shapes of the target's, apart from a head.

    Fine-tuning changes all weights and no shape, so the target may have begun as the judge.
    """
    mine, theirs = (Counter(tuple(one.shape) for one in network.parameters()) for network in (embedder, target))
    if mine and not mine - theirs and (theirs - mine).total() <= _HEAD:
        raise UserError(
            f"The judge {judge} has the target's architecture: the target may have begun with the same weights, so "
            "what fools one could fool the other. Give --judge another network."
        )


def refuse_shared_teacher(judge: str, of_judge: str | None, of_target: str | None) -> None:
    """Refuse a judge that the target's start learned from, or whose start learned from the same.

    Args:
        judge: its name.
        of_judge: see `Judge.teacher`.
        of_target: what the target's start learned from; None if it has no start.

    Raises:
        UserError: both are the same.
    """
    if of_target is not None and of_judge == of_target:
        raise UserError(
            f"The judge {judge} and the start of the target go back to the same teacher ({of_target[:19]}), so the "
            "judge would be fooled by what fools the target. Give one of them another teacher, or none: "
            f"--set model.start=null, or for a classifier that judges, --set judges.{judge}.model.start=null."
        )
