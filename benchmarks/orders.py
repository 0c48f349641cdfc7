"""Attacks in their authors' order of work, compared with the order used here. Both give the same results.

The authors' code searches one restart or one identity after another, and runs the generator again for every image
that it saves. An `order-...` comparison changes only that order: both sides freeze weights, keep images channels last
and run networks in eval mode. `frozen-weights` measures what freezing saves. A `whole-...` comparison takes order,
weights and memory format as published on one side and as used here on the other. Both sides leave out random
augmentation, because two orders cannot draw the same random changes.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.label_orders import brep
from benchmarks.stage import Stage
from benchmarks.timing import CLASSES, Bench, Comparison
from trapmid.attacks import GMI, KEDMI, PLGMI, PPA, Run
from trapmid.attacks.kedmi import standing_start
from trapmid.attacks.ppa import poincare_distance
from trapmid.attacks.search import initial_latents, max_margin
from trapmid.attacks.styles import show_candidates, shown_candidates
from trapmid.augment import NoAugmentation
from trapmid.data.images import to_pixels, to_unit
from trapmid.engine import randomness
from trapmid.priors import CGAN, GAN, Strided, StyleGAN2
from trapmid.priors.semigan import SemiGAN, realness
from trapmid.types import Labels

PIXEL = 3 / 255
"""How much the images of both orders may differ, because rounding errors grow during a search."""

PPA_BATCH = 25
"""Styles of one identity that PPA's code optimises at once."""

ORDER = "published order -> ours"
WHOLE = "published order, weights that take gradients, contiguous memory -> ours"
SAVED = "Published: restart after restart, then the generator run over the batch for each picture saved."


def orders(bench: Bench) -> Iterator[Comparison]:
    """One attack after another."""
    stage = Stage(bench)
    for attack in (_gmi, _kedmi, _plgmi, brep, _ppa):
        yield from attack(stage, bench)


def _gmi(stage: Stage, bench: Bench) -> Iterator[Comparison]:
    k, each = len(stage.identities), stage.each
    # the published rate belongs to the mean over a batch, ours to each latent
    method = GMI(images_per_identity=each, search_steps=stage.steps, search_rate=0.02 / k)
    gan = stage.dcgan
    first = _starts(stage, gan)
    labels = stage.identities.to(bench.device)

    def restart(latents: Tensor) -> Tensor:
        z, velocity = latents, torch.zeros_like(latents)
        for _ in range(stage.steps):
            z = z.detach().requires_grad_()
            images = gan.decode(z, labels)
            said = stage.target.predict(images).logits
            loss = method.identity_weight * F.cross_entropy(said, labels) - gan.discriminator(images).mean()
            loss.backward()
            assert z.grad is not None
            new = method.momentum * velocity - 0.02 * z.grad
            z = (z.detach() - method.momentum * velocity + (1 + method.momentum) * new).clamp(*method.box)
            velocity = new
        return z

    def published() -> Tensor:
        return _saved_one_by_one([restart(first[:, r]) for r in range(each)], gan, labels, stage)

    networks = (gan.generator, gan.discriminator, stage.target._model)

    what = f"GMI search of {k} identities x {each} restarts, {stage.steps} steps: {ORDER}"
    ours = stage.ours(method.invert, gan)
    yield bench.compare("order-gmi", what, published, ours, note=SAVED, share=15, same=PIXEL)
    what = "the same published search: networks whose weights take gradients -> frozen"
    note = "By default, PyTorch computes gradients of the weights, too."
    thawed = _taking_gradients(networks, published)
    yield bench.compare("frozen-weights", what, thawed, published, note=note, share=15, same=PIXEL)
    what = f"GMI search of {k} identities x {each} restarts, {stage.steps} steps: {WHOLE}"
    yield bench.compare("whole-gmi", what, _contiguous(networks, thawed), ours, share=15, same=PIXEL)


def _kedmi(stage: Stage, bench: Bench) -> Iterator[Comparison]:
    k, each = len(stage.identities), stage.each
    method = KEDMI(images_per_identity=each, search_steps=stage.steps)
    gan = stage.prior(SemiGAN(width=16))
    noise = _starts(stage, gan)
    labels = stage.identities.to(bench.device)

    def published() -> Tensor:
        held = standing_start(k, gan.latent_size).to(bench.device).clone().requires_grad_()
        descent = torch.optim.Adam([held], method.search_rate)
        for number in range(stage.steps):
            with randomness(0, "kedmi search", "step", number, 0, device=bench.device):
                drawn = torch.randn(k, gan.latent_size, device=bench.device)
            images = gan.decode(held[:, 0] + (0.5 * held[:, 1]).exp() * drawn, labels)
            of = realness(gan.discriminator(images).logits)
            cost = method.identity_weight * F.cross_entropy(stage.target.predict(images).logits, labels)
            descent.zero_grad()
            (F.softplus(of).mean() - of.mean() + cost).backward()
            descent.step()
        held = held.detach()
        samples = [held[:, 0] + (0.5 * held[:, 1]).exp() * noise[:, r] for r in range(each)]
        return _saved_one_by_one(samples, gan, labels, stage)

    what = f"KED-MI search of {k} identities, {stage.steps} steps, {each} pictures each: {ORDER}"
    note = "There are no restarts to batch; the generator is run over the batch for each picture saved."
    ours = stage.ours(method.invert, gan)
    yield bench.compare("order-kedmi", what, published, ours, note=note, share=15, same=PIXEL)


