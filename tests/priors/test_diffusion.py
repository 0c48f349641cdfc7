"""The U-Net and the diffusion model around it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from helpers_attacks import CLASSES, CPU, SIZE, TINY_DIFFUSION, faces
from trapmid.engine import generator
from trapmid.priors import Diffusion, DiffusionPrior, PriorTraining, UNet
from trapmid.priors.noise_schedule import evenly
from trapmid.priors.unet import Attention, Stage, sinusoids
from trapmid.types import UserError

SHAPE = (3, SIZE, SIZE)


def built(seed: int = 0) -> DiffusionPrior:
    """A model whose last layers are random too, so that everything matters."""
    torch.manual_seed(seed)
    network = TINY_DIFFUSION.networks.build(CLASSES, SIZE, 3)
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return DiffusionPrior(CPU.place(network), TINY_DIFFUSION, CLASSES, SHAPE)


def test_the_published_network_has_the_weights_that_its_layers_add_up_to() -> None:
    """Counted by hand from Diff-MI's constants: width 128, multiples 1 to 4, 3 blocks, attention at 16 and 8 px."""
    with torch.device("meta"):
        network = UNet().build(1000, 64, 3)
    code = 512

    def stage(before: int, after: int, attends: bool) -> int:
        count = 2 * before + (9 * before + 1) * after + 2 * after * (code + 1) + 2 * after + (9 * after + 1) * after
        count += 0 if before == after else (before + 1) * after
        return count + (2 * after + (after + 1) * 4 * after if attends else 0)

    widths = (128, 256, 384, 512)
    total = 1001 * code + (128 + 1) * code + (code + 1) * code + (27 + 1) * 128
    down = [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 2 + [(256, 384)] + [(384, 384)] * 2
    down += [(384, 512)] + [(512, 512)] * 2
    total += sum(stage(before, after, after >= 384) for before, after in down)
    total += sum((9 * width + 1) * width for width in widths[:3])
    total += stage(512, 512, True) + stage(512, 512, False)
    skips = [128, *[128] * 3, 128, *[256] * 3, 256, *[384] * 3, 384, *[512] * 3]
    now = 512
    for after in reversed(widths):
        for _ in range(4):
            total += stage(now + skips.pop(), after, after >= 384)
            now = after
        total += (9 * now + 1) * now if after > 128 else 0
    assert not skips
    total += 2 * 128 + (9 * 128 + 1) * 3
    assert sum(weight.numel() for weight in network.parameters()) == total


def test_it_begins_by_predicting_no_noise() -> None:
    network = TINY_DIFFUSION.networks.build(CLASSES, SIZE, 3)
    assert not network(torch.randn(2, *SHAPE), torch.tensor([3, 50]), torch.tensor([0, CLASSES])).any()


def test_time_label_and_every_weight_matter() -> None:
    network = built().generator
    noisy, times, labels = torch.randn(2, *SHAPE), torch.tensor([3, 50]), torch.tensor([0, CLASSES])
    out = network(noisy, times, labels)
    out.square().sum().backward()
    assert out.shape == noisy.shape
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name
    assert not torch.allclose(out, network(noisy, times + 1, labels))
    assert not torch.allclose(out[:1], network(noisy, times, labels + torch.tensor([1, 0]))[:1])
    torch.testing.assert_close(out[:1], network(noisy[:1], times[:1], labels[:1]), atol=1e-4, rtol=1e-4)


def test_a_stage_is_the_published_block() -> None:
    """Norm, SiLU, convolution; norm scaled by 1 + scale and shifted; SiLU, convolution; the input added."""
    torch.manual_seed(0)
    block, x, code = Stage(8, 16, 12, 0), torch.randn(2, 8, 4, 4), torch.randn(2, 12)
    torch.nn.init.normal_(block.leave[1].weight)  # type: ignore[arg-type]
    first, linear, last = block.enter[2], block.modulation[1], block.leave[1]
    inner = first(F.silu(F.group_norm(x, 8, eps=1e-5)))
    scale, shift = F.linear(F.silu(code), linear.weight, linear.bias).split(16, 1)  # type: ignore[arg-type]
    inner = F.group_norm(inner, 16, eps=1e-5) * (1 + scale[..., None, None]) + shift[..., None, None]
    expected = F.conv2d(x, block.skip.weight, block.skip.bias) + last(F.silu(inner))  # type: ignore[arg-type]
    torch.testing.assert_close(block(x, code), expected)


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    torch.nn.init.normal_(ours.leave.weight)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight[:, :, 0, 0])
        theirs.in_proj_bias.copy_(ours.project.bias)  # type: ignore[arg-type]
        theirs.out_proj.weight.copy_(ours.leave.weight[:, :, 0, 0])
        theirs.out_proj.bias.zero_()
    x = torch.randn(2, 16, 3, 5)
    words = ours.norm(x).flatten(2).mT
    expected = x + theirs(words, words, words, need_weights=False)[0].mT.unflatten(2, (3, 5))
    torch.testing.assert_close(ours(x), expected)


