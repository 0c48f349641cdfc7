"""A program of `torch.export` in a .pt2 file."""

from pathlib import Path
from typing import Any, Literal, final

import torch

from trapmid.errors import shown
from trapmid.manifests import sha256
from trapmid.subjects.archive import check_archive
from trapmid.subjects.network import Exported
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import UserError


@final
class ProgramFile(SubjectConfig):
    """`program`: a network that `torch.export.save` wrote to a .pt2 file, with gradients.

    Export it in eval mode, with one input, images (n, channels, height, width), and a batch of any size
    (`dynamic_shapes=({0: Dim.DYNAMIC},)`). A file that could run code is rejected before torch loads it.
    """

    title = "Exported program"
    paper = "PyTorch: torch.export"
    kind: Literal["program"] = "program"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "ProgramFile | None":
        """See `SubjectConfig.named`. Accepts a path that ends in .pt2."""
        return cls(path=text) if text.endswith(".pt2") and weights is None else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        file = Path(self.path)
        if not file.is_file():
            raise UserError(f"{file} does not exist, or is not a regular file. Expected a .pt2 file.")
        check_archive(file)
        try:
            program = torch.export.load(file)
            program._guards_code = []  # Python code that the module would run; answers are checked instead
            network: Any = program.module(check_guards=False)
        except Exception as problem:  # torch raises many exceptions on files of another version
            raise UserError(
                f"{file} cannot be loaded by torch {torch.__version__}: {shown(problem)}. Export the model again with "
                "this version."
            ) from problem
        shapes = [
            tuple(node.meta["val"].shape)
            for node in program.graph.nodes
            if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
        ]
        if len(shapes) != 1 or len(shapes[0]) != 4 or not all(isinstance(side, int) for side in shapes[0][1:]):
            told = " and ".join(shown(shape) for shape in shapes) or "nothing"
            raise UserError(
                f"{file} takes {told}. Expected one input of images, (n, channels, height, width), whose batch alone "
                "may have any size."
            )
        batch, *shape = shapes[0]
        return Loaded(
            module=Exported(network, batch if isinstance(batch, int) else None),
            access=WhiteBoxTarget,
            digest=sha256(file)[:16],
            shape=(shape[0], shape[1], shape[2]),
        )
