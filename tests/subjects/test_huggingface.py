"""What the files beside a Hugging Face model say about its images, and what is refused before transformers is asked."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trapmid.subjects import parse_subject
from trapmid.subjects.huggingface import _normalise, _shape
from trapmid.types import UserError

NETWORK = SimpleNamespace(image_size=224, num_channels=3)


@pytest.mark.parametrize(
    ("processor", "network", "stated", "shape"),
    [
        ({}, NETWORK, None, (3, 224, 224)),
        ({"size": 64}, NETWORK, None, (3, 64, 64)),
        ({"size": {"height": 48, "width": 64}}, NETWORK, None, (3, 48, 64)),
        ({"size": {"shortest_edge": 96}}, NETWORK, None, (3, 96, 96)),
        (
            {"size": 256, "do_center_crop": True, "crop_size": {"height": 192, "width": 192}},
            NETWORK,
            None,
            (3, 192, 192),
        ),
        ({"size": 256, "do_center_crop": False, "crop_size": 224}, NETWORK, None, (3, 256, 256)),
        ({"size": 64}, SimpleNamespace(num_channels=1), 32, (1, 32, 32)),
        ({"size": {"longest_edge": 64}}, NETWORK, None, None),
        ({"size": "large"}, NETWORK, None, None),
        ({}, SimpleNamespace(), None, None),
    ],
)
def test_the_shape_of_its_images(processor: dict[str, Any], network: Any, stated: int | None, shape: Any) -> None:
    assert _shape(processor, network, stated) == shape


@pytest.mark.parametrize(
    "processor",
    [
        {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": True, "image_mean": [127.5], "image_std": [127.5]},
        {"do_normalize": False, "image_mean": [0.5], "image_std": [0.5]},
    ],
)
def test_images_get_the_numbers_that_the_processor_would_give(processor: dict[str, Any], tmp_path: Path) -> None:
    pixels = torch.randint(256, (2, 3, 4, 4))
    expected = pixels * (processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0)
    if processor.get("do_normalize"):
        mean, std = (torch.tensor(processor[name]).view(-1, 1, 1) for name in ("image_mean", "image_std"))
        expected = (expected - mean) / std
    found = _normalise(tmp_path, processor)
    assert found is not None
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in found)
    torch.testing.assert_close((pixels / 255 - mean) / std, expected)


def test_without_a_processor_nothing_is_known() -> None:
    assert _normalise(Path("folder"), {}) is None


@pytest.mark.parametrize(
    "processor",
    [
        {"rescale_factor": 0},
        {"rescale_factor": "small"},
        {"do_normalize": True, "image_mean": ["grey"], "image_std": [1]},
    ],
)
def test_numbers_that_are_none_are_refused(processor: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"preprocessor_config\.json has no usable numbers"):
        _normalise(tmp_path, processor)


def test_folders_that_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    subject = parse_subject(str(tmp_path))
    with pytest.raises(UserError, match=r"has no \.safetensors file\. Save it again with model\.save_pretrained"):
        subject.open()
    (tmp_path / "weights.ckpt").touch()
    with pytest.raises(UserError, match=r"has no \.safetensors file, but weights\.ckpt, a pickle"):
        subject.open()
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json\. Expected a folder that save_pretrained wrote"):
        subject.open()
