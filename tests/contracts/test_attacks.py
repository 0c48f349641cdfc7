"""What every attack must do; a new member of `ATTACKS` is covered once it has a setting in `TINY_ATTACKS`."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.runs import Killed as Interrupt
from helpers.runs import kill_after
from helpers_attacks import (
    CLASSES,
    CPU,
    SHORT_ATTACKS,
    SIZE,
    Killed,
    faces,
    prior_of,
    target_for,
    target_of,
    trained_classifier,
)
from trapmid import engine
from trapmid.attacks import ATTACKS, Attack, Found, PublicNearest, Run, attack, open_found, open_generator
from trapmid.attacks.inversion import GAN_LOG
from trapmid.attacks.wrapping import Wrapper
from trapmid.data import ImageSet
from trapmid.engine import Progress, no_progress
from trapmid.manifests import MANIFEST, Manifest, sha256
from trapmid.models import Classifier
from trapmid.priors.gan import GENERATOR
from trapmid.targets import InformedTarget, LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.testing import Check, attack_checks
from trapmid.types import UserError

NAMES = tuple(f"person {i}" for i in range(CLASSES))


def setting(member: type[Attack[Any, Any]]) -> Attack[Any, Any]:
    return SHORT_ATTACKS[member.model_fields["kind"].default]


def those(which: Callable[[type[Attack[Any, Any]]], bool], *, slow: tuple[type, ...] = ()) -> pytest.MarkDecorator:
    """A test of every member that `which` is true of; of subclasses of `slow` among the slow tests."""
    chosen = [
        pytest.param(member, marks=[pytest.mark.slow] if issubclass(member, slow) else [], id=name_of(member))
        for member in ATTACKS
        if which(member)
    ]
    return pytest.mark.parametrize("member", chosen)


def name_of(member: type[Attack[Any, Any]]) -> str:
    return str(member.model_fields["kind"].default)


MEMBERS = those(lambda member: True)
SEARCHERS = those(lambda member: member is not PublicNearest)
WHITE_BOXES = those(lambda member: issubclass(member.needs, WhiteBoxTarget))
TRAINERS = those(lambda member: setting(member).own_prior() is not None, slow=(Wrapper,))
WITHOUT_GRADIENTS = those(lambda member: not issubclass(member.needs, WhiteBoxTarget))
WITH_A_PUBLIC_PRIOR = those(lambda member: setting(member).public_prior() is not None)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return trained_classifier(faces(CLASSES, 10))


@pytest.fixture(scope="module")
def public() -> ImageSet:
    return faces(8, 4, first=100)


def run(
    folder: Path,
    model: Classifier,
    public: ImageSet,
    method: Attack[Any, Any],
    *,
    seed: int = 3,
    progress: Progress = no_progress,
) -> tuple[Manifest, LabelTarget]:
    target = target_of(model, method.needs)
    parents = {"model": "m", "public": public.digest()}
    return attack(
        folder,
        target,
        public,
        method=method,
        identities=NAMES,
        seed=seed,
        parents=parents,
        prior=prior_of(method),
        compute=CPU,
        progress=progress,
    ), target


class Runs:
    """Every member, run once without a break when a test asks for it.

    Attributes:
        told: how often the run of each member has told its progress.
    """

    def __init__(self, home: Path, model: Classifier, public: ImageSet) -> None:
        self.home, self.model, self.public = home, model, public
        self.told: dict[str, int] = {}

    def __getitem__(self, kind: str) -> Path:
        if kind not in self.told:
            self.told[kind] = 0

            def count(*_: object) -> None:
                self.told[kind] += 1

            run(self.home / kind, self.model, self.public, SHORT_ATTACKS[kind], progress=count)
        return self.home / kind


@pytest.fixture(scope="module")
def finished(model: Classifier, public: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("finished"), model, public)


def contents(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of every file but the log, which holds seconds."""
    return {name: digest for name, digest in manifest.files.items() if name != GAN_LOG}


def finished_of(member: type[Attack[Any, Any]], finished: Runs) -> tuple[Found, Manifest]:
    return open_found(finished[member.model_fields["kind"].default])


CHECKS = [
    pytest.param(check, id=f"{kind}-{check}")
    for kind, method in SHORT_ATTACKS.items()
    for check in attack_checks(method)
]


def test_every_member_has_a_short_setting() -> None:
    assert {member.model_fields["kind"].default for member in ATTACKS} == SHORT_ATTACKS.keys()


