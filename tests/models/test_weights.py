"""Weights that others wrote: read whatever torch.save wrote with tensors alone, and never run code from a file."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trapmid.models import VGG16, FaceNet64, Tiny, Zoo
from trapmid.models.weights import convert, initialise, read_weights
from trapmid.types import UserError

RAN: list[str] = []


class Malicious:
    """Unpickling it calls `RAN.append`."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return RAN.append, ("ran",)


def tensors() -> dict[str, Tensor]:
    return {"conv.weight": torch.rand(4, 3, 3, 3), "norm.running_mean": torch.rand(4), "steps": torch.tensor(7)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_what_training_scripts_write(tmp_path: Path, legacy: bool, key: str | None, prefix: str) -> None:
    weights = tensors()
    content: dict[str, Any] = {prefix + name: value for name, value in weights.items()}
    if key is not None:
        content = {"epoch": 3, key: content, "best_acc": 0.5, "optimizer": {"state": {}, "param_groups": [{"lr": 1}]}}
    file = tmp_path / "model.tar"
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    assert same(read_weights(file), weights)


def test_safetensors_under_any_name(tmp_path: Path) -> None:
    weights = tensors()
    save_file(weights, tmp_path / "model.pth")
    assert same(read_weights(tmp_path / "model.pth"), weights)


def test_a_prefix_that_only_some_names_have_is_part_of_the_names(tmp_path: Path) -> None:
    weights = {"module.a": torch.rand(2), "b": torch.rand(2)}
    torch.save(weights, tmp_path / "m.pth")
    assert same(read_weights(tmp_path / "m.pth"), weights)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_foreign_code_is_named_and_not_run(tmp_path: Path, legacy: bool) -> None:
    file = tmp_path / "evil.pth"
    torch.save({"state_dict": tensors(), "extra": Malicious()}, file, _use_new_zipfile_serialization=not legacy)
    RAN.clear()
    with pytest.raises(UserError, match=r"holds Python objects beside tensors \(.*\), and loading those runs code"):
        read_weights(file)
    assert RAN == []
    torch.save(nn.Linear(2, 2), file)
    with pytest.raises(UserError, match=r"\(torch\.nn\.modules\.linear\.Linear\).*save the state_dict alone"):
        read_weights(file)
    file.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UserError, match=r"evil\.pth"):
        read_weights(file)
    assert RAN == []


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def test_what_downloads_leave_behind(tmp_path: Path) -> None:
    file = tmp_path / "ir50.pth"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 174614981\n"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("weights.pth"))
    for content, told in (
        (b"", "is empty: its download did not happen"),
        (b"\n<!DOCTYPE html><html><title>Virus scan warning</title>", "is a web page .* log in or to confirm"),
        (b"<HTML><body>Quota exceeded", "is a web page"),
        (pointer, r"is a Git LFS pointer, not the weights themselves \(174614981 bytes\)\. Run `git lfs pull`"),
        (archive.getvalue(), "is an archive. Unpack it"),
        (b"no weights at all", r"\(17 bytes\) is neither safetensors nor a checkpoint .* get it again"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=told):
            read_weights(file)
    with pytest.raises(UserError, match=r"gone\.pth cannot be read \(No such file or directory\)"):
        read_weights(tmp_path / "gone.pth")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_weights(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_off(tmp_path: Path, kind: str, share: float) -> None:
    file, weights = tmp_path / "w", {"a": torch.rand(500), "b": torch.rand(30, 30)}
    if kind == "safetensors":
        save_file(weights, file)
        whole = file.read_bytes()
    else:
        whole = saved(weights, _use_new_zipfile_serialization=kind == "zip")
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match="or it is cut off"):
        read_weights(file)


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda tail: b"\x80\x02" + tail))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_the_users_mistake_at_worst(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    with pytest.raises(UserError, match="any"):
        read_weights(file)


@pytest.mark.parametrize(
    ("content", "holds"),
    [({"epoch": 3, "lr": 0.1}, "epoch, lr"), ([torch.rand(2)], "list"), ({}, "nothing"), (torch.rand(2), "Tensor")],
)
def test_no_weights_by_name(tmp_path: Path, content: Any, holds: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"holds no weights by name \(it holds: {holds}\)\. Expected tensors by name"):
        read_weights(tmp_path / "w.pth")


def network() -> nn.Module:
    net = nn.Module()
    net.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    net.head = nn.Linear(4, 2)
    return net


def state_of(**changes: Tensor | None) -> dict[str, Tensor]:
    state: dict[str, Tensor | None] = {name: torch.rand(value.shape) for name, value in network().state_dict().items()}
    state.pop("body.1.num_batches_tracked")
    for name, value in changes.items():
        state[name.replace("__", ".")] = value
    return {name: value for name, value in state.items() if value is not None}


def test_everything_is_loaded_and_old_files_may_lack_counters(tmp_path: Path) -> None:
    state = state_of()
    save_file(state, tmp_path / "w")
    net = network()
    assert initialise(net, tmp_path / "w") == ()
    assert same({n: v for n, v in net.state_dict().items() if "batches" not in n}, state)
    assert int(net.body[1].num_batches_tracked) == 0  # type: ignore[union-attr, index, arg-type, operator]


@pytest.mark.parametrize(
    "changes",
    [
        {"head__weight": torch.rand(9, 4), "head__bias": torch.rand(9)},
        {"head__weight": None, "head__bias": None},
        {"head__bias": None},  # half a head is none
        {"head__6__weight": torch.rand(2)},
    ],
)
def test_a_head_that_does_not_fit_is_left_out_whole(tmp_path: Path, changes: dict[str, Tensor | None]) -> None:
    state = state_of(**changes)
    save_file(state, tmp_path / "w.pth")
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = initialise(net, tmp_path / "w.pth", heads=("head.",))
    assert notes == ("w.pth has no fitting head: that part starts from random weights.",)
    for name, value in net.state_dict().items():
        if "batches" not in name:
            assert torch.equal(value, before[name] if name.startswith("head") else state[name])


def test_another_network_is_refused_with_what_differs_and_nothing_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "w"
    for changes, told in (
        ({"body__0__weight": None}, r"of 8 expected tensors 1 are missing, such as body\.0\.weight"),
        ({"layer9__weight": torch.rand(2)}, r"1 are unknown, such as layer9\.weight"),
        ({"body__1__bias": torch.rand(7)}, r"1 have another shape, such as body\.1\.bias \(7,\) instead of \(4,\)"),
        ({"body__1__bias": None, "x": torch.rand(1)}, r"1 are missing, such as .*; 1 are unknown, such as x"),
    ):
        save_file(state_of(**changes), file)
        net = network()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with pytest.raises(UserError, match=told):
            initialise(net, file, heads=("head.",))
        assert same(dict(net.state_dict()), before)
    save_file(state_of(old__body__0__weight=torch.rand(4, 3, 3, 3)), file)
    with pytest.raises(UserError, match=r"1 are there under two names, such as body\.0\.weight"):
        initialise(network(), file, own_name=lambda name: name.removeprefix("old."))


def test_a_deeper_network_of_the_same_names_is_refused(tmp_path: Path) -> None:
    """Every tensor of the shallower one is in the file, with the right shape."""
    import timm

    save_file(timm.create_model("resnet34", num_classes=3).state_dict(), tmp_path / "resnet34")
    with pytest.raises(UserError, match=r"are unknown, such as backbone\.layer1\.2\."):
        Zoo(name="resnet18", weights=tmp_path / "resnet34").build(3, 32, 3)


def layers_of(vgg: nn.Module) -> list[nn.Module]:
    return [layer for block in vgg.blocks for layer in block]  # type: ignore[union-attr]


def test_torchvisions_file_starts_vgg16(tmp_path: Path) -> None:
    from torchvision import models

    with torch.device("meta"):
        theirs = models.vgg16_bn()
    state = {name: torch.rand(value.shape) for name, value in theirs.features.state_dict(prefix="features.").items()}
    head = {f"classifier.{i}.{part}": torch.rand(2) for i in (0, 3, 6) for part in ("weight", "bias")}
    torch.save({**state, **head}, tmp_path / "vgg16_bn.pth")
    model = VGG16(weights=tmp_path / "vgg16_bn.pth").build(2, 32, 3)
    assert [note.split(":")[0] for note in model.notes] == [
        f"vgg16_bn.pth has no fitting {x}" for x in ("head", "norm")
    ]
    loaded = {f"features.{i}.{n}": v for i, layer in enumerate(layers_of(model)) for n, v in layer.state_dict().items()}
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name].to(loaded[name].dtype)) for name in loaded)


