"""Searches in the authors' order of work beside ours, with equal results: what `trapmid bench` times of the attacks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trapmid.attacks import GMI, Run
from trapmid.attacks.search import cross_entropy, initial_latents, optimise, within
from trapmid.data.images import to_pixels
from trapmid.engine import Compute, generator
from trapmid.models import Tiny
from trapmid.priors import DCGAN
from trapmid.targets import WhiteBoxTarget
from trapmid.types import Pixels

Order = tuple[str, Callable[[], Tensor], Callable[[], Tensor]]
"""The two ways, in words; theirs; ours."""


class Searches:
    """One GMI search, whose parts the authors' code does one after the other or again and again (reference 4.1, 4.2)."""

    def __init__(self, compute: Compute, size: int, num_classes: int, *, quick: bool) -> None:
        self.run = Run(0, compute, folder=Path())
        self.identities = torch.arange(3 if quick else 10)
        self.restarts, self.steps, self.epochs = (2, 2, 2) if quick else (5, 10, 5)
        self.method = GMI()
        self.gan = DCGAN(width=16).build(num_classes, size, 3, compute).freeze()
        model = compute.place(Tiny().build(num_classes, size, 3))
        self.target = WhiteBoxTarget(model, num_classes, (3, size, size))
        latents = initial_latents(self.identities, num_classes, self.restarts, self.gan.latent_size, seed=0)
        self.latents = latents.to(compute.target)
        self.public = torch.rand(64, 3, size, size, generator=generator(0, "public")).to(compute.target)

    def orders(self) -> dict[str, Order]:
        """By name."""
        k, r = len(self.identities), self.restarts
        return {
            "gmi-restarts": (
                f"GMI search of {k} identities with {r} restarts, {self.steps} steps: restart after restart -> one batch",
                self.restart_after_restart,
                self.all_restarts,
            ),
            "decode-once": (
                f"pictures of {k * r} latents: the generator run for each picture saved -> once",
                self.decode_for_each_picture,
                self.decode_once,
            ),
            "soft-labels": (
                f"the target's soft labels over {self.epochs} epochs: asked at every step -> once per image",
                self.ask_at_every_step,
                self.ask_once,
            ),
        }

    def restart_after_restart(self) -> Tensor:
        """(k, restarts, latent_size)."""
        return torch.stack([self._search(self.latents[:, r], 1) for r in range(self.restarts)], 1)

    def all_restarts(self) -> Tensor:
        """(k, restarts, latent_size)."""
        return self._search(self.latents.flatten(0, 1), self.restarts).view_as(self.latents)

    def _search(self, latents: Tensor, each: int) -> Tensor:
        labels = self.identities.repeat_interleave(each).to(self.run.compute.target)
        identity_loss = cross_entropy(self.target)

        def loss(part_of: Tensor, part: slice) -> Tensor:
            images = self.gan.decode(part_of, labels[part])
            return self.method.identity_weight * identity_loss(images, labels[part]) - self.gan.discriminator(images)

        return optimise(
            latents,
            loss,
            steps=self.steps,
            rate=self.method.search_rate,
            run=self.run,
            name="bench",
            chunk=self.method.chunk,
            optimizer=partial(torch.optim.SGD, momentum=self.method.momentum, nesterov=True),
            project=within(self.method.box),
        )

    @torch.no_grad()
    def _decode(self) -> Pixels:
        latents = self.latents.flatten(0, 1)
        return to_pixels(self.gan.decode(latents, self.identities.repeat_interleave(self.restarts)))

    def decode_for_each_picture(self) -> Tensor:
        """(k restarts, c, h, w), uint8."""
        return torch.stack([self._decode()[number] for number in range(len(self.latents) * self.restarts)])

    def decode_once(self) -> Tensor:
        """(k restarts, c, h, w), uint8."""
        return self._decode()

    def ask_at_every_step(self) -> Tensor:
        """(images, num_classes), the last epoch's."""
        for _ in range(self.epochs):
            answers = self.target.scores(self.public)
        return answers

    def ask_once(self) -> Tensor:
        """(images, num_classes)."""
        answers = self.target.scores(self.public)
        for _ in range(self.epochs - 1):
            answers = answers[torch.arange(len(answers))]
        return answers
