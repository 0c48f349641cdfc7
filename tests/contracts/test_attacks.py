"""What every attack must do; a new member of `ATTACKS` is covered once it has a setting in `TINY_ATTACKS`."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from helpers.runs import Killed as Interrupt
from helpers.runs import kill_after
from helpers_attacks import (
    CLASSES,
    CPU,
    PER_IDENTITY,
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
from trapmid.artifacts import MANIFEST, Manifest, sha256
from trapmid.attacks import ATTACKS, AnyAttack, Attack, Found, PublicNearest, Run, attack, open_found, open_generator
from trapmid.attacks.inversion import FOUND, GAN_LOG
from trapmid.data import ImageSet
from trapmid.engine import Progress, no_progress
from trapmid.models import Classifier
from trapmid.priors.gan import GENERATOR
from trapmid.targets import InformedTarget, LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import UserError

NAMES = tuple(f"person {i}" for i in range(CLASSES))


def setting(member: type[Attack[Any, Any]]) -> Attack[Any, Any]:
    return SHORT_ATTACKS[member.model_fields["kind"].default]


def those(which: Callable[[type[Attack[Any, Any]]], bool]) -> pytest.MarkDecorator:
    """A test of every member that `which` is true of."""
    chosen = [member for member in ATTACKS if which(member)]
    return pytest.mark.parametrize("member", chosen, ids=lambda member: member.model_fields["kind"].default)


MEMBERS = those(lambda member: True)
SEARCHERS = those(lambda member: member is not PublicNearest)
WHITE_BOXES = those(lambda member: issubclass(member.needs, WhiteBoxTarget))
TRAINERS = those(lambda member: setting(member).own_prior() is not None)
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


@pytest.fixture(scope="module")
def told() -> dict[str, int]:
    """How often an unbroken run of each member told its progress; `finished` fills it."""
    return {}


@pytest.fixture(scope="module")
def finished(
    model: Classifier, public: ImageSet, told: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Every member, run once without a break."""
    folders = {}
    for kind, method in SHORT_ATTACKS.items():
        folders[kind], told[kind] = tmp_path_factory.mktemp(kind) / "attack", 0

        def count(*_: object, kind: str = kind) -> None:
            told[kind] += 1

        run(folders[kind], model, public, method, progress=count)
    return folders


def contents(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of every file but the log, which holds seconds."""
    return {name: digest for name, digest in manifest.files.items() if name != GAN_LOG}


def finished_of(member: type[Attack[Any, Any]], finished: dict[str, Path]) -> tuple[Found, Manifest]:
    return open_found(finished[member.model_fields["kind"].default])


@MEMBERS
def test_equals_its_own_json(member: type[Attack[Any, Any]]) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyAttack)
    for config in (member(), setting(member)):
        again = adapter.validate_json(config.model_dump_json())
        assert again == config
        assert again.fingerprint() == config.fingerprint()
    assert member().fingerprint() != setting(member).fingerprint()


@MEMBERS
def test_names_its_paper_and_its_access(member: type[Attack[Any, Any]]) -> None:
    assert member.paper
    assert issubclass(InformedTarget, member.needs)


@MEMBERS
def test_finds_pictures_of_every_identity(member: type[Attack[Any, Any]], finished: dict[str, Path]) -> None:
    found, manifest = finished_of(member, finished)
    assert found.pixels.dtype == torch.uint8
    assert found.pixels.shape == (CLASSES * PER_IDENTITY, 3, SIZE, SIZE)
    assert found.labels.tolist() == [i for i in range(CLASSES) for _ in range(PER_IDENTITY)]
    assert bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
    assert manifest.facts["images"] == CLASSES * PER_IDENTITY
    assert manifest.facts["queries"] > 0
    assert manifest.facts["diversity"]["between"] > 0


@MEMBERS
def test_confidence_is_of_the_pictures_as_saved(
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier
) -> None:
    found, _ = finished_of(member, finished)
    with torch.no_grad():
        scores = model(found.pixels.float() / 255).logits.softmax(1)
    if member.needs is LabelTarget:
        scores = torch.nn.functional.one_hot(scores.argmax(1), CLASSES).float()
    torch.testing.assert_close(
        found.confidence, scores[torch.arange(len(found.labels)), found.labels], atol=1e-5, rtol=1e-4
    )


@MEMBERS
def test_keeps_the_generator_that_it_trained(member: type[Attack[Any, Any]], finished: dict[str, Path]) -> None:
    _, manifest = finished_of(member, finished)
    assert set(contents(manifest)) == {FOUND} | ({GENERATOR} if setting(member).own_prior() is not None else set())


@TRAINERS
def test_the_generator_that_is_kept_is_the_one_that_was_searched(
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier, public: ImageSet, tmp_path: Path
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


def test_says_why_there_is_no_generator(finished: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gmi trains no generator with the target's help"):
        open_generator(finished["gmi"], SHORT_ATTACKS["gmi"], CPU)
    with pytest.raises(UserError, match="holds what another attack than this kedmi found"):
        open_generator(finished["plgmi"], SHORT_ATTACKS["kedmi"], CPU)


def test_an_attack_of_before_generators_were_kept_is_still_opened(
    finished: dict[str, Path], model: Classifier, public: ImageSet, tmp_path: Path
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


@MEMBERS
def test_a_seed_and_no_folders_name_decides_every_byte(
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    _, manifest = finished_of(member, finished)
    again, target = run(tmp_path / "elsewhere", model, public, setting(member))
    assert contents(again) == contents(manifest)
    assert target.queries == manifest.facts["queries"] == again.facts["queries"]


@pytest.mark.slow
@MEMBERS
def test_another_seed_finds_other_pictures(
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier, public: ImageSet, tmp_path: Path
) -> None:
    """Public images that are nearest are the same for every seed."""
    found, _ = finished_of(member, finished)
    run(tmp_path / "other", model, public, setting(member), seed=4)
    assert torch.equal(open_found(tmp_path / "other")[0].pixels, found.pixels) == (member is PublicNearest)


@MEMBERS
def test_a_finished_attack_is_not_repeated(
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier, public: ImageSet
) -> None:
    _, manifest = finished_of(member, finished)
    again, target = run(finished[member.model_fields["kind"].default], model, public, setting(member))
    assert again == manifest
    assert target.queries == 0


@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.02, 0.3, 0.8, 0.97))]
)
@MEMBERS
def test_resumes_to_the_same_bytes_and_queries(
    member: type[Attack[Any, Any]],
    share: float,
    finished: dict[str, Path],
    told: dict[str, int],
    model: Classifier,
    public: ImageSet,
    tmp_path: Path,
    every_period_a_checkpoint: None,
) -> None:
    """Killed wherever that share of an unbroken run's progress has been told (here a checkpoint is written at every period)."""
    _, manifest = finished_of(member, finished)
    count = told[member.model_fields["kind"].default]
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
    member: type[Attack[Any, Any]], finished: dict[str, Path], model: Classifier, public: ImageSet, tmp_path: Path
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
        rf"needs {member.needs.access} access and this target gives score-only: the attack asks for {member.needs.shows}, "
        "the target shows only how likely every identity is"
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
