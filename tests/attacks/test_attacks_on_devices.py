"""What attacks give to the training of a prior can be sent to other processes, which count their queries for it."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers_attacks import CLASSES, CPU, SHORT_ATTACKS, SIZE, faces, prior_of, target_for, trained_classifier
from trapmid import targets
from trapmid.attacks import Attack, attack, open_found
from trapmid.engine import Compute, Progress
from trapmid.models import Classifier
from trapmid.priors import fitting
from trapmid.targets import ViewedTarget, WhiteBoxTarget

NAMES = tuple(f"person {i}" for i in range(CLASSES))
TRAINING = {kind: method for kind, method in SHORT_ATTACKS.items() if method.own_prior() is not None}


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


def sent(work: Callable[..., Any], *arguments: Any, compute: Compute, progress: Progress) -> Any:
    """Do the work of all processes in one, with nothing but what another process would get."""
    work, arguments = pickle.loads(pickle.dumps((work, arguments)))
    return work(*arguments, compute=replace(compute, devices=1), progress=progress)


@pytest.mark.parametrize("kind", TRAINING)
def test_a_prior_is_trained_by_what_can_be_sent(
    kind: str, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Attack[Any, Any] = TRAINING[kind]
    monkeypatch.setattr(fitting, "run_together", sent)
    made = {}
    for name, compute in {"here": CPU, "sent": Compute("cpu", devices=2)}.items():
        target = target_for(method, model)
        made[name] = attack(
            tmp_path / name,
            target,
            faces(8, 4, first=100),
            method=method,
            identities=NAMES,
            parents={"model": "m", "public": "p"},
            prior=prior_of(method),
            compute=compute,
        )
        assert made[name].facts["queries"] == target.queries
    assert made["here"].facts["queries"] == made["sent"].facts["queries"]
    here, elsewhere = (open_found(tmp_path / name)[0] for name in made)
    assert torch.equal(here.pixels, elsewhere.pixels)


def test_images_of_other_processes_count_only_where_a_prior_is_trained_together(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process of somebody's own training may attack its model, which the others do not."""
    monkeypatch.setattr(targets, "processes", lambda: 2)
    behind = WhiteBoxTarget(model, CLASSES, (3, SIZE, SIZE))
    target = ViewedTarget(behind, behind.predict)
    images = faces(CLASSES, 1).images()
    target.labels(images)
    assert target.queries == len(images)
    target.ask_together()
    target.labels(images)
    assert target.queries == behind.queries == 3 * len(images)
