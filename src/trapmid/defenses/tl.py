"""TL-DMI (Ho et al., CVPR 2024): early layers are frozen after pretraining on public images."""

from collections.abc import Mapping
from typing import Literal, final

from torch import nn

from trapmid.config import Deviation, Fraction
from trapmid.defenses.changes import Changes
from trapmid.defenses.context import TrainingContext
from trapmid.defenses.defense import Defense, Findings
from trapmid.errors import needs
from trapmid.models import Classifier
from trapmid.models.ir import IRNet
from trapmid.models.vgg16 import VGG16Net
from trapmid.types import UserError


@final
class TL(Defense):
    """`tl`: the first layers of a pretrained network are frozen. The manifest's fact `frozen_layers` names them.

    The authors freeze the first eight convolutions of VGG-16, so that 13.9 of 16.8 million parameters are trained, the
    first 6 of 24 units of Face.evoLVe's IR-50, and the first 47 of 50 units of IR-152. The stem of the last two stays
    trainable, because an attribute is misspelt in their code. They train at a constant rate with momentum 0.9 and a
    weight decay of 1e-4: VGG-16 at 0.08 for 200 epochs in batches of 64, IR-50 at 0.008 for 200 epochs in batches of 8,
    IR-152 at 0.01 for 100 epochs in batches of 64.

    Attributes:
        layers: which layers are frozen: the `published` ones, which for any other network are those of `share`; or by
            `share`: in order, as long as they hold no more than a share of all parameters.
        share: the largest share of the network's parameters that is frozen.
        statistics: whether the batch norm statistics of frozen layers keep `moving`, as published, or are `frozen`.
            Moving ones are made of private images.
    """

    title = "TL-DMI"
    paper = "TL-DMI (Ho et al., CVPR 2024)"
    deviations = (
        Deviation(
            "optimizer and schedule",
            "SGD at a constant rate, see the docstring; the scheduler in their code is never reached",
            "the recipe's, for every defense",
            "otherwise, a comparison of defenses would also compare optimizers",
        ),
        Deviation(
            "first weights of Face.evoLVe",
            "random, since the network is missing in the list of those whose weights are loaded",
            "those that the recipe names",
            "frozen random units would show nothing about transfer",
        ),
        Deviation(
            "networks that the authors did not train",
            "nothing",
            "the first layers with up to 17.5 % of the parameters",
            "the share that is frozen in VGG-16",
        ),
    )
    kind: Literal["tl"] = "tl"
    layers: Literal["published", "share"] = "published"
    share: Fraction = 0.175
    statistics: Literal["moving", "frozen"] = "moving"

    def changes(self) -> Changes:
        """Another network: some of its layers are frozen."""
        return Changes(network=self.freeze)

    def freeze(self, model: Classifier) -> Classifier:
        """Freeze the first layers.

        Raises:
            UserError: `share` is too small for the first layer.
        """
        frozen = published_layers(model) if self.layers == "published" else None
        if frozen is None:
            frozen = first_layers(model, self.share)
        if not frozen:
            total = sum(parameter.numel() for parameter in model.parameters())
            raise UserError(
                f"tl would freeze nothing: the first layer of {type(model).__name__} has more than {self.share:.0%} of "
                f"its {total:,} parameters. Raise defenses.tl.share."
            )
        for name, layer in list(model.named_modules()):
            if name not in frozen:
                continue
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
            if self.statistics == "frozen" and isinstance(layer, nn.BatchNorm2d):
                with needs("zoo", "tl with statistics=frozen"):
                    from timm.layers import freeze_batch_norm_2d

                parent, _, last = name.rpartition(".")
                model.get_submodule(parent).add_module(last, freeze_batch_norm_2d(layer))
        return model

    def findings(self, context: TrainingContext, last: Mapping[str, float]) -> Findings:
        """The frozen layers, the number of trained parameters, and whether there was anything to transfer."""
        del last
        layers = {name: list(layer.parameters(recurse=False)) for name, layer in context.model.named_modules()}
        facts = {
            "frozen_layers": [name for name, own in layers.items() if own and not any(p.requires_grad for p in own)],
            "trained_parameters": sum(p.numel() for p in context.model.parameters() if p.requires_grad),
        }
        if context.architecture is not None and context.architecture.is_pretrained:
            return Findings(facts)
        warning = (
            "The network was not pretrained, so the frozen layers kept random weights, which hold nothing learnt from "
            "public images. "
            "Name a file of public weights with --set model.weights=FILE, or a network that has some with --set "
            "model.pretrained=true."
        )
        return Findings(facts, warnings=(warning,))


def first_layers(model: nn.Module, share: float) -> set[str]:
    """The names of a network's first layers, in order, that together hold no more than `share` of its parameters."""
    most = share * sum(parameter.numel() for parameter in model.parameters())
    names: set[str] = set()
    held = 0
    for name, layer in model.named_modules():
        held += sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        if held > most:
            break
        if next(layer.parameters(recurse=False), None) is not None:
            names.add(name)
    return names


IR_UNITS = {24: 6, 50: 47}
"""The number of first units that are frozen, by the number of units of the network."""
VGG_CHILDREN = 27
"""The number of first layers of VGG-16 that are frozen, including activations and poolings."""


def published_layers(model: nn.Module) -> set[str] | None:
    """The names of the layers that the authors freeze; None for networks that they do not use."""
    if isinstance(model, VGG16Net):
        blocks = [
            f"blocks.{number}.{name}"
            for number, block in enumerate(model.blocks)
            for name, _ in block.named_children()
            if int(name) < VGG_CHILDREN
        ]
        return set(blocks)
    if isinstance(model, IRNet) and len(model.body) in IR_UNITS:
        units = [f"body.{number}." for number in range(IR_UNITS[len(model.body)])]
        return {name for name, _ in model.named_modules() if name.startswith(tuple(units))}
    return None