def test_published_names(tmp_path: Path) -> None:
    """A Trap-MID checkpoint has a body `feature`, a last norm `bn` and a classifier `fc_layer`, within DataParallel."""
    vgg, ir = VGG16().build(3, 32, 3), FaceNet64().build(3, 32, 3)
    published: dict[nn.Module, dict[str, Tensor]] = {
        vgg: {f"feature.{i}.{n}": v for i, layer in enumerate(layers_of(vgg)) for n, v in layer.state_dict().items()},
        ir: {
            f"feature.{part}.{name.replace('shortcut.', 'shortcut_layer.')}": value
            for part in ("input_layer", "body")
            for name, value in ir.get_submodule(part).state_dict().items()
        },
    }
    published[vgg] |= vgg.norm.state_dict(prefix="bn.")  # type: ignore[union-attr, operator]
    published[ir] |= ir.output_layer.state_dict(prefix="output_layer.")  # type: ignore[union-attr, operator]
    for kind, model in ((VGG16, vgg), (FaceNet64, ir)):
        state = published[model] | model.head.state_dict(prefix="fc_layer.")  # type: ignore[union-attr, operator]
        torch.save({"state_dict": {f"module.{name}": v for name, v in state.items()}}, tmp_path / "target.tar")
        loaded = kind(weights=tmp_path / "target.tar").build(3, 32, 3)
        assert loaded.notes == ()
        assert same(dict(loaded.state_dict()), dict(model.state_dict()))


