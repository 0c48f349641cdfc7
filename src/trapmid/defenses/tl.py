"""TL-DMI (Ho et al., CVPR 2024): early layers keep what they learnt from public images, so that no private detail gets into them."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, final

from torch import nn

from trapmid.config import Fraction
from trapmid.defenses.defense import Modifier, Setting
from trapmid.models import Classifier
from trapmid.types import UserError


@final
class TL(Modifier):
    """`tl`: the first layers of a pretrained network are frozen, batch norm statistics included.

    Layers are frozen in order as long as no more than `share` of all parameters are; the manifest's fact `frozen_layers` names
    them. The default is the paper's for VGG-16 as it is remembered: 13.9 of 16.8 million parameters are trained, so the first
    eight convolutions are frozen.

    Attributes:
        share: of the network's parameters, at most, that are frozen.
    """

    title = "TL-DMI"
    paper = "TL-DMI (Ho et al., CVPR 2024)"
    kind: Literal["tl"] = "tl"
    share: Fraction = 0.175

    @property
    def is_in_its_losses(self) -> bool:
        """No: it freezes a part of the network."""
        return False

    def adapt(self, model: Classifier) -> Classifier:
        """The same network with its first layers frozen.

        Raises:
            UserError: `share` is too small for the first layer.
        """
        from timm.layers import freeze_batch_norm_2d

        total = sum(parameter.numel() for parameter in model.parameters())
        frozen = 0
        for name, layer in list(model.named_modules()):
            own = list(layer.parameters(recurse=False))
            if frozen + sum(parameter.numel() for parameter in own) > self.share * total:
                break
            for parameter in own:
                parameter.requires_grad_(False)
                frozen += parameter.numel()
            if isinstance(layer, nn.BatchNorm2d):
                parent, _, last = name.rpartition(".")
                model.get_submodule(parent).add_module(last, freeze_batch_norm_2d(layer))
        if frozen == 0:
            raise UserError(
                f"tl would freeze nothing: the first layer of {type(model).__name__} has more than {self.share:.0%} of its {total:,} parameters. Raise defenses.tl.share."
            )
        return model

    def facts(self, setting: Setting) -> Mapping[str, Any]:
        """Which layers kept the weights they began with, and how many parameters were trained."""
        layers = {name: list(layer.parameters(recurse=False)) for name, layer in setting.classifier.named_modules()}
        return {
            "frozen_layers": [name for name, own in layers.items() if own and not any(p.requires_grad for p in own)],
            "trained_parameters": sum(p.numel() for p in setting.classifier.parameters() if p.requires_grad),
        }

    def advice(self, setting: Setting, last: Mapping[str, float]) -> Iterator[str]:
        """Whether there was anything to transfer."""
        del last
        if setting.architecture is None or setting.architecture == setting.architecture.without_pretraining():
            yield (
                "The frozen layers kept random weights, since the network was not pretrained: what they know is nothing, not public. "
                "Name a file of public weights with --set model.weights=FILE, or a network that has some with --set model.pretrained=true."
            )
