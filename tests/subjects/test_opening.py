"""Opening models that somebody else trained.

Every format gives the same answers and gradients as the network itself.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.foreign import SHAPE, Small, exported, to_onnx
from trapmid.subjects import Subject, hold, parse_subject
from trapmid.subjects.live import Live
from trapmid.targets import LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import UserError


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    network(torch.rand(8, *SHAPE))  # batch norm has seen something
    return network.eval()


def weights(network: nn.Module, file: Path) -> Path:
    save_file(network.state_dict(), file)
    return file


FORMATS: dict[str, Callable[[nn.Module, Path], Subject]] = {
    "program": lambda net, at: parse_subject(str(exported(net, at / "net.pt2"))).open(),
    "program of one batch size": lambda net, at: parse_subject(str(exported(net, at / "f.pt2", fixed=True))).open(),
    "onnx": lambda net, at: parse_subject(str(to_onnx(net, at / "net.onnx"))).open(),
    "onnx of a later version": lambda net, at: parse_subject(str(to_onnx(net, at / "late.onnx", opset=20))).open(),
    "factory": lambda net, at: parse_subject(
        "helpers.foreign:build", weights=weights(net, at / "w.safetensors"), image_size=32
    ).open(),
    "live": lambda net, _: Live(path=hold(net), image_size=32).open(),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_white_box_has_the_networks_answers_and_gradients(kind: str, net: nn.Module, tmp_path: Path) -> None:
    subject = FORMATS[kind](net, tmp_path)
    assert (subject.image_shape, subject.classes, subject.access, subject.named) == (SHAPE, 4, WhiteBoxTarget, False)
    assert subject.normalise.name == "unit"
    images = torch.rand(5, *SHAPE)
    own, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    target = subject.target(WhiteBoxTarget)
    answer = target.predict(theirs).logits
    torch.testing.assert_close(answer, net(own), atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(one[:, 2].sum(), pixels)[0] for one, pixels in ((net(own), own), (answer, theirs))]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)
    assert target.queries == 5
    target.copy()


@pytest.mark.slow
def test_timm_reads_the_head_and_the_normalisation(tmp_path: Path) -> None:
    import timm

    network = timm.create_model("resnet10t", num_classes=5).eval()
    file = weights(network, tmp_path / "w.safetensors")
    subject = parse_subject("timm:resnet10t", weights=file, image_size=32).open()
    assert (subject.classes, subject.image_shape, subject.normalise.name) == (5, SHAPE, "imagenet")
    images = torch.rand(2, *SHAPE)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(subject.module(images), network((images - mean) / std))
    with pytest.raises(UserError, match=r"needs the weights that you trained\. Give --weights"):
        parse_subject("timm:resnet10t").open()
    with pytest.raises(UserError, match="timm:resnet10x is not a timm model"):
        parse_subject("timm:resnet10x", weights=file).open()


@pytest.mark.slow
def test_a_hugging_face_folder_gives_names_size_and_normalisation(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, id2label={0: "Eve", 1: "Adam"})
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    subject = parse_subject(str(tmp_path)).open()
    assert (subject.identities, subject.named, subject.image_shape) == (("Eve", "Adam"), True, SHAPE)
    assert subject.normalise.name == "signed"
    images = torch.rand(2, *SHAPE)
    expected = network(pixel_values=images * 2 - 1).logits
    torch.testing.assert_close(subject.module(images), expected)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"has no \.safetensors file, but pytorch_model\.bin, a pickle"):
        parse_subject(str(tmp_path)).open()


def test_access_is_limited_as_asked(net: nn.Module, tmp_path: Path) -> None:
    file = str(to_onnx(net, tmp_path / "net.onnx"))
    images = torch.rand(3, *SHAPE)
    for name, level in (("scores", ScoreTarget), ("labels", LabelTarget)):
        subject = parse_subject(file).open(name)  # type: ignore[arg-type]
        assert subject.access is level
        assert torch.equal(subject.target(LabelTarget).labels(images), net(images).argmax(1))
        with pytest.raises(UserError, match="needs white-box access and this model gives"):
            subject.target(WhiteBoxTarget)


def test_classes_are_put_in_the_order_of_the_people(net: nn.Module) -> None:
    subject = Live(path=hold(net), image_size=32, classes=("d", "b", "a", "c")).open()
    images = torch.rand(6, *SHAPE)
    scores = net(images)
    seen = subject.showing(("a", "b"), (), 32, 3)
    assert (seen.identities, seen.classes) == (("a", "b"), 3)
    expected = torch.stack([scores[:, 2], scores[:, 1], torch.maximum(scores[:, 0], scores[:, 3])], 1)
    torch.testing.assert_close(seen.module(images), expected)
    everyone = subject.showing(("a", "b", "c", "d"), (), 32, 3)
    torch.testing.assert_close(everyone.module(images), scores[:, [2, 1, 3, 0]])
    small = subject.showing(("a", "b"), (), 64, 1)
    assert small.image_shape == (1, 64, 64)
    assert small.module(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    with pytest.raises(UserError, match=r"1 of 2 private identities are no class of the model, such as 'e'"):
        subject.showing(("a", "e"), (), 32, 3)
    unnamed = Live(path=hold(net), image_size=32).open()
    assert unnamed.showing(("x", "z"), ("w", "x", "y", "z"), 32, 3).classes == 3
    with pytest.raises(UserError, match=r"has 4 classes without names, and the private images show 5 .*--classes FILE"):
        unnamed.showing(("x",), tuple("vwxyz"), 32, 3)


def test_probabilities_become_logarithms() -> None:
    network = nn.Sequential(Small(), nn.Softmax(1)).eval()
    subject = Live(path=hold(network), image_size=32).open()
    assert subject.probabilities
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(subject.module(images).softmax(1), network(images))


class Tupled(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean((2, 3)), images


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) * float("nan")


def test_what_is_refused(net: nn.Module, tmp_path: Path) -> None:
    for text, told in (
        ("weights.pth", r"holds weights without the network\. Name the network"),
        ("nothing", r"is not a model: there is no such file or folder\. Expected a \.pt2 or \.onnx file"),
        ("absent.pt2", "does not exist, or is not a regular file"),
        ("absent_module:build", "cannot be imported"),
        ("os:getcwd", "returns str. Expected a torch.nn.Module"),
        ("builtins:pow", "cannot be called without arguments"),
    ):
        with pytest.raises(UserError, match=told):
            parse_subject(text).open()
    with pytest.raises(UserError, match=r"does not say which images it takes\. Give --image-size"):
        Live(path=hold(net)).open()
    with pytest.raises(UserError, match="fails on images of shape"):
        Live(path=hold(net), image_size=48).open()
    with pytest.raises(UserError, match=r"The model answers with tuple\. Expected a tensor"):
        Live(path=hold(Tupled()), image_size=32).open()
    with pytest.raises(UserError, match="answers with NaN or infinity to plain black"):
        Live(path=hold(Broken()), image_size=32).open()
    with pytest.raises(UserError, match="has 4 classes, and 2 names were given"):
        Live(path=hold(net), image_size=32, classes=("a", "b")).open()
    with pytest.raises(UserError, match=r"takes images of 32 x 32 px, not 64"):
        parse_subject(str(exported(net, tmp_path / "net.pt2")), image_size=64).open()
    with pytest.raises(UserError, match=r"--normalize 'twice': expected unit, signed, bytes"):
        parse_subject("timm:resnet10t", normalise="twice")
    (tmp_path / "classes.txt").write_text("a\na\n")
    with pytest.raises(UserError, match="has the class 'a' twice"):
        parse_subject("timm:resnet10t", classes=tmp_path / "classes.txt")
