"""The effect of memory format and precision on the time of a training step."""

from collections.abc import Callable, Iterator

import torch

from benchmarks.steps import Step, descend
from benchmarks.timing import CLASSES, Comparison, Setting, Work
from trapmid.models import Tiny
from trapmid.priors import Strided
from trapmid.priors.cgan import hinge_loss


def layouts(setting: Setting) -> Iterator[Comparison]:
    """Both for a plain training step, a Trap-MID step and a step of a GAN."""
    nets: dict[str, tuple[str, Callable[[torch.memory_format], Work]]] = {
        "tiny": ("plain step of the tiny classifier", lambda layout: Step(setting, Tiny(), layout=layout).plain),
        "trapmid": (
            "Trap-MID step of the tiny classifier",
            lambda layout: Step(setting, Tiny(), layout=layout).trapmid,
        ),
        "gan": ("step of the strided GAN, generator and discriminator", lambda layout: _gan_step(setting, layout)),
    }
    for name, (what, make) in nets.items():
        plain, last = make(torch.contiguous_format), make(torch.channels_last)
        yield setting.compare(f"channels-last-{name}", f"{what}: contiguous -> channels_last", plain, last)
        mixed = torch.autocast(setting.device.type, torch.bfloat16)(last)
        yield setting.compare(f"bf16-{name}", f"{what}: float32 -> bf16 autocast", last, mixed)


def _gan_step(setting: Setting, layout: torch.memory_format) -> Work:
    generator, discriminator = Strided().build(CLASSES, setting.size, 3)
    generator, discriminator = (net.to(setting.device).to(memory_format=layout) for net in (generator, discriminator))
    of_generator, of_discriminator = (torch.optim.Adam(n.parameters(), 2e-4) for n in (generator, discriminator))
    latents = torch.randn(setting.batch, Strided().latent_size, device=setting.device)
    real, labels = setting.images, setting.labels

    def step() -> None:
        descend(of_generator, -discriminator(generator(latents, labels), labels).mean())
        with torch.no_grad():
            generated = generator(latents, labels)
        descend(of_discriminator, hinge_loss(discriminator(real, labels), discriminator(generated, labels)))

    return step
