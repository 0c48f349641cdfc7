"""TL-DMI (Ho et al., CVPR 2024): early layers keep what they learnt from public images and take in nothing private."""

from collections.abc import Mapping
from typing import Literal, final

from torch import nn

from trapmid.config import Fraction
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense, Findings
from trapmid.models import Classifier
from trapmid.types import UserError


@final
class TL(Defense):
    """`tl`: the first layers of a pretrained network are frozen, batch norm statistics included.

    Layers are frozen in order as long as they hold no more than `share` of all parameters; the manifest's fact
    `frozen_layers` names them. The default freezes the first eight convolutions of VGG-16, as published: 13.9 of 16.8
    million parameters are trained. The authors' code freezes parameters alone and lets batch norm statistics move.

    Attributes:
        share: the largest share of the network's parameters that is frozen.
    """

    title = "TL-DMI"
    paper = "TL-DMI (Ho et al., CVPR 2024)"
    kind: Literal["tl"] = "tl"
    share: Fraction = 0.175

    def changes(self) -> Changes:
        """Another network: some of its layers are frozen."""
        return Changes(network=self.freeze)

    def freeze(self, model: Classifier) -> Classifier:
        """Freeze the first layers.

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
                f"tl would freeze nothing: the first layer of {type(model).__name__} has more than {self.share:.0%} of "
                f"its {total:,} parameters. Raise defenses.tl.share."
            )
        return model

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """The frozen layers, the number of trained parameters, and whether there was anything to transfer."""
        del last
        layers = {name: list(layer.parameters(recurse=False)) for name, layer in context.model.named_modules()}
        facts = {
            "frozen_layers": [name for name, own in layers.items() if own and not any(p.requires_grad for p in own)],
            "trained_parameters": sum(p.numel() for p in context.model.parameters() if p.requires_grad),
        }
        if context.architecture is not None and context.architecture != context.architecture.without_pretraining():
            return Findings(facts)
        warning = (
            "The network was not pretrained, so the frozen layers kept random weights, which hold nothing learnt from "
            "public images. "
            "Name a file of public weights with --set model.weights=FILE, or a network that has some with --set "
            "model.pretrained=true."
        )
        return Findings(facts, warnings=(warning,))
