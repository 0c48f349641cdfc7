"""The doctor finds every planted illness in one pass, and nothing in a healthy data set."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.real_faces import PRIVATE, needs_real_faces
from trapmid.data.diagnosis import RULES, Diagnosis
from trapmid.data.doctor import examine
from trapmid.data.folder import FolderSource
from trapmid.types import UserError


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def people(root: Path, names: tuple[str, ...], images: int = 10, first: int = 0) -> Path:
    for n, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(images):
            picture(first + 100 * n + i).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return people(tmp_path / "private", ("ann", "bob"))


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def test_healthy(data: Path) -> None:
    told: list[tuple[int, int | None]] = []
    public = people(data.parent / "public", ("cleo", "dora"), images=2, first=1000)
    diagnosis = examine(data, public, progress=lambda done, total: told.append((done, total)))
    assert diagnosis.findings == ()
    assert diagnosis.healthy
    assert told[-1] == (24, 24)
    private, other = diagnosis.facts
    assert (private.role, private.kind, private.images, private.identities) == ("private", "folder", 20, 2)
    assert (private.fewest, private.typical, private.most) == (10, 10, 10)
    assert (private.sizes, private.modes) == (((64, 64, 20),), {"RGB": 20})
    assert (other.role, other.images) == ("public", 4)


def cut(root: Path) -> None:
    whole = (root / "ann" / "00.png").read_bytes()
    (root / "ann" / "00.png").write_bytes(whole[: len(whole) // 2])


def save(image: Image.Image, name: str = "x.png") -> Callable[[Path], None]:
    return lambda root: image.save(root / "ann" / name)


def keep(images: int) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        for file in sorted((root / "ann").iterdir())[images:]:
            file.unlink()

    return remove


def copy(source: str, target: str) -> Callable[[Path], None]:
    def duplicate(root: Path) -> None:
        shutil.copy(root / source, root / target)

    return duplicate


@pytest.mark.parametrize(
    ("harm", "code", "example"),
    [
        (cut, "unreadable", "ann/00.png: "),
        (lambda root: shutil.rmtree(root / "bob"), "one-identity", "private: ann"),
        (keep(2), "too-few-images", "ann (2)"),
        (keep(9), "few-images", "ann (9)"),
        (copy("ann/00.png", "bob/x.png"), "two-names", "ann/00.png as ann = bob/x.png as bob"),
        (copy("ann/00.png", "ann/x.png"), "duplicate", "ann/00.png = ann/x.png"),
        (save(picture(7, (63, 63))), "small", "ann/x.png"),
        (save(picture(7).convert("RGBA")), "transparent", "ann/x.png"),
        (save(picture(7).convert("CMYK"), "x.jpg"), "cmyk", "ann/x.jpg"),
        (save(picture(7).convert("L"), "x.pgm"), "grey", "ann/x.pgm"),
        (save(picture(7, (80, 64))), "not-square", "ann/x.png"),
        (save(picture(7, (80, 80))), "mixed-sizes", "64 x 64 (20)"),
        (save(picture(7), "x.gif"), "ignored", "ann/x.gif"),
        (copy("ann/00.png", "stray.png"), "ignored", "private/stray.png"),
    ],
)
def test_every_illness_is_found(data: Path, harm: Callable[[Path], None], code: str, example: str) -> None:
    harm(data)
    diagnosis = examine(data)
    (finding,) = (finding for finding in diagnosis.findings if finding.code == code)
    assert finding.count >= 1
    assert example in finding.examples[0]
    assert finding.severity == RULES[code].severity
    assert diagnosis.healthy == (finding.severity != "error")


def test_all_at_once_worst_first(data: Path) -> None:
    for harm in (cut, save(picture(8, (80, 60)), "y.png"), copy("bob/00.png", "bob/x.png")):
        harm(data)
    diagnosis = examine(data)
    assert codes(diagnosis) == ["unreadable", "duplicate", "small", "not-square", "mixed-sizes"]
    assert diagnosis.facts[0].broken == 1
    assert diagnosis.facts[0].images == 21


def test_overlap(data: Path) -> None:
    public = people(data.parent / "public", ("bob", "cleo"), first=1000)
    shutil.copy(data / "ann" / "03.png", public / "cleo" / "99.png")
    diagnosis = examine(data, public)
    assert [(finding.code, finding.role) for finding in diagnosis.findings] == [
        ("identity-in-both", "both"),
        ("image-in-both", "both"),
    ]
    assert diagnosis.findings[0].examples == ("bob",)
    assert diagnosis.findings[1].examples == ("ann/03.png = cleo/99.png",)


def test_few_public_images_of_a_person_are_no_finding(data: Path) -> None:
    public = people(data.parent / "public", ("cleo", "dora"), images=1, first=1000)
    assert codes(examine(data, public)) == []


def flat(root: Path, first: int) -> Path:
    root.mkdir()
    for i in range(4):
        picture(first + i).save(root / f"{i:05d}.png")
    return root


def test_flat_folder_is_healthy_on_the_public_side(data: Path) -> None:
    public = flat(data.parent / "public", 1000)
    shutil.copy(public / "00000.png", public / "00009.png")
    diagnosis = examine(data, public)
    assert codes(diagnosis) == ["duplicate"]
    assert (diagnosis.facts[1].kind, diagnosis.facts[1].images, diagnosis.facts[1].identities) == (
        "flat-folder",
        5,
        None,
    )


def test_flat_folder_is_an_error_on_the_private_side(data: Path) -> None:
    private = flat(data.parent / "flat", 1000)
    diagnosis = examine(private)
    assert codes(diagnosis) == ["no-identities"]
    assert "one folder per identity" in diagnosis.findings[0].remedy
    assert not diagnosis.healthy


def test_a_crop_decides_what_is_small(data: Path) -> None:
    assert codes(examine(FolderSource(path=data, crop=54))) == ["small"]
    assert codes(examine(FolderSource(path=data, crop=54), image_size=54)) == []


def test_parquet_rows_without_identity_or_image(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([None, b"x"], pa.binary()), "identity": pa.array(["a", None])})
    pq.write_table(table, tmp_path / "faces.parquet")
    diagnosis = examine(tmp_path / "faces.parquet")
    assert codes(diagnosis) == ["unreadable", "nameless", "one-identity"]
    assert diagnosis.findings[0].examples == ("row 0: no bytes", "row 1: not an image of a known format")


def test_examples_are_few_and_the_count_is_whole(data: Path) -> None:
    for file in (data / "ann").iterdir():
        file.write_bytes(b"broken")
    (finding,) = (finding for finding in examine(data).findings if finding.code == "unreadable")
    assert (finding.count, len(finding.examples)) == (10, 5)


def test_json(data: Path) -> None:
    keep(2)(data)
    diagnosis = examine(data)
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
    assert json.loads(diagnosis.model_dump_json())["findings"][0]["remedy"].startswith("Add images")


def test_nothing_to_examine(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        examine(tmp_path / "nowhere")


@needs_real_faces
def test_real_faces_are_healthy(tmp_path: Path) -> None:
    some = pq.ParquetFile(PRIVATE).read_row_group(1)
    whole = set(some["identity"].to_pylist()[30:-30])
    some = some.filter(pc.is_in(some["identity"], pa.array(sorted(whole))))
    pq.write_table(some, tmp_path / "faces.parquet")
    assert [finding.code for finding in examine(tmp_path / "faces.parquet").findings] == []