def _plgmi(stage: Stage, bench: Bench) -> Iterator[Comparison]:
    k, each = len(stage.identities), stage.each
    method = PLGMI(
        images_per_identity=each, candidates=each, search_steps=stage.steps, search_augmentation=NoAugmentation()
    )
    gan = stage.prior(CGAN(networks=Strided()))
    first = _starts(stage, gan)
    labels = stage.identities.to(bench.device)

    def restart(latents: Tensor) -> Tensor:
        z = latents.clone().requires_grad_()
        descent = torch.optim.Adam([z], method.search_rate)
        for _ in range(stage.steps):
            images = gan.decode(z, labels)
            draws = [max_margin(stage.target.predict(images).logits, labels).mean() for _ in range(2)]
            descent.zero_grad()
            torch.stack(draws).sum().backward()
            descent.step()
        return z.detach()

    def published() -> Tensor:
        return _saved_one_by_one([restart(first[:, r]) for r in range(each)], gan, labels, stage)

    search = f"PLG-MI search of {k} identities x {each} restarts, {stage.steps} steps"
    ours = stage.ours(method.invert, gan)
    yield bench.compare("order-plgmi", f"{search}: {ORDER}", published, ours, note=SAVED, share=15, same=PIXEL)
    networks = (gan.generator, stage.target._model)
    whole = _contiguous(networks, _taking_gradients(networks, published))
    yield bench.compare("whole-plgmi", f"{search}: {WHOLE}", whole, ours, share=15, same=PIXEL)


def _ppa(stage: Stage, bench: Bench) -> Iterator[Comparison]:
    method = PPA(
        candidates=2 * PPA_BATCH if bench.quick else 8 * PPA_BATCH,
        starts=PPA_BATCH + 1 if bench.quick else 2 * PPA_BATCH,
        search_steps=2 if bench.quick else 14,
        selection_draws=2 if bench.quick else 20,
        images_per_identity=stage.each,
        search_augmentation=NoAugmentation(),
        selection_augmentation=NoAugmentation(),
    )
    few = stage.attacking(stage.identities[:2])
    config = StyleGAN2(latent_size=64, style_size=64, mapping_layers=3, capacity=4 * stage.size, widest=64)
    prior = config.build(CLASSES, stage.size, 3, stage.compute)
    prior.generator.requires_grad_(False)

    def shown(run: Run) -> None:
        show_candidates(prior, stage.target, method.candidates, method.truncation, method.chunk, run)

    def optimised(styles: Tensor, label: Labels) -> Tensor:
        w = styles.clone().requires_grad_()
        descent = torch.optim.Adam([w], method.search_rate, method.betas)
        for _ in range(method.search_steps):
            loss = poincare_distance(stage.target.predict(prior.synthesise(w)).logits, label.expand(len(w))).mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
        return w.detach()

    @torch.no_grad()
    def selected(styles: Tensor, label: Labels) -> Tensor:
        """The final selection among one identity's styles."""
        images = torch.cat([to_unit(to_pixels(prior.synthesise(part))) for part in styles.split(PPA_BATCH)])
        sure = torch.stack(
            [
                torch.cat([stage.target.scores(part)[:, label].squeeze(1) for part in images.split(PPA_BATCH)])
                for _ in range(method.selection_draws)
            ]
        ).mean(0)
        return images[sure.topk(method.images_per_identity).indices]

    def published(run: Run) -> Tensor:
        shown(run)
        starts = shown_candidates(run).best(few.identities, method.starts).to(bench.device)
        found = []
        for styles, label in zip(starts, few.identities.to(bench.device), strict=True):
            moved = torch.cat([optimised(part, label[None]) for part in styles.split(PPA_BATCH)])
            found.append(selected(moved, label[None]))
        return torch.cat(found).cpu()

    what = (
        f"PPA for {len(few.identities)} identities, {method.starts} styles each, {method.search_steps} steps: {ORDER}"
    )
    note = f"Published: identity after identity, {PPA_BATCH} styles at once."
    theirs, ours = few.inside(published, prior), few.ours(method.invert, prior, shown)
    yield bench.compare("order-ppa", what, theirs, ours, note=note, share=15, same=PIXEL)


def _taking_gradients(networks: Sequence[nn.Module], work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`work` with networks whose weights take gradients, which are not used."""

    def do() -> Tensor:
        for network in networks:
            network.requires_grad_(True)
        try:
            return work()
        finally:
            for network in networks:
                network.requires_grad_(False)
                network.zero_grad()

    return do


def _contiguous(networks: Sequence[nn.Module], work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """`work` with networks in PyTorch's default memory format."""

    def do() -> Tensor:
        for network in networks:
            network.to(memory_format=torch.contiguous_format)
        try:
            return work()
        finally:
            for network in networks:
                network.to(memory_format=torch.channels_last)

    return do


def _starts(stage: Stage, gan: GAN) -> Tensor:
    """The initial latents of the attacks, (k, each, latent_size)."""
    first = initial_latents(stage.identities, CLASSES, stage.each, gan.latent_size, seed=0)
    return first.to(stage.compute.torch_device)


@torch.no_grad()
def _saved_one_by_one(restarts: list[Tensor], gan: GAN, labels: Labels, stage: Stage) -> Tensor:
    """Images (k * restarts, c, h, w), by identity. For each one, the generator runs over its whole batch."""
    saved = []
    for latents in restarts:
        stage.target.scores(gan.decode(latents, labels))
        saved.append(torch.cat([to_pixels(gan.decode(latents, labels)[i, None]) for i in range(len(labels))]))
    return to_unit(torch.stack(saved, 1).flatten(0, 1)).cpu()
