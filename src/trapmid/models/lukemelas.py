"""Names of EfficientNet's layers in lukemelas' PyTorch package, in which weights of EfficientNet-Lite are published."""

import re
from typing import Any

_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of a block that expands its channels, and of one that does not."""
_BLOCK = re.compile(r"_blocks\.(\d{1,3})\.(\w+)\.(\w+)")


def timm_name(name: str, backbone: Any) -> str:
    """The name in timm's EfficientNet `backbone` of a tensor in lukemelas' package; other names stay as they are.

    There, blocks are numbered in one row; timm numbers them stage by stage.
    """
    layer, _, rest = name.partition(".")
    if layer in _AROUND:
        return f"{_AROUND[layer]}.{rest}"
    found = _BLOCK.fullmatch(name)
    stages = getattr(backbone, "blocks", ())
    places = [(s, b, block) for s, stage in enumerate(stages) for b, block in enumerate(stage)] if found else []
    if found is None or int(found[1]) >= len(places):
        return name
    stage, number, block = places[int(found[1])]
    layers = _EXPANDING if hasattr(block, "conv_pwl") else _PLAIN
    return f"blocks.{stage}.{number}.{layers.get(found[2], found[2])}.{found[3]}"
