"""A network in an ONNX file: queried through onnxruntime, or converted to a module with gradients."""

import warnings
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from trapmid.errors import shown
from trapmid.reach import OnnxModel
from trapmid.subjects.network import Exported
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, ScoreTarget, WhiteBoxTarget
from trapmid.types import Images, UserError

LAST_OPSET = 17
"""The last operator set of ONNX that onnx2torch fully supports. Later ones changed types, not functions."""

DIFFERS = 1e-3
"""The largest difference between the probabilities of both networks that counts as a rounding error."""


@final
class OnnxFile(SubjectConfig):
    """`onnx`: an ONNX file; with white-box access, converted by onnx2torch and compared with onnxruntime's answers.

    Needs the extra `trapmid[onnx]`.
    """

    title = "ONNX file"
    paper = "ONNX; onnxruntime; onnx2torch (ENOT, 2021)"
    kind: Literal["onnx"] = "onnx"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "OnnxFile | None":
        """See `SubjectConfig.named`. Accepts a path that ends in .onnx."""
        return cls(path=text) if text.endswith(".onnx") and weights is None else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`. Without white-box access, the network is queried through onnxruntime."""
        asked = OnnxModel(Path(self.path))
        module: nn.Module = asked
        if access is WhiteBoxTarget:
            module = _converted(Path(self.path), asked)
        return Loaded(
            module=module,
            access=WhiteBoxTarget if access is WhiteBoxTarget else ScoreTarget,
            digest=asked.digest,
            shape=asked.image_shape,
        )


@final
class Converted(nn.Module):
    """A converted network with its own data type and one output, the first."""

    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, images: Images) -> Tensor:
        """The first output of the network, in float32."""
        answer: Any = self.network(images.to(self.kind))
        return (answer[0] if isinstance(answer, list | tuple) else answer).float()


def _converted(file: Path, asked: OnnxModel) -> nn.Module:
    """Convert the network to a module, and check that its answers equal those of onnxruntime.

    Raises:
        UserError: onnx2torch is missing or cannot convert the network, or the answers differ.
    """
    try:
        import onnx
        from onnx2torch import convert
    except ImportError as problem:
        raise UserError(
            "White-box access to an ONNX file takes onnx2torch: pip install 'trapmid[onnx]'. Or ask it for scores "
            "alone: --access scores."
        ) from problem
    instead = "Give --access scores, or the network itself: a .pt2 file, or package.module:factory with --weights FILE."
    try:
        model = onnx.load(file)
        _prepare(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx2torch copies read-only arrays of the file
            network = convert(model).eval()
    except Exception as problem:  # onnx and onnx2torch raise many exceptions on unknown networks
        raise UserError(f"onnx2torch cannot convert {file}: {shown(problem)}. {instead}") from problem
    dims = model.graph.input[0].type.tensor_type
    fixed = dims.shape.dim[0].dim_value or None
    kind = {10: torch.float16, 11: torch.float64}.get(dims.elem_type, torch.float32)
    module = Exported(Converted(network, kind), fixed).requires_grad_(False)
    images = torch.rand(8, *asked.image_shape, generator=torch.Generator().manual_seed(0))
    images[:2] = torch.tensor([0.0, 1.0])[:, None, None, None]
    try:
        with torch.no_grad():
            own, theirs = module(images), asked(images).exp()
            own = own if asked.probabilities else own.softmax(1)
            apart = float((own - theirs).abs().max()) if own.shape == theirs.shape else 1.0
    except Exception as problem:  # the converted network may fail in many ways
        raise UserError(f"The network that onnx2torch made of {file} fails: {shown(problem)}. {instead}") from problem
    if not apart < DIFFERS:
        raise UserError(
            f"The network that onnx2torch made of {file} is another one: its probabilities differ from onnxruntime's "
            f"by up to {apart:.2g} on random images. {instead}"
        )
    return module


def _prepare(model: Any) -> None:
    """Change an ONNX model so that onnx2torch can convert it and none of its texts becomes code.

    Names of nodes would become part of generated Python code, so nodes are numbered instead. Identity nodes, which
    exporters write for shared weights, are removed. The operator set is lowered to one that onnx2torch supports. The
    answers are compared afterwards with those of the original file.
    """
    same = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
    outputs = {value.name for value in model.graph.output}
    kept = [node for node in model.graph.node if node.op_type != "Identity" or node.output[0] in outputs]
    for number, node in enumerate(kept):
        node.name = f"node{number}"
        for place, name in enumerate(node.input):
            while name in same:
                name = same[name]
            node.input[place] = name
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.value_info[:]
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = min(opset.version, LAST_OPSET)
