"""Every source gives the same kind of image set, and says clearly what is wrong with bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from helpers.pictures import encoded, picture
from helpers.real_faces import PRIVATE, needs_real_faces
from trapmid.data import (
    AnySource,
    CelebASource,
    FlatFolderSource,
    FolderSource,
    ImageSet,
    ParquetSource,
    SyntheticSource,
    guess_source,
)
from trapmid.types import UserError

NAMES = ("ann", "bob", "cleo")


def rows() -> list[tuple[str, str, bytes]]:
    return [(name, f"{i}.png", encoded(picture(10 * n + i))) for n, name in enumerate(NAMES) for i in range(4)]


def folder(root: Path) -> FolderSource:
    for name, file, content in rows():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / file).write_bytes(content)
    return FolderSource(path=root)


def flat_folder(root: Path) -> FlatFolderSource:
    root.mkdir(parents=True)
    for name, file, content in rows():
        (root / f"{name}-{file}").write_bytes(content)
    return FlatFolderSource(path=root)


def parquet(root: Path) -> ParquetSource:
    root.mkdir(exist_ok=True)
    table = {
        "image": [{"bytes": content, "path": f"{name}/{file}"} for name, file, content in rows()],
        "identity": [name for name, _, _ in rows()],
    }
    pq.write_table(pa.table(table), root / "faces.parquet", row_group_size=5)
    return ParquetSource(path=root / "faces.parquet")


def celeba(root: Path) -> CelebASource:
    (root / "img_align_celeba").mkdir(parents=True)
    lines = []
    for i in range(12):
        picture(i, size=(178, 218)).save(root / "img_align_celeba" / f"{i:06d}.jpg")
        lines.append(f"{i:06d}.jpg {7 + (i % 6) // 2 + (i == 11)}")
    (root / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    return CelebASource(path=root)


def synthetic(root: Path) -> SyntheticSource:
    return SyntheticSource(identities=3, images_per_identity=4)


@pytest.fixture(params=[folder, flat_folder, parquet, celeba, synthetic], ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    make: Callable[[Path], Any] = request.param
    return make(tmp_path / "data")


def test_contract(source: Any) -> None:
    told: list[tuple[int, int | None]] = []
    images = source.load(16, progress=lambda done, total: told.append((done, total)))
    assert images.pixels.shape == (12, 3, 16, 16)
    assert images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64
    assert images.identities == tuple(sorted(images.identities))
    assert images.counts().min() > 0
    assert len(set(images.origins)) == len(images)
    assert told[-1] == (12, 12)


def test_loads_the_same_twice_and_in_grey(source: Any) -> None:
    first, second = source.load(16), source.load(16)
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.labels, second.labels)
    assert first.origins == second.origins
    grey = source.load(16, channels=1)
    assert grey.pixels.shape == (12, 1, 16, 16)
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    luma = (first.images() * weights).sum(1, keepdim=True)
    assert (grey.images() - luma).abs().max() < 0.02


def test_json_round_trip(source: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnySource)
    assert adapter.validate_json(source.model_dump_json()) == source


def test_guess(source: Any) -> None:
    if not isinstance(source, SyntheticSource):
        assert guess_source(source.path) == source


def test_folder_and_parquet_agree(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "folder").load(16), parquet(tmp_path).load(16)
    assert torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.labels, other.labels)
    assert one.identities == other.identities == NAMES


def test_pixels_are_not_touched_at_their_own_size(tmp_path: Path) -> None:
    images = folder(tmp_path).load(20)
    assert np.array_equal(images.pixels[0].permute(1, 2, 0).numpy(), np.asarray(picture(0)))


def test_shrinking_averages(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for name in NAMES:
        (tmp_path / name).mkdir()
        Image.fromarray(stripes).save(tmp_path / name / "stripes.png")
    shrunk = FolderSource(path=tmp_path).load(8).images()
    assert (shrunk - 0.5).abs().max() < 0.02


def test_oblong_images_lose_their_sides_and_turned_ones_stand_up(tmp_path: Path) -> None:
    oblong = Image.new("RGB", (40, 20), "red")
    oblong.paste("lime", (10, 0, 30, 20))
    turned = Image.new("RGB", (16, 16), "red")
    turned.paste("lime", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for name, image in (("a", oblong), ("b", turned)):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "x.png", exif=exif if image is turned else None)
    images = FolderSource(path=tmp_path).load(16).images()
    lime = torch.tensor([0.0, 1.0, 0.0])
    assert torch.equal(images[0], lime[:, None, None].expand(3, 16, 16))
    assert torch.equal(images[1, :, 15, 0], lime)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "CMYK", "P"])
def test_modes(tmp_path: Path, mode: str) -> None:
    for i, name in enumerate(NAMES):
        (tmp_path / name).mkdir()
        image = picture(i, mode=mode)
        image.save(
            tmp_path / name / f"x.{'jpg' if mode == 'CMYK' else 'png'}", transparency=b"\0\1" if mode == "P" else None
        )
    assert FolderSource(path=tmp_path).load(8).channels == 3


def test_large_jpegs_come_out_as_if_decoded_in_full(tmp_path: Path) -> None:
    smooth = picture(0, size=(8, 8)).resize((256, 256), Image.Resampling.BICUBIC)
    for kind in ("jpg", "png"):
        (tmp_path / kind).mkdir()
        smooth.save(tmp_path / kind / f"x.{kind}")
    png, jpg = (FolderSource(path=tmp_path).load(32).images()[i] for i in (1, 0))
    assert (png - jpg).abs().mean() < 0.02


def test_celeba_crop_and_parts(tmp_path: Path) -> None:
    everything = celeba(tmp_path)
    frame = np.asarray(Image.open(tmp_path / "img_align_celeba" / "000000.jpg"))
    loaded = everything.load(108)
    assert np.array_equal(loaded.pixels[0].permute(1, 2, 0).numpy(), frame[55:163, 35:143])
    private = CelebASource(path=tmp_path, part="private", private_identities=2).load(16)
    public = CelebASource(path=tmp_path, part="public", private_identities=2, public_images=3)
    assert private.identities == ("7", "8")
    assert public.records()[0] == 3
    assert {record.identity for record in public.records()[1]} <= {"9", "10"}


@pytest.mark.parametrize("make", [folder, flat_folder])
def test_crop_is_the_central_square_of_that_side(make: Callable[[Path], Any], tmp_path: Path) -> None:
    source = make(tmp_path / "data")
    cropped = source.model_copy(update={"crop": 14}).load(14)
    assert torch.equal(cropped.pixels, source.load(20).pixels[:, :, 3:17, 3:17])
    with pytest.raises(UserError, match="20 x 20 pixels, too small for crop=21"):
        source.model_copy(update={"crop": 21}).load(14)


def test_in_a_flat_folder_every_image_is_another_person(tmp_path: Path) -> None:
    flat, sorted_by_name = flat_folder(tmp_path / "flat").load(16), folder(tmp_path / "sorted")
    assert len(flat.identities) == len(flat) == 12
    assert torch.equal(flat.pixels, sorted_by_name.load(16).pixels)
    assert len(FlatFolderSource(path=sorted_by_name.path).load(16).identities) == 12


def test_celeba_as_downloaded(tmp_path: Path) -> None:
    expected = celeba(tmp_path / "flat").load(16)
    for place in ("Img", "Anno"):
        (tmp_path / "flat" / place).mkdir()
    (tmp_path / "flat" / "img_align_celeba").rename(tmp_path / "flat" / "Img" / "img_align_celeba")
    (tmp_path / "flat" / "identity_CelebA.txt").rename(tmp_path / "flat" / "Anno" / "identity_CelebA.txt")
    source = guess_source(tmp_path / "flat")
    assert isinstance(source, CelebASource)
    assert torch.equal(source.load(16).pixels, expected.pixels)


def test_synthetic_ranges_are_disjoint_and_stable() -> None:
    wide = SyntheticSource(identities=20, images_per_identity=2).load(16)
    late = SyntheticSource(identities=2, images_per_identity=2, first_identity=18).load(16)
    assert torch.equal(wide.pixels[-4:], late.pixels)
    assert wide.identities[-2:] == late.identities
    other = SyntheticSource(identities=20, images_per_identity=2, seed=1).load(16)
    assert not set(wide.identities) & set(other.identities)


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(picture(0), "jpeg")[:-200], "truncated"),
        (encoded(picture(0))[:60], r"x\.jpg cannot be read"),
        (b"<html>not found</html>", "not an image of a known format"),
        (b"", "not an image of a known format"),
        (encoded(Image.new("I;16", (9, 9))), "more than 8 bits a channel"),
    ],
)
def test_broken_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    source = folder(tmp_path)
    write(tmp_path / "bob" / "x.jpg", content)
    with pytest.raises(UserError, match=reason):
        source.load(16)
    with pytest.raises(UserError, match=r"bob/x\.jpg.*`trapmid doctor .*` lists every"):
        source.load(16)


def test_too_small_for_the_crop(tmp_path: Path) -> None:
    source = celeba(tmp_path)
    picture(0, size=(120, 107)).save(tmp_path / "img_align_celeba" / "000003.jpg")
    with pytest.raises(UserError, match=r"000003\.jpg.*120 x 107 pixels, too small for crop=108"):
        source.load(16)


def test_listed_but_absent(tmp_path: Path) -> None:
    source = celeba(tmp_path)
    (tmp_path / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(UserError, match=r"000003\.jpg.*No such file"):
        source.load(16)


def test_bad_identity_file(tmp_path: Path) -> None:
    source = celeba(tmp_path)
    (tmp_path / "identity_CelebA.txt").write_text("000000.jpg 7\n000001.jpg\n")
    with pytest.raises(UserError, match=r"identity_CelebA\.txt, line 2: expected FILE IDENTITY"):
        source.load(16)
    with pytest.raises(UserError, match=r"does not exist\. CelebA as distributed"):
        CelebASource(path=tmp_path / "nowhere").load(16)


def test_one_identity(tmp_path: Path) -> None:
    write(tmp_path / "ann" / "0.png", encoded(picture(0)))
    with pytest.raises(UserError, match=r"only one identity \(ann\)"):
        FolderSource(path=tmp_path).load(16)


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        FolderSource(path=tmp_path / "nowhere").load(16)
    write(tmp_path / "0.png", encoded(picture(0)))
    with pytest.raises(UserError, match="holds no images in folders of its own"):
        FolderSource(path=tmp_path).load(16)


def test_flat_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        FlatFolderSource(path=tmp_path / "nowhere").load(16)
    write(tmp_path / "0.txt", b"")
    with pytest.raises(UserError, match="holds no images; what is read is"):
        FlatFolderSource(path=tmp_path).load(16)


def test_guess_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist\. Expected a folder"):
        guess_source(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images"):
        guess_source(tmp_path)
    write(tmp_path / "faces.zip", b"PK")
    with pytest.raises(UserError, match=r"faces\.zip is not a \.parquet file"):
        guess_source(tmp_path / "faces.zip")


@needs_real_faces
def test_real_faces() -> None:
    images: ImageSet = guess_source(PRIVATE).load(64)
    assert images.pixels.shape == (4_678, 3, 64, 64)
    assert len(images.identities) == 189
    assert (int(images.counts().min()), int(images.counts().max())) == (18, 30)
    assert 0.3 < float(images.images(torch.arange(500)).mean()) < 0.6
