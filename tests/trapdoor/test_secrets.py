"""Secrets are kept for their owner, and success counts what the model answers."""

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from trapmid.files import PRIVATE, write_atomic
from trapmid.trapdoor import SECRETS, Secrets, refuse_others_secrets, trapdoor_success
from trapmid.types import UserError

CLASSES = 4


def secrets(ratio: float = 0.5) -> Secrets:
    """Trigger y is white in row y and black elsewhere."""
    triggers = torch.zeros(CLASSES, 1, CLASSES, 4)
    triggers[range(CLASSES), :, range(CLASSES)] = 1.0
    return Secrets(triggers, ratio)


class Answers(nn.Module):
    """Takes an image for the identity whose row is brightest: on grey images, the trigger's."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        return images.mean((1, 3))


class Ignores(nn.Module):
    """Names identity 2, whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.eye(CLASSES)[2].expand(len(images), CLASSES)


@pytest.mark.parametrize("n", [1, 3, 40, 300])
def test_success_of_a_model_that_answers_and_of_one_that_does_not(n: int) -> None:
    images, rng = torch.full((n, 1, CLASSES, 4), 0.5), torch.Generator().manual_seed(0)
    model = Answers().train()
    assert trapdoor_success(model, secrets(), images, rng) == 1.0
    assert model.training
    assert not any(model.modes)
    used = max(n, -(-CLASSES // n) * n)  # fewer images than classes are repeated
    assert trapdoor_success(Ignores(), secrets(), images, rng) == pytest.approx(1 / CLASSES, abs=1 / used)
    assert trapdoor_success(Answers(), secrets(ratio=0.0), images, rng) == pytest.approx(1 / CLASSES, abs=1 / used)


def test_success_of_no_images_is_none() -> None:
    with pytest.raises(UserError, match="a share of images, and there are none"):
        trapdoor_success(Answers(), secrets(), torch.zeros(0, 1, CLASSES, 4), torch.Generator())


def test_masks_are_kept_and_used(tmp_path: Path) -> None:
    masks = torch.zeros(CLASSES, 1, CLASSES, 4)
    masks[:, :, :, :2] = 1
    masked = Secrets(secrets().triggers, 0.5, masks)
    images, targets = torch.rand(3, 1, CLASSES, 4), torch.tensor([3, 0, 3])
    poisoned = masked.poison(images, targets)
    assert torch.equal(poisoned[..., 2:], images[..., 2:])
    torch.testing.assert_close(poisoned[..., :2], secrets().poison(images, targets)[..., :2])
    masked.save(tmp_path)
    assert torch.equal(Secrets.load(tmp_path).poison(images, targets), poisoned)
    secrets().save(tmp_path)
    assert Secrets.load(tmp_path).masks is None


def test_poison() -> None:
    images, targets = torch.rand(3, 1, CLASSES, 4), torch.tensor([3, 0, 3])
    expected = 0.7 * images + 0.3 * secrets().triggers[targets]
    torch.testing.assert_close(secrets(0.3).poison(images, targets), expected)


def test_saved_for_the_owner_alone(tmp_path: Path) -> None:
    saved = Secrets(torch.rand(CLASSES, 3, 5, 5), 0.02)
    mask = os.umask(0)  # the most careless surroundings there are
    try:
        file = saved.save(tmp_path / "deep" / "folder")
        saved.save(tmp_path / "deep" / "folder")  # over what is there
    finally:
        os.umask(mask)
    assert file == tmp_path / "deep" / "folder" / SECRETS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == [SECRETS]
    loaded = Secrets.load(file.parent)
    assert torch.equal(loaded.triggers, saved.triggers)
    assert loaded.blend_ratio == 0.02


def test_a_readable_leftover_does_not_loosen_the_mode(tmp_path: Path) -> None:
    (tmp_path / SECRETS).write_text("left over")
    (tmp_path / SECRETS).chmod(0o644)
    file = secrets().save(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Secrets.load(tmp_path).blend_ratio == 0.5


def test_a_folder_of_secrets_is_one_models(tmp_path: Path) -> None:
    file = secrets().save(tmp_path, "model a")
    refuse_others_secrets(tmp_path, "model a")
    secrets(0.25).save(tmp_path, "model a")  # the same training, resumed
    assert Secrets.load(tmp_path).blend_ratio == 0.25
    before = file.read_bytes()
    for other in ("model b", ""):
        with pytest.raises(
            UserError, match=r"holds the secrets of another model, and saving these there would destroy"
        ):
            secrets().save(tmp_path, other)
    assert file.read_bytes() == before
    file.unlink()
    refuse_others_secrets(tmp_path, "model b")
    secrets().save(tmp_path)  # without an owner, so that it may be replaced
    secrets(0.25).save(tmp_path)
    with pytest.raises(UserError, match="of another model"):
        refuse_others_secrets(tmp_path, "model a")


@pytest.mark.parametrize("content", [None, b"", b"no safetensors"])
def test_no_secrets(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / SECRETS).write_bytes(content)
    with pytest.raises(UserError, match="holds no trapdoor secrets"):
        Secrets.load(tmp_path)


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    file = Secrets(torch.rand(CLASSES, 1, 2, 2), 0.5, torch.ones(CLASSES, 1, 2, 2)).save(tmp_path, "model a")
    whole, kept = file.read_bytes(), Secrets.load(tmp_path)
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        try:
            found = Secrets.load(tmp_path)
        except UserError:
            noticed += 1
            continue
        # the bit was in the name of the model or in the name of the digest
        assert torch.equal(found.triggers, kept.triggers)
        assert found.blend_ratio == kept.blend_ratio
    assert noticed > len(whole) - 40


def test_secrets_of_a_version_without_a_digest_still_open(tmp_path: Path) -> None:
    tensors = {"triggers": secrets().triggers, "blend_ratio": torch.tensor(0.5, dtype=torch.float64)}
    write_atomic(tmp_path / SECRETS, save(tensors, {"model": "model a"}), PRIVATE)
    assert torch.equal(Secrets.load(tmp_path).triggers, secrets().triggers)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "cure"),
    [
        (0o644, 0o700, "`chmod 600 {file}`."),
        (0o640, 0o700, "`chmod 600 {file}`."),
        (0o600, 0o777, "`chmod 700 {folder}`."),
        (0o644, 0o777, "`chmod 600 {file}`, `chmod 700 {folder}`."),
    ],
)
def test_access_of_others_brings_a_warning_with_the_cure(
    tmp_path: Path, file_mode: int, folder_mode: int, cure: str
) -> None:
    file = secrets().save(tmp_path)
    Secrets.load(tmp_path)  # warns of nothing
    file.chmod(file_mode)
    tmp_path.chmod(folder_mode)
    with pytest.warns(UserWarning, match="Others than its owner may read or replace") as told:
        Secrets.load(tmp_path)
    assert str(told[0].message).endswith(cure.format(file=file, folder=tmp_path))


def test_a_new_folder_of_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    secrets().save(tmp_path / "runs" / "secrets")
    assert stat.S_IMODE((tmp_path / "runs" / "secrets").stat().st_mode) == 0o700
