"""On a device that is not the CPU no tensor stays behind, and what is computed there is what the CPU computes.

`helpers/pretended_gpu.py` says what this covers and what it does not.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.faces import CPU, network_for, quick_training, tiny_private
from helpers.pretended_gpu import GPU, pretended_gpu
from helpers.statistics.trainings import IN_THEIR_LOSS, kind_of, someone_elses_network
from helpers_attacks import CLASSES, TINY, TINY_ATTACKS, faces
from trapmid.attacks import Attack, Run
from trapmid.augment import AUGMENTATIONS, Augmentation
from trapmid.defenses import DEFENSES, DPSGD, Defended, Defense, train
from trapmid.engine import Compute, randomness, read_log
from trapmid.priors import PriorTraining
from trapmid.trapdoor.settings import FeatureDiscriminator
from trapmid.types import UserError

FEWER: dict[str, Any] = {
    "iterations": 2,
    "log_every": 1,
    "steps": 2,
    "search_steps": 2,
    "layer_steps": (2, 2),
    "trigger_steps": 1,
    "epochs": 1,
    "generations": 2,
    "samples": 32,
}


def shortened(settings: Any) -> Any:
    """The same attack with few steps."""
    if isinstance(settings, tuple | list):
        return type(settings)(shortened(one) for one in settings)
    if not isinstance(settings, dict):
        return settings
    return {name: FEWER.get(name, shortened(value)) for name, value in settings.items()}


def test_the_pretence_refuses_what_a_gpu_would_refuse() -> None:
    with pretended_gpu() as gpu:
        there, here = torch.rand(2, 3, device=gpu), torch.rand(2, 3)
        for mixed in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[torch.zeros(1, dtype=torch.int64, device=gpu)],
            lambda: torch.nn.Linear(3, 3)(there),
            lambda: torch.rand(2, device="cuda"),
            lambda: torch.rand(2, device=gpu, generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError):
                mixed()
        with pytest.raises(TypeError):
            there.numpy()
        assert (there * 2).device == there[torch.tensor([0])].device == (there + torch.tensor(1.0)).device == GPU
        assert there.cpu().device == torch.device("cpu")


def test_draws_on_a_device_follow_from_the_seed_and_leave_the_others_alone() -> None:
    with pretended_gpu() as gpu:
        before = [one.get_state() for one in torch.cuda.default_generators]
        drawn = []
        for _ in range(2):
            with randomness(3, "draws", device=gpu):
                drawn.append((torch.rand(4, device=gpu).cpu(), torch.rand(4)))
        assert torch.equal(drawn[0][0], drawn[1][0])
        assert torch.equal(drawn[0][1], drawn[1][1])
        after = [one.get_state() for one in torch.cuda.default_generators]
        assert all(torch.equal(*states) for states in zip(before, after, strict=True))


@pytest.mark.parametrize("config", AUGMENTATIONS, ids=lambda config: config.__name__)
def test_augmentations(config: type[Augmentation]) -> None:
    change = config().build(32)
    with pretended_gpu() as gpu:
        images = torch.rand(4, 3, 32, 32, device=gpu).requires_grad_()
        changed = change(images)
        changed.sum().backward()
        assert changed.device == GPU
        assert images.grad is not None


SEEN = [kind for kind in DEFENSES if kind is not DPSGD]
"""Opacus gets gradients from hooks of modules, which the pretence does not see."""


def some(names: Any, *quick: str) -> list[Any]:
    """Parameters by name; all but some are left to the slow tests."""
    return [pytest.param(one, id=name, marks=() if name in quick else pytest.mark.slow) for name, one in names.items()]


@pytest.mark.parametrize("kind", some({kind_of(kind): kind for kind in SEEN}, "trapmid", "onepass"))
def test_trainings(kind: type[Defense], tmp_path: Path) -> None:
    defense = kind.model_validate({})
    options: dict[str, Any] = {
        "model": network_for(defense.kind),
        "defense": defense,
        "training": quick_training(epochs=1, recalibrate=True),
    }
    with pretended_gpu():
        train(tmp_path / "there", tiny_private(), compute=Compute("cuda:1"), **options)
    assert read_log(tmp_path / "there" / "log.jsonl")


@pytest.mark.parametrize("defense", some({defense.name: defense for defense in IN_THEIR_LOSS}, "trapmid", "onepass"))
def test_dropins_compute_what_they_do_on_the_cpu(defense: Defense) -> None:
    def step(device: str) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(0)
        model = someone_elses_network(defense).to(device)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        sizes = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": 1, "steps_per_epoch": 2, "batch_size": 10}
        defended = Defended(defense, model, optimizer, **sizes, augment=lambda images: images)  # type: ignore[arg-type]
        data = tiny_private().part("train")
        images, labels = data.images()[:10].to(device), data.labels[:10].to(device)
        with randomness(0, "a step", device=torch.device(device)):
            loss = defended.loss(images, labels)
        loss.backward()
        optimizer.step()
        defended.load_state_dict(defended.state_dict())
        images[0, 0, 0, 0] = torch.nan
        with pytest.raises(UserError, match="not finite"):
            defended.loss(images, labels)
        return tuple(value.detach().cpu() for value in (loss, *model.parameters()))

    with pretended_gpu():
        there = step("cuda:1")
    for one, other in zip(there, step("cpu"), strict=True):
        assert torch.equal(one, other)


def test_both_discriminators(tmp_path: Path) -> None:
    values = {"feature_discriminator": FeatureDiscriminator(width=8), "blend_low": 0.5, "trigger_start": "squares"}
    defense = DEFENSES.member("trapmid").model_validate(values)
    with pretended_gpu():
        train(
            tmp_path / "there",
            tiny_private(),
            model=network_for("trapmid"),
            defense=defense,
            training=quick_training(epochs=1),
            compute=Compute("cuda:1"),
        )


@pytest.mark.parametrize("kind", some({kind: kind for kind in TINY_ATTACKS}, "plgmi"))
def test_priors_and_searches(kind: str, tmp_path: Path) -> None:
    method: Attack[Any, Any] = type(TINY_ATTACKS[kind]).model_validate(shortened(TINY_ATTACKS[kind].model_dump()))
    public, wanted = faces(8, 4, first=100), method.public_prior()
    with pretended_gpu():
        compute = Compute("cuda:1")
        model = compute.place(TINY.build(CLASSES, 32, 3)).eval()
        width = CPU.place(TINY.build(CLASSES, 32, 3)).head.in_features
        known = torch.rand(CLASSES, int(width), device=GPU)
        target = method.needs.of(model, CLASSES, (3, 32, 32), signatures=lambda: known)
        prior = None if wanted is None else wanted.fit(PriorTraining(public, CLASSES, 0, compute))
        run = Run(0, compute, tmp_path, prior)
        with randomness(0, "attack", device=GPU):
            ready = method.prepare(target, public, run)
            found = method.invert(target, ready, torch.arange(CLASSES), run)
        places = {tensor.device.type for tensor in (found.pixels, found.labels, found.confidence)}
    assert places == {"cpu"}
