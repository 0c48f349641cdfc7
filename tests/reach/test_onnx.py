"""Models in ONNX files: logits or probabilities, any batch size or a fixed one, and what is refused."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from trapmid.models import Tiny
from trapmid.reach import OnnxModel
from trapmid.targets import LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import UserError

SHAPE, CLASSES = (3, 8, 8), 5
WEIGHTS = np.random.default_rng(0).normal(size=(3 * 64, CLASSES)).astype(np.float32)


def written(
    file: Path,
    *,
    softmax: bool = False,
    batch: int | str = "n",
    shape: tuple[int, ...] = SHAPE,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A linear classifier of pictures."""
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        *([helper.make_node("Softmax", ["logits"], ["out"], axis=1)] if softmax else []),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", kind, [batch, *shape])],
        [helper.make_tensor_value_info("out" if softmax else "logits", kind, [batch, CLASSES])],
        [numpy_helper.from_array(WEIGHTS.astype(helper.tensor_dtype_to_np_dtype(kind)), "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return file


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("batch", ["n", 1, 4])
def test_scores_are_the_networks(softmax: bool, batch: int | str, tmp_path: Path) -> None:
    model = OnnxModel(written(tmp_path / "net.onnx", softmax=softmax, batch=batch))
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    target = ScoreTarget(model, CLASSES, SHAPE)
    expected = (images.flatten(1) @ torch.from_numpy(WEIGHTS)).softmax(1)
    torch.testing.assert_close(target.scores(images), expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(LabelTarget(model, CLASSES, SHAPE).labels(images), expected.argmax(1))
    assert target.queries == 6


@pytest.mark.parametrize(("kind", "near"), [(TensorProto.FLOAT16, 0.02), (TensorProto.DOUBLE, 1e-5)])
def test_pictures_are_given_in_the_networks_own_type(kind: int, near: float, tmp_path: Path) -> None:
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    target = ScoreTarget(OnnxModel(written(tmp_path / "net.onnx", kind=kind)), CLASSES, SHAPE)
    expected = (images.flatten(1) @ torch.from_numpy(WEIGHTS)).softmax(1)
    torch.testing.assert_close(target.scores(images), expected, atol=near, rtol=near)


def test_pictures_of_whole_numbers_are_not_what_it_takes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["images"], ["out"], to=TensorProto.FLOAT)]
    shapes = [
        helper.make_tensor_value_info(name, kind, ["n", *SHAPE])
        for name, kind in (("images", TensorProto.UINT8), ("out", TensorProto.FLOAT))
    ]
    graph = helper.make_graph(nodes, "cast", shapes[:1], shapes[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx"
    )
    with pytest.raises(UserError, match=r"takes images of tensor\(uint8\)\. Expected tensor\(float\), .* in \[0, 1\]"):
        OnnxModel(tmp_path / "net.onnx")


def test_an_exported_classifier_answers_as_it_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Tiny(widths=(8, 16), strides=(2, 2)).build(4, 32, 3)
    images = torch.rand(6, 3, 32, 32)
    network(images)  # batch norm has seen something
    network.eval()
    file = tmp_path / "tiny.onnx"
    with warnings.catch_warnings():  # the exporter that needs no further package is on its way out, and says so
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (images[:2],), file, dynamo=False, input_names=["images"], dynamic_axes={"images": {0: "n"}}
        )
    target = ScoreTarget(OnnxModel(file), 4, (3, 32, 32))
    with torch.no_grad():
        torch.testing.assert_close(target.scores(images), network(images).logits.softmax(1), atol=1e-5, rtol=1e-4)


def test_is_no_white_box(tmp_path: Path) -> None:
    model = OnnxModel(written(tmp_path / "net.onnx"))
    with pytest.raises(UserError, match="OnnxModel answers with scores and carries no gradients"):
        WhiteBoxTarget(model, CLASSES, SHAPE)


def test_names_and_digest(tmp_path: Path) -> None:
    file = written(tmp_path / "net.onnx")
    assert OnnxModel(file).identities == tuple(f"class-0000{i}" for i in range(5))
    assert OnnxModel(file, tuple("abcde")).identities == tuple("abcde")
    assert OnnxModel(file).digest != OnnxModel(written(tmp_path / "other.onnx", softmax=True)).digest
    with pytest.raises(UserError, match="knows 5 classes, and 2 names were given"):
        OnnxModel(file, ("a", "b"))


def test_what_is_no_classifier_of_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes images \['n', 192\]\. Expected one input of images"):
        OnnxModel(written(tmp_path / "flat.onnx", shape=(192,)))
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a network that onnxruntime can run"):
        OnnxModel(tmp_path / "broken.onnx")
    with pytest.raises(UserError, match=r"absent\.onnx does not exist"):
        OnnxModel(tmp_path / "absent.onnx")


def graph(file: Path, nodes: list[onnx.NodeProto], weights: list[TensorProto], **shapes: list[int | str]) -> Path:
    """A network from `images` to `out` with these shapes."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    made = helper.make_graph(nodes, "made", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return file


def linear(file: Path, weights: np.ndarray, *nodes: onnx.NodeProto) -> Path:
    flat = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits" if nodes else "out"]),
    ]
    return graph(
        file,
        [*flat, *nodes],
        [numpy_helper.from_array(weights, "weights")],
        images=["n", *SHAPE],
        out=["n", "classes"],
    )


def test_a_network_that_answers_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers with NaN or infinity"):
        OnnxModel(linear(tmp_path / "net.onnx", np.full_like(WEIGHTS, np.nan)))
    log = helper.make_node("Log", ["logits"], ["out"])  # of a negative number
    model = OnnxModel(linear(tmp_path / "net.onnx", np.ones_like(WEIGHTS), log))
    with pytest.raises(UserError, match="answers with NaN or infinity"):
        model(-torch.ones(1, *SHAPE))


def test_a_network_that_gives_no_score_at_all(tmp_path: Path) -> None:
    made = [
        helper.make_node("Sub", ["logits", "logits"], ["zeros"]),
        helper.make_node("Log", ["zeros"], ["out"]),
    ]
    model = OnnxModel(linear(tmp_path / "net.onnx", WEIGHTS, *made))
    with pytest.raises(UserError, match="gives some images no score at all"):
        model(torch.rand(1, *SHAPE))


@pytest.mark.parametrize("classes", [0, 1])
def test_a_network_needs_two_classes(tmp_path: Path, classes: int) -> None:
    with pytest.raises(UserError, match=rf"knows {classes} classes\. Expected 2 to|fails on 2 images"):
        OnnxModel(linear(tmp_path / "net.onnx", WEIGHTS[:, :classes]))


def test_a_network_that_fails_when_it_runs(tmp_path: Path) -> None:
    twice = helper.make_node("Reshape", ["logits", "shape"], ["out"])
    file = graph(
        tmp_path / "net.onnx",
        [helper.make_node("Flatten", ["images"], ["logits"]), twice],
        [numpy_helper.from_array(np.array([7, 11], np.int64), "shape")],
        images=["n", *SHAPE],
        out=["a", "b"],
    )
    with pytest.raises(UserError, match=r"fails on 2 images of shape \(3, 8, 8\)") as told:
        OnnxModel(file)
    assert str(told.value).isprintable()


def test_a_network_with_another_number_of_answers(tmp_path: Path) -> None:
    file = graph(
        tmp_path / "net.onnx",
        [helper.make_node("Reshape", ["images", "shape"], ["out"])],
        [numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")],
        images=["n", *SHAPE],
        out=["m", 3],
    )
    with pytest.raises(UserError, match=r"answers 2 images with a tensor of shape \(128, 3\)"):
        OnnxModel(file)


@pytest.mark.parametrize("shape", [(3, 10**9, 10**9), (3, 0, 8), (3, 5000, 8)])
def test_a_network_of_an_absurd_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"Expected one input of images.*at most 4,096|not a network that onnxruntime"):
        OnnxModel(written(tmp_path / "net.onnx", shape=shape))
    with pytest.raises(UserError, match="takes batches of 1000000000 images"):
        OnnxModel(written(tmp_path / "net.onnx", batch=10**9))


@pytest.mark.parametrize("place", ["inside.bin", "../outside.bin", "absolute", "link.bin", "/dev/zero"])
def test_external_data_comes_from_the_files_own_folder(tmp_path: Path, place: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for file in (home / "inside.bin", tmp_path / "outside.bin"):
        file.write_bytes(WEIGHTS.tobytes())
    (home / "link.bin").symlink_to(tmp_path / "outside.bin")
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape, data_location=1)
    where = str(tmp_path / "outside.bin") if place == "absolute" else place
    for key, value in (("location", where), ("offset", "0"), ("length", str(WEIGHTS.nbytes))):
        weights.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    file = home / "net.onnx"
    made = helper.make_graph(
        nodes,
        "external",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", *SHAPE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", CLASSES])],
        [weights],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file.write_bytes(model.SerializeToString())
    if place == "inside.bin":
        assert len(OnnxModel(file).identities) == CLASSES
    else:
        with pytest.raises(UserError, match="is not a network that onnxruntime can run"):
            OnnxModel(file)


@pytest.mark.parametrize("stored", [b"", bytes(64)])
def test_weights_of_an_absurd_size(tmp_path: Path, stored: bytes) -> None:
    file = written(tmp_path / "net.onnx")
    model = onnx.load(file)
    (weights,) = model.graph.initializer
    weights.dims[:] = [10**9, 10**9]
    weights.raw_data = stored
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="is not a network that onnxruntime can run"):
        OnnxModel(file)


def test_a_network_that_makes_an_absurd_tensor(tmp_path: Path) -> None:
    file = written(tmp_path / "net.onnx")
    model = onnx.load(file)
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**7, 10**8]), "sides"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sides"], ["filled"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["logits", "sum"], ["more"]))
    model.graph.output[0].name = "more"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"not a network that onnxruntime can run|fails"):
        OnnxModel(file)
