"""Networks of timm by name."""

import re
from typing import Any

from trapmid.errors import UserError, needs


def timm_network(name: str, told: str, image_size: int | None = None, **options: Any) -> Any:
    """A network of timm.

    Args:
        name: its name in timm, such as `resnet50` or `resnet50.tv_in1k`.
        told: how the user named it, for messages.
        image_size: height and width in pixels of its images, for networks that are built for one size; None for timm's.
        options: see `timm.create_model`. Without `pretrained`, the weights are random.

    Raises:
        UserError: timm is not installed, or has no such network. The message lists the closest names.
    """
    with needs("zoo", told):
        import timm

    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained()):
        near = timm.list_models(f"*{re.split('[_.]', name)[0]}*")[:5]
        hint = f"Did you mean {', '.join(near)}?" if near else "See timm.list_models()."
        raise UserError(f"{told} is not a timm model. {hint}")
    if image_size is None:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, img_size=image_size, **options)
    except TypeError:  # only transformers have a parameter for the image size
        return timm.create_model(name, **options)


def classifiers(network: Any) -> tuple[str, ...]:
    """The names of the layers of a timm network that give its classes; empty if it has none."""
    found = network.pretrained_cfg.get("classifier") or ()
    return (found,) if isinstance(found, str) else tuple(found)
