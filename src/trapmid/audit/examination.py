"""The model check: tests the answers of a classifier to the private images before any attack runs."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from trapmid.artifacts import Draft, make
from trapmid.audit.cells import EXAMINATION, subject_of
from trapmid.audit.findings import ModelFinding, judge_model
from trapmid.audit.loading import AuditData
from trapmid.audit.recipe import Recipe
from trapmid.config import Config
from trapmid.data import ImageSet
from trapmid.engine import Compute, Progress, generator, peak_memory_mib, randomness
from trapmid.files import write_atomic
from trapmid.manifests import Manifest
from trapmid.metrics.robustness import without_gradient
from trapmid.subjects import ACCESS, AccessName, Subject
from trapmid.subjects.inputs import KNOWN, Normalise
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Images, Labels, UserError

FILE = "examination.json"
MOST_IMAGES, MOST_EACH = 512, 10
"""The largest number of images to test the model with, in total and per identity."""
GRADIENTS, BATCH = 32, 64


class Examination(Config):
    """The results of the examination of a model.

    Attributes:
        model: the model that was examined.
        access: the access level that it supports.
        classes: number of its classes.
        image_shape: (channels, height, width) of its images.
        normalise: the normalisation of images in [0, 1] before they are passed to the model.
        answers: the kind of its answers.
        images: number of images in the test.
        accuracy: share of the images that the model classifies correctly.
        by_identity: the accuracy for each identity.
        by_normalisation: the accuracy under each common normalisation, with every identity matched to the class that
            the model predicts for its images.
        order: the names of all classes in the order that the images suggest; empty if the order is correct.
        zero_gradients: share of images without a usable gradient; None if the model has no gradients.
        differs: the largest change of a probability when the same images are classified again.
        batch_differs: the largest change of a probability when each image is classified alone.
        plain: the name and the probability of the predicted class of a black and of a white image.
        findings: problems, the most severe first.
    """

    model: str
    access: AccessName
    classes: int
    image_shape: tuple[int, int, int]
    normalise: str
    answers: str
    images: int
    accuracy: float
    by_identity: dict[str, float]
    by_normalisation: dict[str, float]
    order: tuple[str, ...]
    zero_gradients: float | None
    differs: float
    batch_differs: float
    plain: dict[str, tuple[str, float]]
    findings: tuple[ModelFinding, ...]

    @property
    def healthy(self) -> bool:
        """Whether the model can be audited without any known problem."""
        return all(finding.severity != "error" for finding in self.findings)

    def check(self) -> None:
        """Do nothing if the model is healthy.

        Raises:
            UserError: the first problem that prevents an audit, and what to do about it.
        """
        for finding in self.findings:
            if finding.severity == "error":
                raise UserError(f"{finding.problem} {finding.remedy}".strip())


class Speed(NamedTuple):
    """Seconds per image: for the answer and, if there are gradients, for the answer with its gradient."""

    answer: float
    gradient: float | None


def examine(
    subject: Subject, images: ImageSet, everybody: Sequence[str], name: str, progress: Progress
) -> tuple[Examination, Speed]:
    """Classify private images with a model, and examine its answers.

    Args:
        subject: the model as it was opened.
        images: images of the identities that are audited.
        everybody: all identities of the private images, in order.
        name: name of the model for messages.
        progress: called with the number of images that were classified.

    Raises:
        UserError: its classes cannot be identified.
    """
    subject.showing(images.identities, everybody, images.image_size, images.channels)  # raises if it does not fit
    names = subject.identities if subject.named else tuple(everybody)
    whole = subject.showing(names, everybody, images.image_size, images.channels)
    number = torch.tensor([names.index(person) for person in images.identities])
    rows = _sample(images.labels)
    shown, classes = images.images(rows), number[images.labels[rows]]
    known = {subject.normalise.name: subject.normalise}
    if subject.numbers:
        known |= {name: Normalise.of(name) for name in KNOWN}
    answers = {}
    for done, (text, normalise) in enumerate(known.items()):
        progress("examine the model", done, len(known), "")
        answers[text] = _answers(whole, shown, subject.normalise, normalise)
    progress("examine the model", len(known), len(known), "")
    own = answers[subject.normalise.name]
    correct = (own.argmax(1) == classes).double()
    matched = {text: _matched(one.argmax(1), classes, len(names)) for text, one in answers.items() if _finite(one)}
    best = max(matched, key=lambda text: matched[text][0], default=subject.normalise.name)
    by_identity = {names[one]: float(correct[classes == one].mean()) for one in sorted(set(classes.tolist()))}
    again = _answers(whole, shown[:BATCH])
    alone = torch.cat([_answers(whole, image[None]) for image in shown[:8]])
    zero = _zero_gradients(whole, shown[:GRADIENTS], classes[:GRADIENTS])
    plain = _answers(whole, torch.stack([torch.zeros_like(shown[0]), torch.ones_like(shown[0])]))
    facts: dict[str, Any] = {
        "model": name,
        "access": subject.gives,
        "classes": subject.classes,
        "image_shape": subject.image_shape,
        "normalise": subject.normalise.told,
        "answers": "labels"
        if subject.access is ACCESS["labels"]
        else "probabilities"
        if subject.probabilities
        else "logits",
        "images": len(rows),
        "accuracy": float(correct.mean()),
        "by_identity": by_identity,
        "by_normalisation": {text: share for text, (share, _) in matched.items()},
        "zero_gradients": zero,
        "differs": float((again - own[:BATCH]).abs().max()),
        "batch_differs": float((alone - own[:8]).abs().max()),
        "plain": {
            text: (names[int(row.argmax())], float(row.max()))
            for text, row in zip(("black", "white"), plain, strict=True)
        },
    }
    findings, order = judge_model(facts, matched, best, subject, names, _finite(own))
    return Examination(**facts, findings=findings, order=order), speed_of(whole, shown)


def examine_subject(
    folder: Path, recipe: Recipe, name: str, data: AuditData, compute: Compute, progress: Progress
) -> Manifest:
    """Examine a model, and write the result as an artifact that replaces a trained model.

    Raises:
        UserError: the model cannot be audited in its present state. In this case, nothing is written.
    """
    subject, config = recipe.subject(name).open(recipe.access, compute), recipe.subject(name)
    shown = subject_of(recipe, name, data, compute)

    def build(draft: Draft) -> Manifest:
        started = time.monotonic()
        try:
            found, speed = examine(subject, data.private.images, data.everybody, config.path, progress)
            found.check()
        except UserError:  # there is nothing to resume, and the next command may open the model in another way
            shutil.rmtree(draft.folder)
            raise
        write_atomic(draft.folder / FILE, found.model_dump_json(indent=1) + "\n")
        facts = {
            "accuracy": found.accuracy,
            "warnings": [f"{one.problem} {one.remedy}".strip() for one in found.findings if one.severity == "warning"],
            "notes": [one.problem for one in found.findings if one.severity == "note"],
            "seconds_an_image": speed._asdict(),
        }
        return draft.finish([FILE], facts, time.monotonic() - started, peak_memory_mib())

    settings = {"subject": config.model_dump(mode="json"), "identities": list(shown.identities)}
    parents = {"private": data.digests["private"], "model": subject.digest}
    return make(folder, EXAMINATION, settings, parents, build, progress)


def _sample(labels: Labels) -> Tensor:
    """Draw random rows: at most `MOST_EACH` images per identity, and at most `MOST_IMAGES` in total."""
    order = torch.randperm(len(labels), generator=generator(0, "examine"))
    seen: dict[int, int] = {}
    rows = []
    for row in order.tolist():
        label = int(labels[row])
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= MOST_EACH:
            rows.append(row)
    return torch.tensor(rows[:MOST_IMAGES])


@torch.no_grad()
def _answers(subject: Subject, images: Images, own: Normalise | None = None, other: Normalise | None = None) -> Tensor:
    """Probabilities (n, classes) on the CPU. With `other`, images are normalised by it instead of by `own`."""
    if own is not None and other is not None and own != other:
        m, s, n, t = (torch.tensor(one).view(1, -1, 1, 1) for one in (*own, *other))
        images = (images - n) / t * s + m
    device = next((p.device for p in subject.module.parameters()), torch.device("cpu"))
    with randomness(0, "examine", device=device):
        return torch.cat([subject.module(part.to(device)).softmax(1).cpu() for part in images.split(BATCH)])


def _matched(predicted: Labels, classes: Labels, count: int) -> tuple[float, dict[int, int]]:
    """The accuracy under the best assignment of classes to identities, and that assignment."""
    votes = np.zeros((count, count))
    np.add.at(votes, (classes.numpy(), predicted.numpy()), 1)
    people = sorted(set(classes.tolist()))
    rows, columns = linear_sum_assignment(votes[people], maximize=True)
    found = {people[row]: int(column) for row, column in zip(rows, columns, strict=True)}
    return float(votes[people][rows, columns].sum() / len(classes)), found


def _zero_gradients(subject: Subject, images: Images, classes: Labels) -> float | None:
    if subject.access is not WhiteBoxTarget:
        return None
    device = next((p.device for p in subject.module.parameters()), torch.device("cpu"))
    return float(without_gradient(subject.module, images.to(device), classes.to(device)).double().mean())


def speed_of(subject: Subject, images: Images) -> Speed:
    """Time the second of two runs over one batch of `images`, because the first one prepares kernels."""
    batch = images[:BATCH]
    device = next((p.device for p in subject.module.parameters()), torch.device("cpu"))
    # CPU time for models on the CPU, so that other processes do not count; a server computes on another machine
    clock = time.process_time if device.type == "cpu" and subject.numbers else time.monotonic
    answer = gradient = 0.0
    for _ in range(2):
        began = clock()
        _answers(subject, batch)
        answer = (clock() - began) / len(batch)
    if subject.access is not WhiteBoxTarget:
        return Speed(answer, None)
    for _ in range(2):
        began = clock()
        pixels = batch.to(device).requires_grad_(True)
        torch.autograd.grad(subject.module(pixels).logsumexp(1).sum(), pixels)
        if device.type == "cuda":  # whose work goes on after the call
            torch.cuda.synchronize(device)
        gradient = (clock() - began) / len(batch)
    return Speed(answer, gradient)


def _finite(answers: Tensor) -> bool:
    return bool(answers.isfinite().all())
