"""Data sets that are damaged or made to do harm: each is read rightly or refused with its name, and nothing hangs."""

import os
import socket
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.pictures import encoded, picture
from trapmid.data import FlatFolderSource, FolderSource, ParquetSource, SplitConfig, guess_source, read_pictures, split
from trapmid.data.celeba import CelebASource
from trapmid.data.doctor import examine
from trapmid.types import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for n, name in enumerate(("ann", "bob")):
        (root / name).mkdir(parents=True)
        for i in range(3):
            (root / name / f"{i}.png").write_bytes(encoded(picture(10 * n + i)))
    return root


def unreadable(root: Path) -> tuple[str, ...]:
    (finding,) = (finding for finding in examine(root, image_size=8).findings if finding.code == "unreadable")
    assert finding.severity == "error"
    return finding.examples


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: (root / "cleo").symlink_to(root / "nowhere"), "No such file or directory"),
        (lambda root: (root / "cleo").symlink_to(root / "cleo"), "Too many levels of symbolic links"),
        (lambda root: (root / "cleo").symlink_to(root), "a link to a folder that was read already"),
        (lambda root: (root / "cleo").symlink_to(root / "bob"), "a link to a folder that was read already"),
    ],
    ids=["dangling", "looping", "into-itself", "twice"],
)
def test_a_folder_of_an_identity_that_cannot_be_read_is_reported(data: Path, make, reason: str) -> None:
    make(data)
    assert unreadable(data) == (f"cleo: {'it is ' if 'link to' in reason else ''}{reason}",)
    for source in (FolderSource(path=data), FlatFolderSource(path=data)):
        with pytest.raises(UserError, match=rf"cleo cannot be read as an image \(.*{reason}"):
            source.load(8)


