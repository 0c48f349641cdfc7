"""The effect of memory format and precision on the time of a training step."""

from collections.abc import Callable, Iterator

import torch

from benchmarks.steps import Step, descend
from benchmarks.timing import CLASSES, Bench, Comparison, Work
from trapmid.models import Tiny
from trapmid.priors import Strided
from trapmid.priors.cgan import hinge_loss


def layouts(bench: Bench) -> Iterator[Comparison]:
    """Both for a plain training step, a Trap-MID step and a step of a GAN."""
    nets: dict[str, tuple[str, Callable[[torch.memory_format], Work]]] = {
        "tiny": ("plain step of the tiny classifier", lambda layout: Step(bench, Tiny(), layout=layout).plain),
        "trapmid": (
            "Trap-MID step of the tiny classifier",
            lambda layout: Step(bench, Tiny(), layout=layout).trapmid,
        ),
        "gan": ("step of the strided GAN, generator and discriminator", lambda layout: gan_step(bench, layout)),
    }
    for name, (what, make) in nets.items():
        plain, last = make(torch.contiguous_format), make(torch.channels_last)
        yield bench.compare(f"channels-last-{name}", f"{what}: contiguous -> channels_last", plain, last)
        mixed = torch.autocast(bench.device.type, torch.bfloat16)(last)
        yield bench.compare(f"bf16-{name}", f"{what}: float32 -> bf16 autocast", last, mixed)


def gan_step(bench: Bench, layout: torch.memory_format) -> Work:
    """A step of the strided GAN, generator and discriminator."""
    generator, discriminator = Strided().build(CLASSES, bench.size, 3)
    generator, discriminator = (net.to(bench.device).to(memory_format=layout) for net in (generator, discriminator))
    of_generator, of_discriminator = (torch.optim.Adam(n.parameters(), 2e-4) for n in (generator, discriminator))
    latents = torch.randn(bench.batch, Strided().latent_size, device=bench.device)
    real, labels = bench.images, bench.labels

    def step() -> None:
        descend(of_generator, -discriminator(generator(latents, labels), labels).mean())
        with torch.no_grad():
            generated = generator(latents, labels)
        descend(of_discriminator, hinge_loss(discriminator(real, labels), discriminator(generated, labels)))

    return step
