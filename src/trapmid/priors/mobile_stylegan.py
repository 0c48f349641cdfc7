"""MobileStyleGAN (Belousov 2021), a distilled StyleGAN2 of faces, from files in OpenVINO's format.

Nobody trains this prior here, and it has seen neither the target nor the attacker's public images.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from trapmid.config import CountOrZero, Deviation, Side
from trapmid.engine import Compute, Loop, randomness
from trapmid.priors.openvino import Graph, OpenVINONet, Port, read_graph
from trapmid.priors.prior import PriorConfig, PriorTraining, StylePrior
from trapmid.priors.style_networks import Features
from trapmid.priors.stylegan2 import FOR_THE_MEAN
from trapmid.reading import read_tensors
from trapmid.types import Images, UserError

NAMES = tuple(f"mobilestylegan_ffhq_{net}.{kind}" for net in ("mnet", "snet") for kind in ("xml", "bin"))
"""The four files in a folder of this prior: mapping and synthesis, operations and weights."""
MEAN = "mean.safetensors"
_MODULATION = re.compile(r"m\.(?:conv1|layers\.(?P<layer>\d{1,2})\.(?P<part>up|conv1|conv2|to_img))(?:\.conv)?\.mod")


class FFHQMobile(PriorConfig):
    """`ffhq-mobile`: MobileStyleGAN, distilled from a StyleGAN2 of FFHQ's faces at 1,024 px; it is not trained here.

    Its two networks are read from files in OpenVINO's format, as the package `random-face` 2021.6.9.0 carries them.

    Attributes:
        files: the four files: operations and weights of the mapping, then of the synthesis. In recipes and on the
            command line, `path` may name the folder that holds them instead.
        crop: side in pixels of the square of a picture that is resized to the public images; None for the whole
            picture. The defaults put the faces where they are in the central 108 x 108 pixels of CelebA.
        top: number of pixels above that square, which is centred horizontally.
    """

    title: ClassVar[str] = "MobileStyleGAN of FFHQ"
    paper: ClassVar[str] = "MobileStyleGAN (Belousov 2021), distilled from StyleGAN2 (Karras et al., CVPR 2020)"
    deviations: ClassVar[tuple[Deviation, ...]] = (
        Deviation(
            "mean style",
            "that of the StyleGAN2 which was distilled",
            "the mean of 10,000 styles",
            "the exported networks do not hold it",
        ),
    )
    kind: Literal["ffhq-mobile"] = "ffhq-mobile"
    files: tuple[Path, ...] = Field((), max_length=4)
    crop: Side | None = 712
    top: CountOrZero = 104

    @model_validator(mode="before")
    @classmethod
    def _folder(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "path" not in values:
            return values
        folder = Path(str(values["path"]))
        if absent := [name for name in NAMES if not (folder / name).is_file()]:
            raise ValueError(
                f"{folder} has no {absent[0]}. Name a folder with {', '.join(NAMES)}, e.g. unpacked from the wheel of "
                "random-face 2021.6.9.0, or name the four files"
            )
        rest = {name: value for name, value in values.items() if name != "path"}
        return {"files": [folder / name for name in NAMES], **rest}

    def fit(self, setting: PriorTraining) -> "MobileStyle":
        """Read the files and compute the mean style.

        Raises:
            UserError: the files are missing or hold other networks, or the public images are grey.
        """
        prior = self.build(setting.num_classes, setting.public.image_size, setting.public.channels, setting.compute)
        with torch.no_grad(), randomness(setting.seed, setting.name, "mean style", device=prior.device):
            latents = torch.randn(FOR_THE_MEAN, prior.latent_size, device=prior.device)
            prior.mean = torch.cat([prior.map(part) for part in latents.split(1000)]).mean(0)
        size = torch.tensor(float(sum(p.numel() for p in prior.generator.parameters())))
        loop = Loop(setting.name, 1, setting.seed, setting.compute, {}, setting.folder, progress=setting.progress)
        prior.rows = loop.run(lambda _: {"parameters": size})
        return prior

    def build(self, num_classes: int, image_size: int, channels: int, compute: Compute) -> "MobileStyle":
        """The generator, with a mean style of zeros, on the device.

        Raises:
            UserError: see `fit`.
        """
        if channels != 3:
            raise UserError(f"ffhq-mobile makes pictures with 3 channels; the images have {channels}.")
        self.check_size(image_size)
        mapping, synthesis = read_graph(*self.files[:2]), read_graph(*self.files[2:])
        return MobileStyle(self, mapping, synthesis, num_classes, image_size, compute)

    def check_size(self, image_size: int) -> None:
        """Refuse to go without the files, whatever the size.

        Raises:
            UserError: the config does not name four files.
        """
        del image_size
        if len(self.files) != 4:
            raise UserError(
                f"ffhq-mobile reads four files, and {len(self.files)} are named. Name the folder that has them, e.g. "
                """--set attacks.ppa.prior='{"kind": "ffhq-mobile", "path": "FOLDER"}'."""
            )

    def open(
        self, folder: Path, num_classes: int, image_shape: tuple[int, int, int], compute: Compute
    ) -> "MobileStyle":
        """See `PriorConfig.open`. The networks come from the files of this config."""
        channels, size, _ = image_shape
        prior = self.build(num_classes, size, channels, compute)
        mean = read_tensors(folder / MEAN).get("mean")
        if mean is None or mean.shape != prior.mean.shape:
            raise UserError(f"{folder / MEAN} does not hold a mean style. Remove {folder} and make the prior again.")
        prior.mean = mean.to(prior.device)
        return prior


@final
class MobileStyle(StylePrior):
    """A generator whose noise is fixed, so that a picture is a function of its styles.

    Blocks are the first convolution and the seven layers after it. Each layer has two styles, and the last picture has
    one, as in StyleGAN2: the style of a layer's upsampling is that of its first convolution.

    Attributes:
        mean: (style_size,), the centre of truncation.
    """

    def __init__(
        self,
        config: FFHQMobile,
        mapping: Graph,
        synthesis: Graph,
        num_classes: int,
        image_size: int,
        compute: Compute,
    ) -> None:
        self.config, self.num_classes, self.image_size = config, num_classes, image_size
        self.latent_size, self.style_size = mapping.shape(mapping.parameter)[-1], mapping.shape(mapping.result)[-1]
        self.device, self.rows = compute.torch_device, []
        self.ends = _ends_of_blocks(synthesis)
        picture = synthesis.shape(synthesis.result)
        self.blocks, self.side = len(self.ends), picture[-1]
        if not self.ends or picture[:2] != (1, 3) or synthesis.shape(synthesis.parameter) != (1, self.style_size):
            raise UserError(f"{config.files[2]} does not hold the synthesis that belongs to {config.files[0]}.")
        if config.crop is not None and config.crop + config.top > self.side:
            raise UserError(
                f"ffhq-mobile cannot keep a square of {config.crop} px below {config.top} px of a picture of "
                f"{self.side} px. Set prior.crop and prior.top."
            )
        layers, synthesis = _with_styles_apart(synthesis, config.files[2], self.blocks)
        self.style_of = layers
        self.mapping, self.synthesis = compute.place(OpenVINONet(mapping)), compute.place(OpenVINONet(synthesis))
        self.generator = nn.ModuleDict({"mapping": self.mapping, "synthesis": self.synthesis}).eval()
        self.mean = torch.zeros(self.style_size, device=self.device)

    def map(self, latents: Tensor, truncation: float = 1.0) -> Tensor:
        """See `StylePrior.map`."""
        graph = self.mapping.graph
        (styles,) = self.mapping({graph.parameter: latents}, [graph.result])
        return self.mean.lerp(styles, truncation)

    def synthesise(self, styles: Tensor) -> Images:
        """See `StylePrior.synthesise`."""
        return self._framed(self._compute(styles, None, self.synthesis.graph.result))

    def features_at(self, styles: Tensor, blocks: int, start: Features | None = None) -> Features:
        """See `StylePrior.features_at`. There is no picture before the last block is finished."""
        maps = self._compute(styles, start, self.ends[blocks - 1])
        return Features(blocks, maps, maps.new_zeros(len(maps), 3, 1, 1))

    def from_features(self, features: Features, styles: Tensor) -> Images:
        """See `StylePrior.from_features`."""
        return self._framed(self._compute(styles, features, self.synthesis.graph.result))

    def _compute(self, styles: Tensor, start: Features | None, wanted: Port) -> Tensor:
        if styles.ndim == 2:
            styles = styles[:, None].expand(-1, 2 * self.blocks, -1)
        given = {port: styles[:, layer] for port, layer in self.style_of.items()}
        given[self.synthesis.graph.parameter] = styles[:, 0]  # for the size of the batch
        if start is not None:
            given[self.ends[start.blocks - 1]] = start.maps
        (found,) = self.synthesis(given, [wanted])
        return found

    def _framed(self, picture: Tensor) -> Images:
        if (crop := self.config.crop) is not None:
            top, left = self.config.top, (self.side - crop) // 2
            picture = picture[:, :, top : top + crop, left : left + crop]
        if picture.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
        return picture * 0.5 + 0.5

    def save(self, folder: Path) -> list[str]:
        """Write the mean style to `folder`. The networks stay in the files of the config."""
        save_file({"mean": self.mean.cpu()}, folder / MEAN)
        return [MEAN]


def _ends_of_blocks(synthesis: Graph) -> list[Port]:
    """The output of each block: the activation of the first convolution, then every second one."""
    activations = [node for node in synthesis.nodes.values() if node.operation[0] == "PReLU"]
    return [next(iter(node.outputs)) for node in activations[::2]]


def _with_styles_apart(synthesis: Graph, file: Path, blocks: int) -> tuple[dict[Port, int], Graph]:
    """The network with one input for each layer that takes a style, and by input the number of its style."""
    nodes, styles = dict(synthesis.nodes), dict[Port, int]()
    for number in synthesis.takers(synthesis.parameter):
        if nodes[number].operation[0] != "MatMul":
            continue  # the size of the batch
        (product,) = nodes[number].outputs
        after = [nodes[taker].inputs for taker in synthesis.takers(product)]
        names = [synthesis.names[port] for inputs in after for port in inputs if port in synthesis.names]
        found = _MODULATION.match(names[0]) if len(names) == 1 else None
        if found is None:
            raise UserError(
                f"{file} is not the synthesis of MobileStyleGAN: a layer of it takes styles in another way."
            )
        block = 0 if found["layer"] is None else int(found["layer"]) + 1
        style = 2 * block + {None: 0, "up": -1, "conv1": -1, "conv2": 0, "to_img": 1}[found["part"]]
        if style >= 2 * blocks:
            raise UserError(
                f"{file} is not the synthesis of MobileStyleGAN: it has styles for more than its {blocks} blocks."
            )
        port = Port(-1 - len(styles), 0)
        styles[port] = style
        nodes[number] = nodes[number]._replace(inputs=(port, *nodes[number].inputs[1:]))
    return styles, Graph(nodes, synthesis.constants, synthesis.names, synthesis.parameter, synthesis.result)