def test_a_backbone_of_another_image_size_leaves_the_embedding_out(tmp_path: Path) -> None:
    backbone = FaceNet64().build(2, 48, 3).state_dict()
    save_file({name: value for name, value in backbone.items() if not name.startswith("head.")}, tmp_path / "ir50")
    model = FaceNet64(weights=tmp_path / "ir50").build(2, 32, 3)
    assert [note.split(":")[0] for note in model.notes] == [
        f"ir50 has no fitting {x}" for x in ("head", "output_layer")
    ]
    assert torch.equal(model.state_dict()["body.0.res_layer.1.weight"], backbone["body.0.res_layer.1.weight"])


def test_timms_file_starts_a_zoo_model(tmp_path: Path) -> None:
    import timm

    theirs = timm.create_model("test_resnet", num_classes=4)
    save_file(theirs.state_dict(), tmp_path / "r.safetensors")
    config = Zoo(
        name="test_resnet", weights=tmp_path / "r.safetensors", pretrained=True
    )  # no download: the file counts
    model = config.build(4, 64, 3).eval()
    assert model.notes == ()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images).logits, theirs.eval()(images * 2 - 1))


def test_convert(tmp_path: Path) -> None:
    shared = torch.rand(6)
    weights = {**tensors(), "tied.a": shared, "tied.b": shared, "turned": torch.rand(3, 2).T}
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "old.tar")
    assert same(convert(tmp_path / "old.tar", tmp_path / "deep" / "new.safetensors"), weights)
    assert same(load_file(tmp_path / "deep" / "new.safetensors"), weights)
    with pytest.raises(UserError, match=r"new\.safetensors exists\. Choose another --to"):
        convert(tmp_path / "old.tar", tmp_path / "deep" / "new.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        convert(tmp_path / "old.tar", tmp_path / "file" / "new.safetensors")


def test_weights_are_part_of_the_config_and_no_part_of_the_architecture(tmp_path: Path) -> None:
    config = VGG16(weights=tmp_path / "w.pth", pretrained=True)
    assert VGG16.model_validate_json(config.model_dump_json()) == config
    assert config.without_pretraining() == VGG16()
    assert Tiny(widths=(3,), strides=(2,), weights=tmp_path / "w").without_pretraining() == Tiny(
        widths=(3,), strides=(2,)
    )


def test_torchs_advice_to_switch_protection_off_is_not_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    contents = [b"nope", b"\x80\x02\x95", pickle.dumps({"a": 1}), pickle.dumps(Malicious(), 4), saved(nn.Linear(2, 2))]
    contents += [
        saved({"a": torch.rand(9)})[:-40],
        saved({"a": torch.rand(9)}, _use_new_zipfile_serialization=False)[:-40],
    ]
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(UserError) as told:
            read_weights(file)
        assert "weights_only" not in str(told.value)
        assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch._empty_affine_quantized([3], scale=0.1, zero_point=0, dtype=torch.qint8),
    ],
    ids=["sparse", "csr", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore")  # such tensors are on their way out of torch
def test_tensors_that_are_not_dense_are_refused(tmp_path: Path, odd: Callable[[], Tensor]) -> None:
    torch.save({"good": torch.rand(2), "odd": odd()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"holds 1 tensors that are sparse, quantised or without numbers, such as odd"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_few_numbers_do_not_become_many(tmp_path: Path) -> None:
    torch.save({"huge": torch.zeros(1).expand(1_600_000_000)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"would take 6,400,000,000 as safetensors: they repeat few numbers"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    shared = torch.rand(2**20)
    torch.save({str(i): shared for i in range(40)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="they repeat few numbers"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    small = {"a": torch.rand(1).expand(7, 7), "b": torch.rand(6, 2).T[:, ::2]}
    torch.save(small, tmp_path / "w.pth")
    assert same(convert(tmp_path / "w.pth", tmp_path / "w.safetensors"), small)
    assert same(load_file(tmp_path / "w.safetensors"), small)


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    plain = zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(2**22)})))
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(UserError, match="is a compressed archive"):
        read_weights(tmp_path / "w.pth")


def test_views_are_written_as_what_they_show(tmp_path: Path) -> None:
    weights = {"conj": torch.rand(3, dtype=torch.complex64).conj(), "neg": torch._neg_view(torch.rand(3))}
    torch.save(weights, tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert same(load_file(tmp_path / "w.safetensors"), weights)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": torch.zeros(2, dtype=torch.complex128)}, r"holds what safetensors cannot .*complex128"),
        ({1: torch.zeros(2), "1": torch.zeros(2)}, "names are not text, or appear twice"),
        ({"__metadata__": torch.zeros(2)}, "names are not text"),
        ({"a\x1b[31m": torch.zeros(2)}, "names are not text"),
        ({"a\x1b[31m": 1}, r"it holds: a\\x1b\[31m"),
    ],
)
def test_what_safetensors_cannot_hold(tmp_path: Path, content: dict[Any, Any], told: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=told):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(UserError, match="not a regular file but a pipe"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
