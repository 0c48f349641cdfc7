"""What every attack promises: whatever it needs it states, and what it finds follows from its settings and the seed."""

from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F

from trapmid.attacks import Attack, attack, open_found, open_generator
from trapmid.attacks.attack import GAN_LOG
from trapmid.attacks.inversion import FOUND
from trapmid.engine import Progress, generator, no_progress, randomness
from trapmid.manifests import Manifest
from trapmid.models import Classifier
from trapmid.priors import Prior, PriorConfig, PriorTraining
from trapmid.priors.gan import GENERATOR
from trapmid.targets import LabelTarget
from trapmid.testing.check import Check, Interrupted, checkpoint_every_period, expect, folder_of, interrupt_after
from trapmid.testing.people import CPU, NETWORK, SIZE, private_people, public_people
from trapmid.types import UserError

AnyMethod: TypeAlias = Attack[Any, Any]
CLASSES, SHAPE = 5, (3, SIZE, SIZE)
NAMES = tuple(f"person {number}" for number in range(CLASSES))


def attack_checks(method: AnyMethod) -> list[Check]:
    """The promises that an attack has to keep. It attacks a small classifier of five drawn people at 32 px.

    Args:
        method: with settings so small that one attack takes a second or two, since the checks run it four times.
    """
    trial = _Trial(method)
    checks = (
        trial.describes_itself,
        trial.equals_its_own_json,
        trial.finds_images_of_every_identity,
        trial.says_how_confident_the_target_is,
        trial.keeps_the_generator_it_says,
        trial.is_a_function_of_the_seed,
        trial.is_not_repeated_once_finished,
        trial.resumes_to_the_same_images,
        trial.refuses_a_target_that_gives_less,
    )
    return [Check(check.__name__, check) for check in checks]


class _Trial:
    """The checks of one attack, which share its first run."""

    def __init__(self, method: AnyMethod) -> None:
        self.method, self._told = method, 0

    @cached_property
    def _first(self) -> tuple[Path, Manifest, LabelTarget]:
        """An attack that nothing interrupted. It also counts how often progress is reported."""

        def count(task: str, done: int, total: int | None, note: str) -> None:
            del task, done, total, note
            self._told += 1

        out = folder_of(self) / "attack"
        return out, *_attacked(self.method, out, count)

    def describes_itself(self, folder: Path) -> None:
        del folder
        kind, method = type(self.method).__name__, self.method
        expect(bool(method.title), f"{kind} has no `title`: tables need one.")
        expect(bool(method.paper), f"{kind} has no `paper`: say where it comes from.")
        expect(bool(type(method).__doc__), f"{kind} has no docstring: `trapmid list` shows its first sentence.")
        expect(issubclass(method.needs, LabelTarget), f"{kind} needs {method.needs!r}, which is not an access level.")

    def equals_its_own_json(self, folder: Path) -> None:
        del folder
        for config in (self.method, type(self.method).model_validate({})):
            again = type(config).model_validate_json(config.model_dump_json())
            expect(again == config, f"{config!r} became {again!r} in JSON and back, so that a run could not resume.")
            expect(again.fingerprint() == config.fingerprint(), "JSON and back, it had another fingerprint.")

    def finds_images_of_every_identity(self, folder: Path) -> None:
        del folder
        out, manifest, target = self._first
        found, _ = open_found(out)
        n, each = len(found.labels), self.method.effort.images_per_identity
        expect(n > 0, "It found no image.")
        expect(tuple(found.pixels.shape) == (n, *SHAPE), f"Images have the shape {tuple(found.pixels.shape)}.")
        expect(found.pixels.dtype == torch.uint8, f"Images are {found.pixels.dtype}; expected torch.uint8, 0 to 255.")
        counts = found.labels.bincount(minlength=CLASSES).tolist()
        expect(
            counts == [each] * CLASSES, f"It found {counts} images of the identities; its `effort` says {each} each."
        )
        expect(manifest.facts["images"] == n, f"The manifest counts {manifest.facts['images']} images of {n}.")
        expect(
            manifest.facts["queries"] == target.queries > 0,
            f"The manifest counts {manifest.facts['queries']} queries and the target {target.queries}.",
        )

    def says_how_confident_the_target_is(self, folder: Path) -> None:
        del folder
        found, _ = open_found(self._first[0])
        sure = bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
        expect(sure, "Confidence has to be a probability.")
        with torch.no_grad():
            scores = _classifier()(found.pixels.float() / 255).logits.softmax(1)
        if self.method.needs is LabelTarget:
            scores = F.one_hot(scores.argmax(1), CLASSES).float()
        own = scores[torch.arange(len(found.labels)), found.labels]
        expect(
            torch.allclose(found.confidence, own, atol=1e-5, rtol=1e-4),
            "Confidence is not what the target says about the images as they are saved, with 256 values for each "
            "pixel.",
        )

    def keeps_the_generator_it_says(self, folder: Path) -> None:
        del folder
        out, manifest, _ = self._first
        own = self.method.own_prior() is not None
        expect(
            set(_contents(manifest)) == {FOUND} | ({GENERATOR} if own else set()),
            f"It kept {', '.join(manifest.files)}; `own_prior` says that it {'trains a' if own else 'trains no'} "
            "generator.",
        )
        if own:
            kept = open_generator(out, self.method, CPU)
            sample = kept.sample(torch.arange(CLASSES), generator(0, "sample"))
            expect(
                tuple(sample.shape) == (CLASSES, *SHAPE), f"Its generator makes images of shape {tuple(sample.shape)}."
            )

    def is_a_function_of_the_seed(self, folder: Path) -> None:
        _, one, _ = self._first
        torch.manual_seed(1)  # the caller's random state must not matter, nor the folder's name
        same, target = _attacked(self.method, folder / "same")
        expect(_contents(one) == _contents(same), "One seed gave two different results.")
        expect(one.facts["queries"] == target.queries, "One seed gave two different counts of queries.")

    def is_not_repeated_once_finished(self, folder: Path) -> None:
        del folder
        out, manifest, _ = self._first
        again, target = _attacked(self.method, out)
        expect(again == manifest, "A finished attack opened with another manifest.")
        expect(target.queries == 0, "A finished attack was repeated.")

    def resumes_to_the_same_images(self, folder: Path) -> None:
        _, whole, _ = self._first
        with checkpoint_every_period():
            try:
                _attacked(self.method, folder / "parts", interrupt_after(max(1, self._told // 2)))
            except Interrupted:
                expect(not (folder / "parts").exists(), "An interrupted attack left a finished result.")
            parts, _ = _attacked(self.method, folder / "parts")
        expect(
            _contents(whole) == _contents(parts),
            "An attack that was interrupted and resumed found other images. What changes over the search has to be "
            "in its checkpoints.",
        )
        expect(
            whole.facts["queries"] == parts.facts["queries"],
            f"A resumed attack counted {parts.facts['queries']} queries instead of {whole.facts['queries']}: put the "
            "target among the parts of its checkpoints.",
        )
        expect(whole.facts["notes"] == parts.facts["notes"], "A resumed attack noted other numbers.")

    def refuses_a_target_that_gives_less(self, folder: Path) -> None:
        method = self.method
        lesser = [level for level in method.needs.__mro__[1:] if issubclass(level, LabelTarget)]
        if not lesser:
            return
        target = lesser[0].of(_classifier(), CLASSES, SHAPE)
        try:
            attack(folder / "attack", target, public_people(), method=method, identities=NAMES, parents={}, compute=CPU)
        except UserError as refusal:
            expect(
                method.needs.access in str(refusal), f"The refusal does not name the access that is needed: {refusal}"
            )
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