def test_the_code_of_a_time_step_is_that_of_diffusers() -> None:
    embeddings: Any = pytest.importorskip("diffusers.models.embeddings")
    times = torch.tensor([0, 7, 999])
    expected = embeddings.get_timestep_embedding(times, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoids(times, 32), expected, atol=1e-5, rtol=1e-5)


def test_guidance_extrapolates_from_no_label() -> None:
    prior, noisy = built(), torch.randn(2, *SHAPE)
    times, labels = torch.tensor([3, 50]), torch.tensor([0, 2])
    with_label = prior.predicted(noisy, times, labels)
    without = prior.predicted(noisy, times, torch.full_like(labels, CLASSES))
    torch.testing.assert_close(prior.noise(noisy, times, labels), 3 * with_label - 2 * without, atol=1e-4, rtol=1e-4)


def test_a_velocity_is_turned_into_noise() -> None:
    prior, noisy, labels = built(), torch.randn(1, *SHAPE), torch.tensor([1])
    times, answer = torch.tensor([30]), built().generator(noisy, torch.tensor([30]), labels)
    signal, spread = float(prior.schedule.signal[30]), float(prior.schedule.spread[30])
    torch.testing.assert_close(prior.predicted(noisy, times, labels), signal * answer + spread * noisy)
    prior.config = prior.config.model_copy(update={"predicts": "noise"})
    torch.testing.assert_close(prior.predicted(noisy, times, labels), answer)


def test_images_have_the_gradients_of_their_latents_and_weights() -> None:
    """Steps are computed again in the backward pass, which gives the gradients of a plain one."""
    prior, labels = built(), torch.tensor([0, 2])
    latents = torch.randn(2, prior.latent_size, generator=generator(0, "latents"), requires_grad=True)
    images = prior.decode(latents, labels)
    with torch.no_grad():
        torch.testing.assert_close(images, prior.decode(latents, labels))
    images.sum().backward()
    again = latents.detach().clone().requires_grad_()
    weight = prior.generator.label.weight
    of_latents, of_labels = latents.grad, weight.grad
    weight.grad = None
    plain = prior.schedule.dpm_solver(
        again.view(2, *SHAPE),
        evenly(prior.steps - 1, prior.config.solver_steps),
        lambda noisy, time: prior.noise(noisy, prior.at(time, labels), labels),
    )
    ((plain + 1) / 2).clamp(0, 1).sum().backward()
    torch.testing.assert_close(of_latents, again.grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(of_labels, weight.grad, atol=1e-3, rtol=1e-3)
    assert of_labels is not None
    assert of_labels[[0, 2, CLASSES]].any(1).all()


@pytest.mark.slow
def test_it_learns_to_generate_what_a_label_shows() -> None:
    """Two people's images under two labels: samples of a label are nearer to the mean image of its own person."""
    public = faces(2, 6)
    rows = torch.stack([torch.nonzero(public.labels == person).flatten() for person in range(2)])
    config = TINY_DIFFUSION.model_copy(update={"iterations": 250})
    prior = config.fit(PriorTraining(public, 2, 0, CPU), pseudo_labels=rows)
    labels = torch.arange(2).repeat_interleave(10)
    samples = prior.sample(labels, generator(0, "samples"))
    means = torch.stack([public.images()[row].mean(0) for row in rows])
    nearest = (samples[:, None] - means).square().flatten(2).mean(2).argmin(1)
    assert float((nearest == labels).float().mean()) >= 0.9
    losses = [row["denoising"] for row in prior.rows]
    # Over 16 seeds 0.73 to 0.85 of it, and after ten times as many steps two thirds: patches of 4 px hide most noise.
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]


def test_it_is_opened_as_it_was_saved(tmp_path: Path) -> None:
    prior = built()
    assert prior.save(tmp_path) == ["generator.safetensors"]
    again = TINY_DIFFUSION.open_generator(tmp_path, CLASSES, SHAPE, CPU)
    labels = torch.arange(CLASSES)
    assert torch.equal(again.sample(labels, generator(1, "x")), prior.sample(labels, generator(1, "x")))


def test_refuses_images_that_cannot_be_halved_so_often() -> None:
    with pytest.raises(UserError, match="multiple of 8 px; these have 28 px"):
        TINY_DIFFUSION.networks.build(CLASSES, 28, 3)


def test_refuses_a_start_of_another_shape() -> None:
    wider = TINY_DIFFUSION.model_copy(
        update={"iterations": 1, "networks": TINY_DIFFUSION.networks.model_copy(update={"width": 8})}
    )
    with pytest.raises(UserError, match="networks of other shapes"):
        wider.fit(PriorTraining(faces(2, 2), CLASSES, 0, CPU), start=built())


def test_constants() -> None:
    config = Diffusion()
    assert (config.steps, config.variances, config.rate, config.iterations) == (1000, (1e-4, 0.02), 1e-4, 50_000)
    assert (config.batch_size, config.predicts) == (150, "noise")
    assert (config.ema, config.guidance, config.solver_steps) == (0.9999, 3.0, 10)
    network = config.networks
    assert (network.width, network.multiples, network.blocks) == (128, (1, 2, 3, 4), 3)
    assert (network.attention, network.heads, network.patch) == ((16, 8), 4, 1)
