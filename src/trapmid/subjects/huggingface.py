"""A folder that Hugging Face's `save_pretrained` wrote."""

import json
from pathlib import Path
from typing import Any, Literal, final

from torch import Tensor, nn

from trapmid.config import fingerprint
from trapmid.errors import shown
from trapmid.manifests import sha256
from trapmid.reading import read_json
from trapmid.subjects.inputs import Normalise
from trapmid.subjects.subject import Loaded, SubjectConfig
from trapmid.targets import LabelTarget, WhiteBoxTarget
from trapmid.types import Images, UserError

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


@final
class ByKeyword(nn.Module):
    """A transformers image classifier, which is called with the keyword argument `pixel_values`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Images) -> Tensor:
        """The logits of the model."""
        return self.network(pixel_values=images).logits


@final
class HuggingFaceFolder(SubjectConfig):
    """`huggingface`: a local folder of `AutoModelForImageClassification`, with safetensors and its processor's numbers.

    Needs the package `transformers`. Code in the folder is not run, and nothing is downloaded.
    """

    title = "Hugging Face folder"
    paper = "transformers (Wolf et al., EMNLP 2020)"
    kind: Literal["huggingface"] = "huggingface"

    @classmethod
    def named(cls, text: str, weights: Path | None) -> "HuggingFaceFolder | None":
        """See `SubjectConfig.named`. Accepts a folder with a config.json."""
        return cls(path=text) if weights is None and (Path(text) / CONFIG).is_file() else None

    def load(self, access: type[LabelTarget]) -> Loaded:
        """See `SubjectConfig.load`."""
        del access
        folder = Path(self.path)
        if not (folder / CONFIG).is_file():
            raise UserError(f"{folder} has no {CONFIG}. Expected a folder that save_pretrained wrote.")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            other = [one.name for one in folder.iterdir() if one.suffix in (".bin", ".pt", ".pth", ".ckpt")]
            raise UserError(
                f"{folder} has no .safetensors file{f', but {other[0]}, a pickle' if other else ''}. Save it again "
                "with model.save_pretrained(FOLDER), which writes safetensors."
            )
        try:
            from transformers import AutoModelForImageClassification
        except ImportError as problem:
            raise UserError(
                "A Hugging Face folder takes the package transformers: pip install transformers."
            ) from problem
        try:
            network: Any = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except Exception as problem:  # transformers raises many exceptions on unknown folders
            raise UserError(f"transformers cannot open {folder}: {shown(problem)}.") from problem
        names = network.config.id2label or {}
        told = tuple(str(names[number]) for number in range(len(names)))
        unnamed = told == tuple(f"LABEL_{number}" for number in range(len(told)))
        processor = read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else {}
        return Loaded(
            module=ByKeyword(network.eval()),
            access=WhiteBoxTarget,
            digest=fingerprint([sha256(one) for one in (folder / CONFIG, *files)]),
            shape=_shape(processor, network.config, self.image_size),
            names=() if unnamed else told,
            normalise=_normalise(folder, processor),
        )


def _shape(processor: dict[str, Any], config: Any, stated: int | None) -> tuple[int, int, int] | None:
    """The shape of images: the processor's crop or size, or otherwise the size in the config of the network."""
    size = processor.get("crop_size") if processor.get("do_center_crop") else None
    size = size or processor.get("size") or getattr(config, "image_size", None)
    channels = int(getattr(config, "num_channels", 3) or 3)
    if isinstance(size, dict):
        size = (size.get("height") or size.get("shortest_edge"), size.get("width") or size.get("shortest_edge"))
    sides = (size, size) if isinstance(size, int) else tuple(size or ())
    if stated is not None:
        sides = (stated, stated)  # networks for any size are often trained at a size other than the processor's
    return (channels, sides[0], sides[1]) if len(sides) == 2 and all(isinstance(one, int) for one in sides) else None


def _normalise(folder: Path, processor: dict[str, Any]) -> Normalise | None:
    """The normalisation of the processor, expressed for images in [0, 1]; None if there is no processor."""
    if not processor:
        return None
    mean, std = (0.0,), (1.0,)
    if processor.get("do_normalize"):
        mean, std = processor.get("image_mean") or mean, processor.get("image_std") or std
    try:
        factor = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
        scale = 255 * factor  # of an image in [0, 1] after rescaling
        return Normalise(tuple(float(m) / scale for m in mean), tuple(float(s) / scale for s in std))
    except (TypeError, ValueError, ZeroDivisionError) as problem:
        raise UserError(f"{folder / PROCESSOR} has no usable numbers: {shown(json.dumps(processor))}.") from problem