def test_a_folder_without_permission_is_reported() -> None:
    """Run as a user other than root, because root may read everything."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in ("ann", "bob"):
            (root / name).mkdir()
            (root / name / "0.png").write_bytes(encoded(picture(0)))
        root.chmod(0o755)
        (root / "bob").chmod(0)
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)
            assert unreadable(root) == ("bob: Permission denied",)
            with pytest.raises(UserError, match=r"bob cannot be read as an image \(Permission denied\)"):
                FolderSource(path=root).load(8)
            with pytest.raises(UserError, match=r"bob cannot be read \(Permission denied\)"):
                FolderSource(path=root / "bob").load(8)
            with pytest.raises(UserError, match=r"bob cannot be read \(Permission denied\)"):
                guess_source(root / "bob")
        finally:
            os.seteuid(me)
            (root / "bob").chmod(0o700)


def test_links_to_folders_are_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(encoded(picture(99)))
    (data / "cleo").symlink_to(tmp_path / "elsewhere")
    assert FolderSource(path=data).load(8).identities == ("ann", "bob", "cleo")


def special(kind: str, file: Path) -> str:
    if kind == "fifo":
        os.mkfifo(file)
        return "a named pipe"
    if kind == "device":
        file.symlink_to("/dev/zero")
        return "a device"
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(file.parent)  # the path of a socket is short
        try:
            made.bind(file.name)
        finally:
            os.chdir(here)
    return "a socket"


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_a_special_file_does_not_hang_a_reader(data: Path, kind: str) -> None:
    told = special(kind, data / "bob" / "x.png")
    assert unreadable(data) == (f"bob/x.png: not a regular file but {told}",)
    with pytest.raises(UserError, match=rf"bob/x\.png cannot be read as an image \(not a regular file but {told}"):
        FolderSource(path=data).load(8)
    with pytest.raises(UserError, match="not a regular file"):
        list(read_pictures([data / "bob" / "x.png"], 8))
    special(kind, data / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet cannot be read \(not a regular file"):
        ParquetSource(path=data).load(8)
    celeba = data.parent / "celeba"
    (celeba / "img_align_celeba").mkdir(parents=True)
    special(kind, celeba / "identity_CelebA.txt")
    with pytest.raises(UserError, match=r"identity_CelebA\.txt cannot be read \(not a regular file"):
        CelebASource(path=celeba).load(8)


def test_names_that_are_not_utf_8_are_read_and_written_down_escaped(data: Path) -> None:
    strange = os.fsencode(data) + b"/\xff\xfe"
    Path(os.fsdecode(strange)).mkdir()
    for i in range(3):
        Path(os.fsdecode(strange + b"/%d\xe9.png" % i)).write_bytes(encoded(picture(50 + i)))
    images = FolderSource(path=data).load(8)
    assert images.identities == ("\\xff\\xfe", "ann", "bob")
    assert images.origins[6] == "\\xff\\xfe/0\\xe9.png"
    table = split(images, SplitConfig(val=0.3, test=0.3)).to_table()
    assert "\\xff\\xfe" in table["identity"].to_pylist()
    assert examine(data, image_size=8).model_dump_json()
    single = data / os.fsdecode(b"\xe9.png")
    single.write_bytes(encoded(picture(70)))
    origins = next(read_pictures([single, data], 8)).origins
    assert (origins[0], origins[-1]) == ("\\xe9.png", "people/\\xff\\xfe/2\\xe9.png")
    for refuse in (guess_source, lambda path: list(read_pictures([path], 8))):
        with pytest.raises(UserError, match=r"\\xff\\xfe is not UTF-8, so no recipe can hold it"):
            refuse(Path(os.fsdecode(strange)))
    (data / "\\xff\\xfe").mkdir()
    (data / "\\xff\\xfe" / "0.png").write_bytes(encoded(picture(60)))
    with pytest.raises(UserError, match="differ only in bytes that are not UTF-8"):
        FolderSource(path=data).load(8)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(4, 4, 16, 2, bytes(4 * 25)), "more than 8 bits a channel, mode RGB"),
        (png(4, 4, 16, 6, bytes(4 * 33)), "more than 8 bits a channel, mode RGBA"),
        (png(4, 4, 16, 4, bytes(4 * 17)), "more than 8 bits a channel"),
        (png(4, 4, 16, 0, bytes(4 * 9)), "more than 8 bits a channel, mode I;16"),
        (b"P6 4 4 65535\n" + bytes(96), "more than 8 bits a channel, mode RGB"),
        (b"P3 1 1 1023\n1 2 3\n", "more than 8 bits a channel, mode RGB"),
        (encoded(Image.new("LAB", (4, 4)), "tiff"), "the unknown mode LAB"),
        (png(30_000, 30_000, 8, 2, b""), "900000000 pixels|30000 x 30000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image of a known format"),
    ],
    ids=["rgb16", "rgba16", "la16", "grey16", "ppm16", "ppm10", "lab", "bomb", "postscript"],
)
def test_images_that_are_refused(data: Path, content: bytes, reason: str) -> None:
    (data / "bob" / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"bob/x\.png cannot be read as an image \(.*({reason})"):
        FolderSource(path=data).load(8)
    assert len(unreadable(data)) == 1


def test_of_an_animation_the_first_frame_is_used(data: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("png", "webp", "tiff"):
        frames[0].save(data / "bob" / f"x.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    images = FolderSource(path=data).load(8)
    for suffix in ("png", "webp", "tiff"):
        pixels = images.pixels[images.origins.index(f"bob/x.{suffix}")]
        assert pixels[:, 0, 0].tolist() == [255, 0, 0]


def test_transparency_shows_the_colour_below(data: Path) -> None:
    for mode in ("RGBA", "LA", "P"):
        image = Image.new("RGBA", (8, 8), (200, 200, 200, 0)).convert(mode)
        image.save(data / "bob" / f"{mode}.png", **({"transparency": bytes(256)} if mode == "P" else {}))
    images = FolderSource(path=data).load(8)
    for mode in ("RGBA", "LA", "P"):
        assert images.pixels[images.origins.index(f"bob/{mode}.png"), :, 0, 0].float().sub(200).abs().max() < 8


IMAGES = pa.array([encoded(picture(i)) for i in range(4)], pa.binary())
WHO = pa.array(list("aabb"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.Table.from_arrays([IMAGES, WHO, WHO], ["image", "identity", "identity"]), "has 2 columns 'identity'"),
        (pa.Table.from_arrays([IMAGES, IMAGES, WHO], ["image", "image", "identity"]), "has 2 columns 'image'"),
        (pa.table({"image": IMAGES, "identity": [[1], [1], [2], [2]]}), "column 'identity' is list<"),
        (pa.table({"image": IMAGES, "identity": [{"x": 1}] * 4}), "column 'identity' is struct<"),
        (pa.table({"image": [[b"x"]] * 4, "identity": WHO}), "column 'image' is list<"),
        (pa.table({"image": [{"bytes": {"deep": b"x"}}] * 4, "identity": WHO}), "column 'image' is struct<"),
        (pa.table({"image": pa.array([None] * 4), "identity": WHO}), "column 'image' is null"),
        (pa.table({"image": IMAGES, "identity": pa.array([True] * 4)}), "column 'identity' is bool"),
        (pa.table({}), "has no column 'image' but"),
        (pa.table({"image": pa.array([], pa.binary()), "identity": pa.array([], pa.string())}), "holds no images"),
        (
            pa.table(
                {"image": IMAGES, "identity": pa.array([b"\xff", b"a", b"b", b"c"]).cast(pa.string(), safe=False)}
            ),
            "is damaged after row 0",
        ),
    ],
)
def test_parquet_with_odd_columns(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "faces.parquet")
    with pytest.raises(UserError, match=message):
        ParquetSource(path=tmp_path / "faces.parquet").load(8)


def test_parquet_that_announces_other_rows_than_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"image": IMAGES, "identity": WHO}), file)
    for announced, told in ((3, "announces 3 rows and has more"), (9, "announces 9 rows and has 4")):
        monkeypatch.setattr(ParquetSource, "_check", lambda self, file, count=announced: count)
        with pytest.raises(UserError, match=told):
            ParquetSource(path=file).load(8)
    monkeypatch.setattr(ParquetSource, "_check", lambda self, file: 2**50)
    with pytest.raises(UserError, match="more than this machine can hold"):
        ParquetSource(path=file).load(8)


def test_parquet_without_names_has_no_identities(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": IMAGES}), tmp_path / "faces.parquet")
    unnamed = ParquetSource(path=tmp_path / "faces.parquet", identity_column=None)
    diagnosis = examine(unnamed, image_size=8)
    assert diagnosis.facts[0].identities is None
    assert diagnosis.facts[0].fewest is None
    assert [finding.code for finding in diagnosis.findings] == ["no-identities"]
    named = ParquetSource(path=tmp_path / "faces.parquet", identity_column="")
    with pytest.raises(UserError, match="has no column ''"):
        named.load(8)


@pytest.mark.parametrize("line", ["../x.jpg 1", "/etc/passwd 1", "x\0.jpg 1", "x.jpg 99999999999999999999", "x.jpg -1"])
def test_celebas_list_names_files_of_its_folder_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "identity_CelebA.txt").write_text(line + "\n")
    with pytest.raises(UserError, match="line 1: expected FILE IDENTITY"):
        CelebASource(path=tmp_path).load(8)


def test_a_folder_that_is_all_links_ends(tmp_path: Path) -> None:
    """Links that would make two to the power of thirty folders."""
    for level in range(30):
        (tmp_path / str(level)).mkdir()
        for name in ("x", "y"):
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    assert len(np.array(examine_all(tmp_path))) > 0


def examine_all(root: Path) -> list[str]:
    return [record.origin for record in FlatFolderSource(path=root).records()[1]]
