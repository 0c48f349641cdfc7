"""What every attack promises: whatever it needs it states, and what it finds follows from its settings and the seed."""

from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F

from trapmid.artifacts import Manifest
from trapmid.attacks import Attack, attack, open_found, open_generator
from trapmid.attacks.attack import GAN_LOG
from trapmid.engine import Progress, generator, no_progress, randomness
from trapmid.models import Classifier
from trapmid.priors import Prior, PriorConfig, PriorTraining
from trapmid.targets import LabelTarget
from trapmid.testing.check import Check, Interrupted, checkpoint_every_period, expect, interrupt_after
from trapmid.testing.people import CPU, NETWORK, SIZE, private_people, public_people
from trapmid.types import UserError

AnyMethod: TypeAlias = Attack[Any, Any]
CLASSES, SHAPE = 5, (3, SIZE, SIZE)
NAMES = tuple(f"person {number}" for number in range(CLASSES))


def attack_checks(method: AnyMethod) -> list[Check]:
    """The promises that an attack has to keep. It attacks a small classifier of five drawn people at 32 px.

    Args:
        method: with settings so small that one attack takes a second or two, since the checks run it several times.
    """
    checks = (
        _describes_itself,
        _equals_its_own_json,
        _finds_images_of_every_identity,
        _keeps_the_generator_it_says,
        _is_a_function_of_the_seed,
        _resumes_to_the_same_images,
        _refuses_a_target_that_gives_less,
    )
    return [Check(check.__name__.lstrip("_"), partial(check, method)) for check in checks]


def _describes_itself(method: AnyMethod, folder: Path) -> None:
    del folder
    kind = type(method).__name__
    expect(bool(method.title), f"{kind} has no `title`: tables need one.")
    expect(bool(method.paper), f"{kind} has no `paper`: say where it comes from.")
    expect(bool(type(method).__doc__), f"{kind} has no docstring: `trapmid list` shows its first sentence.")
    expect(issubclass(method.needs, LabelTarget), f"{kind} needs {method.needs!r}, which is not an access level.")


def _equals_its_own_json(method: AnyMethod, folder: Path) -> None:
    del folder
    again = type(method).model_validate_json(method.model_dump_json())
    expect(again == method, f"{method!r} became {again!r} in JSON and back, so that a run could not resume.")


def _finds_images_of_every_identity(method: AnyMethod, folder: Path) -> None:
    manifest, target = _attacked(method, folder / "attack")
    found, _ = open_found(folder / "attack")
    n, each = len(found.labels), method.effort.images_per_identity
    expect(n > 0, "It found no image.")
    expect(tuple(found.pixels.shape) == (n, *SHAPE), f"Images have the shape {tuple(found.pixels.shape)}.")
    expect(found.pixels.dtype == torch.uint8, f"Images are {found.pixels.dtype}; expected torch.uint8, 0 to 255.")
    most = int(found.labels.bincount(minlength=CLASSES).max())
    expect(most <= each, f"It found {most} images of one identity; its `effort` says {each}.")
    sure = bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
    expect(sure, "Confidence has to be a probability.")
    expect(
        manifest.facts["queries"] == target.queries,
        f"The manifest counts {manifest.facts['queries']} queries and the target {target.queries}.",
    )


def _keeps_the_generator_it_says(method: AnyMethod, folder: Path) -> None:
    _attacked(method, folder / "attack")
    if method.own_prior() is None:
        return
    kept = open_generator(folder / "attack", method, CPU)
    sample = kept.sample(torch.arange(CLASSES), generator(0, "sample"))
    expect(tuple(sample.shape) == (CLASSES, *SHAPE), f"Its generator makes images of shape {tuple(sample.shape)}.")


def _is_a_function_of_the_seed(method: AnyMethod, folder: Path) -> None:
    one, _ = _attacked(method, folder / "one")
    torch.manual_seed(1)  # the caller's random state must not matter
    same, _ = _attacked(method, folder / "same")
    expect(_contents(one) == _contents(same), "One seed gave two different results.")


def _resumes_to_the_same_images(method: AnyMethod, folder: Path) -> None:
    told = 0

    def count(task: str, done: int, total: int | None, note: str) -> None:
        nonlocal told
        del task, done, total, note
        told += 1

    with checkpoint_every_period():
        whole, _ = _attacked(method, folder / "whole", count)
        for share in (0.3, 0.7):
            try:
                _attacked(method, folder / "parts", interrupt_after(max(1, int(share * told))))
            except Interrupted:
                expect(not (folder / "parts").exists(), "An interrupted attack left a finished result.")
                continue
            break
        parts, _ = _attacked(method, folder / "parts")
    expect(
        _contents(whole) == _contents(parts),
        "An attack that was interrupted and resumed found other images. What changes over the search has to be in its checkpoints.",
    )
    expect(
        whole.facts["queries"] == parts.facts["queries"],
        f"A resumed attack counted {parts.facts['queries']} queries instead of {whole.facts['queries']}: put the target among the "
        "parts of its checkpoints.",
    )


def _refuses_a_target_that_gives_less(method: AnyMethod, folder: Path) -> None:
    lesser = [level for level in method.needs.__mro__[1:] if issubclass(level, LabelTarget)]
    if not lesser:
        return
    target = lesser[0].of(_classifier(), CLASSES, SHAPE)
    try:
        attack(folder / "attack", target, public_people(), method=method, identities=NAMES, parents={}, compute=CPU)
    except UserError as refusal:
        expect(method.needs.access in str(refusal), f"The refusal does not name the access that is needed: {refusal}")
        return
    raise AssertionError(f"An attack that needs {method.needs.access} access accepted {lesser[0].access} access.")


def _attacked(method: AnyMethod, out: Path, progress: Progress = no_progress) -> tuple[Manifest, LabelTarget]:
    model, public, wanted = _classifier(), public_people(), method.public_prior()
    target = method.needs.of(model, CLASSES, SHAPE, signatures=_signatures)
    manifest = attack(
        out,
        target,
        public,
        method=method,
        identities=NAMES,
        seed=3,
        parents={"public": public.digest()},
        prior=None if wanted is None else _prior(wanted),
        compute=CPU,
        progress=progress,
    )
    return manifest, target


@cache
def _classifier() -> Classifier:
    """A network that has learned the training images well enough to have an opinion."""
    train = private_people().part("train")
    with randomness(0, "testing", "classifier"):
        model = NETWORK.build(CLASSES, SIZE, 3)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(model(train.images()).logits, train.labels).backward()
            optimizer.step()
    return model.eval()


@cache
def _prior(config: PriorConfig) -> Prior:
    return config.fit(PriorTraining(public_people(), CLASSES, 0, CPU))


def _signatures() -> torch.Tensor:
    """Directions that no trapdoor has: an informed attack has to work with any."""
    with torch.no_grad():
        width = _classifier()(torch.zeros(1, *SHAPE)).features.shape[1]
    return F.normalize(torch.randn(CLASSES, width, generator=generator(0, "signatures")).abs(), dim=1)


def _contents(manifest: Manifest) -> dict[str, str]:
    """The digest of every file but the log, which holds seconds."""
    return {name: digest for name, digest in manifest.files.items() if name != GAN_LOG}