@pytest.mark.parametrize("check", CHECKS)
def test_keeps_a_promise(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


@MEMBERS
def test_any_knowledge_is_enough_for_it(member: type[Attack[Any, Any]]) -> None:
    assert issubclass(InformedTarget, member.needs)
    assert member().fingerprint() != setting(member).fingerprint()


@TRAINERS
def test_the_generator_that_is_kept_is_the_one_that_was_searched(
    member: type[Attack[Any, Any]], finished: Runs, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    config = setting(member)
    run_with, own = Run(3, CPU, tmp_path, prior_of(config)), config.own_prior()
    assert own is not None
    config.prepare(target_of(model, member.needs), public, run_with)
    searched = own.open_generator(tmp_path, CLASSES, (3, SIZE, SIZE), CPU)
    kept = open_generator(finished[member.model_fields["kind"].default], config, CPU)
    labels = torch.arange(CLASSES).repeat(3)
    samples = kept.sample(labels, engine.generator(5, "samples"))
    assert torch.equal(samples, searched.sample(labels, engine.generator(5, "samples")))
    assert not any(weight.requires_grad for weight in kept.generator.parameters())
    (tmp_path / "again").mkdir()
    (name,) = kept.save(tmp_path / "again")
    _, manifest = finished_of(member, finished)
    assert sha256(tmp_path / "again" / name) == manifest.files[name]


def test_says_why_there_is_no_generator(finished: Runs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gmi trains no generator with the target's help"):
        open_generator(finished["gmi"], SHORT_ATTACKS["gmi"], CPU)
    with pytest.raises(UserError, match="holds what another attack than this kedmi found"):
        open_generator(finished["plgmi"], SHORT_ATTACKS["kedmi"], CPU)


def test_an_attack_of_before_generators_were_kept_is_still_opened(
    finished: Runs, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    old = tmp_path / "attack"
    shutil.copytree(finished["plgmi"], old)
    (old / GENERATOR).unlink()
    manifest = Manifest.model_validate_json((old / MANIFEST).read_text())
    files = {name: digest for name, digest in manifest.files.items() if name != GENERATOR}
    facts = {name: fact for name, fact in manifest.facts.items() if name != "image_shape"}
    manifest = manifest.model_copy(update={"files": files, "facts": facts})
    (old / MANIFEST).write_text(manifest.model_dump_json())
    assert torch.equal(open_found(old)[0].pixels, open_found(finished["plgmi"])[0].pixels)
    again, target = run(old, model, public, SHORT_ATTACKS["plgmi"])
    assert again == manifest
    assert target.queries == 0
    with pytest.raises(
        UserError, match=r"holds no generator\.safetensors: .* Remove that folder and run the attack again"
    ):
        open_generator(old, SHORT_ATTACKS["plgmi"], CPU)


@pytest.mark.slow
@MEMBERS
def test_another_seed_finds_other_pictures(
    member: type[Attack[Any, Any]], finished: Runs, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """Public images that are nearest are the same for every seed."""
    found, _ = finished_of(member, finished)
    run(tmp_path / "other", model, public, setting(member), seed=4)
    assert torch.equal(open_found(tmp_path / "other")[0].pixels, found.pixels) == (member is PublicNearest)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.97])
@MEMBERS
def test_resumes_to_the_same_bytes_and_queries(
    member: type[Attack[Any, Any]],
    share: float,
    finished: Runs,
    model: Classifier,
    public: ImageSet,
    tmp_path: Path,
    every_period_a_checkpoint: None,
) -> None:
    """Killed after that share of an unbroken run's progress reports; a checkpoint is written at every period."""
    _, manifest = finished_of(member, finished)
    count = finished.told[member.model_fields["kind"].default]
    with pytest.raises(Interrupt):
        run(tmp_path / "attack", model, public, setting(member), progress=kill_after(max(1, int(share * count))))
    assert not (tmp_path / "attack").exists()
    again, target = run(tmp_path / "attack", model, public, setting(member))
    assert contents(again) == contents(manifest)
    assert target.queries == again.facts["queries"] == manifest.facts["queries"]
    assert again.facts["notes"] == manifest.facts["notes"]


@pytest.mark.slow
@SEARCHERS
def test_resumes_between_two_batches_of_identities(
    member: type[Attack[Any, Any]], finished: Runs, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """The first batch is finished and kept, the second had not begun to search."""
    _, manifest = finished_of(member, finished)

    finished_first = tmp_path / "attack.partial" / "found-0.safetensors"

    def kill(task: str, done: int, total: int | None, note: str) -> None:
        if "search" in task and finished_first.exists():
            raise Killed(task)

    with pytest.raises(Killed):
        run(tmp_path / "attack", model, public, setting(member), progress=kill)
    assert (tmp_path / "attack.partial" / "found-0.safetensors").exists()
    again, _ = run(tmp_path / "attack", model, public, setting(member))
    assert contents(again) == contents(manifest)
    assert again.facts["queries"] == manifest.facts["queries"]


@WHITE_BOXES
def test_refuses_a_target_that_only_scores(
    member: type[Attack[Any, Any]], model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    target: Any = ScoreTarget(model, CLASSES, (3, SIZE, SIZE))
    told = (
        rf"needs {member.needs.access} access and this target gives score-only: "
        rf"the attack asks for {member.needs.shows}, the target shows only how likely every identity is"
    )
    with pytest.raises(UserError, match=told):
        attack(tmp_path / "attack", target, public, method=setting(member), identities=NAMES, parents={}, compute=CPU)


@MEMBERS
@pytest.mark.parametrize(("size", "channels"), [(28, 3), (32, 1)])
def test_refuses_public_images_of_another_shape(
    member: type[Attack[Any, Any]], size: int, channels: int, model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"\(3, 32, 32\); the public images are \({channels}, {size}, {size}\)"):
        attack(
            tmp_path / "attack",
            target_for(setting(member), model),
            faces(2, 2, size=size, channels=channels),
            method=setting(member),
            identities=NAMES,
            parents={},
            prior=prior_of(setting(member)),
            compute=CPU,
        )
    assert not (tmp_path / "attack.partial").exists()


@WITH_A_PUBLIC_PRIOR
def test_asks_for_the_prior_it_wants(
    member: type[Attack[Any, Any]], model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    method = setting(member)
    wanted = method.public_prior()
    assert wanted is not None
    target: Any = target_for(method, model)
    with pytest.raises(UserError, match=rf"starts from the prior {wanted.name}, and there is none"):
        attack(tmp_path / "attack", target, public, method=method, identities=NAMES, parents={}, compute=CPU)


@WITHOUT_GRADIENTS
def test_what_needs_no_gradients_builds_no_graph(
    member: type[Attack[Any, Any]], model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """A graph behind every picture that is shown would cost memory and time for nothing."""
    shown: list[bool] = []
    hook = model.register_forward_pre_hook(lambda _, images: shown.append(images[0].requires_grad))
    try:
        run(tmp_path / "attack", model, public, setting(member))
    finally:
        hook.remove()
    assert shown
    assert not any(shown)
