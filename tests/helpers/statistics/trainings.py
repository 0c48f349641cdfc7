"""Statistics of the results of trainings: of defenses, networks and priors."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.faces import CPU, TINY, network_for, quick_training, tiny_private
from helpers.precision import in_double_precision
from helpers.runs import log_of
from helpers.settings import network_of
from helpers.statistics.statistic import Statistic, above, below, within
from helpers_attacks import CLASSES, STYLE_TINY, TINY_DCGAN, TINY_GAN, TINY_SEMIGAN, faces
from trapmid.defenses import DEFENSES, DPSGD, BiDO, Defended, Defense, NoDefense, OnePass, RoLSS, TrapMID, train
from trapmid.engine import Compute, Precision, generator
from trapmid.models import Zoo
from trapmid.priors import PriorTraining
from trapmid.types import Prediction


def kind_of(defense: type[Defense]) -> str:
    """The name of a defense."""
    return str(defense.model_fields["kind"].default)


def learning(kind: type[Defense], seed: int) -> dict[str, float]:
    """The loss of clean images in the last of six epochs, divided by that in the first."""
    # within an epsilon that protects anyone, six epochs over forty images are noise
    defense = DPSGD(epsilon=1e3) if kind is DPSGD else kind()
    with TemporaryDirectory() as folder:
        out, network = Path(folder) / "model", network_for(kind_of(kind))
        settings = {"training": quick_training(epochs=6), "seed": seed, "compute": CPU}
        train(out, tiny_private(), model=network, defense=defense, **settings)  # type: ignore[arg-type]
        rows = log_of(out)
    return {"last of first": rows[-1]["loss_clean"] / rows[0]["loss_clean"]}


class Shown(nn.Sequential):
    """A network that returns a hidden map, for the defense that needs some."""

    def forward(self, images: Tensor) -> Prediction:
        """Its logits, its features and the map."""
        maps = self[2](self[1](self[0](images)))
        features = self[3](maps)
        return Prediction(self[4](features), features, (maps,))


def someone_elses_network(defense: Defense) -> nn.Module:
    """A network that trapmid did not build."""
    return (Shown if isinstance(defense, BiDO) else nn.Sequential)(
        nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)
    )


def join(defense: Defense, seed: int = 0, epochs: int = 3) -> tuple[nn.Module, torch.optim.Optimizer, Defended]:
    """A network and an optimizer that trapmid did not build, and the defense as their loss."""
    model = someone_elses_network(defense)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    options = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": epochs, "steps_per_epoch": 4, "batch_size": 10}
    return model, optimizer, Defended(defense, model, optimizer, **options, seed=seed)  # type: ignore[arg-type]


def steps_of(model: nn.Module, optimizer: torch.optim.Optimizer, defended: Defended, steps: range) -> list[float]:
    """The losses of some steps of a training loop with this defense."""
    data, losses = tiny_private().part("train"), []
    for step in steps:
        torch.manual_seed(step)
        rows = torch.randperm(len(data))[:10]
        loss = defended.loss(data.images()[rows], data.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def dropin(defense: Defense, seed: int) -> dict[str, float]:
    """How much the mean loss falls from the first twelve to the last twelve of 48 steps of such a loop."""
    torch.manual_seed(seed)
    losses = steps_of(*join(defense, seed, epochs=12), range(48))
    return {"fall": (sum(losses[:12]) - sum(losses[-12:])) / 12}


def pruned(seed: int) -> dict[str, float]:
    """The twelfth loss of a ResNet without some of its skip connections, divided by the first."""
    torch.manual_seed(seed)
    net = network_of(RoLSS(), Zoo(name="resnet18").build(2, 32, 3)).train()
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 2
    losses = []
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9)
    for _ in range(12):
        loss = F.cross_entropy(net(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return {"last of first": losses[-1] / losses[0]}


def bfloat(defense: Defense, seed: int) -> dict[str, float]:
    """The relative difference of an epoch's loss in bfloat16 from that in float32."""
    losses = {}
    for precision in get_args(Precision):
        with TemporaryDirectory() as folder:
            options = {"training": quick_training(epochs=1), "seed": seed, "compute": Compute("cpu", precision)}
            train(Path(folder) / "m", tiny_private(), model=TINY, defense=defense, **options)  # type: ignore[arg-type]
            losses[precision] = log_of(Path(folder) / "m")[0]["loss_clean"]
    return {"difference": losses["bf16-mixed"] / losses["32-true"] - 1}


def dcgan(seed: int) -> dict[str, float]:
    """The difference between a DCGAN discriminator's outputs for real and for generated images."""
    config = TINY_DCGAN.model_copy(update={"iterations": 30, "log_every": 15, "discriminator_steps": 3})
    return {"gap": config.fit(PriorTraining(faces(6, 4), CLASSES, seed, CPU)).rows[-1]["gap"]}


def cgan(seed: int) -> dict[str, float]:
    """The same difference for a conditional GAN."""
    config = TINY_GAN.model_copy(update={"iterations": 60, "log_every": 30, "rate": 2e-3, "discriminator_steps": 3})
    return {"gap": config.fit(PriorTraining(faces(6, 4), CLASSES, seed, CPU)).rows[-1]["gap"]}


def guidance(seed: int) -> dict[str, float]:
    """How much brighter images are if no guidance rewards dark ones."""

    def darkness(images: Tensor, labels: Tensor) -> Tensor:
        assert images.shape == (TINY_GAN.batch_size, 3, 32, 32)
        assert bool((labels < CLASSES).all())
        return 20 * images.mean()

    config = TINY_GAN.model_copy(update={"iterations": 40, "rate": 2e-3})
    labels = torch.arange(CLASSES).repeat(10)
    plain, pulled = (
        float(
            config.fit(PriorTraining(faces(6, 4), CLASSES, seed, CPU), guidance=wanted)
            .sample(labels, generator(seed, "sample"))
            .mean()
        )
        for wanted in (None, darkness)
    )
    return {"darker": plain - pulled}


def soft_labels(seed: int) -> dict[str, float]:
    """How well a semi-supervised discriminator agrees with soft labels at the end: its loss, of that at the start."""
    public = faces(6, 4)
    soft = F.one_hot(torch.arange(len(public)) % 2, 2).float()
    config = TINY_SEMIGAN.model_copy(update={"iterations": 40, "log_every": 10, "discriminator_steps": 2})
    rows = config.fit(PriorTraining(public, 2, seed, CPU), soft).rows
    return {"last of first": rows[-1]["soft_labels"] / rows[0]["soft_labels"]}


def stylegan(seed: int) -> dict[str, float]:
    """The mean picture's squared distance from the mean face after forty steps, of that after one."""
    public = faces(6, 4)
    config = STYLE_TINY.model_copy(update={"iterations": 40, "ema": 0.9, "log_every": 20})
    mean, labels = public.images().mean(0), torch.zeros(64, dtype=torch.int64)
    far = [
        float(
            (c.fit(PriorTraining(public, 3, seed, CPU)).sample(labels, generator(0, "s")).mean(0) - mean)
            .square()
            .mean()
        )
        for c in (config.model_copy(update={"iterations": 1}), config)
    ]
    return {"distance": far[1] / far[0]}


LEARNING = {
    f"learning with {kind_of(kind)}": Statistic(partial(learning, kind), {"last of first": below(0.9)})
    for kind in DEFENSES
}
IN_THEIR_LOSS = [
    defense
    for defense in (
        *(kind.model_validate({}) for kind in DEFENSES),
        BiDO(images_per_identity=None, label="terms-of-bido"),
    )
    if not defense.changes().beyond_loss()
]
"""Defenses that work as the loss in a training loop that trapmid did not write."""
DROPINS = {
    f"drop-in {defense.name}": Statistic(partial(dropin, defense), {"fall": above(0)}) for defense in IN_THEIR_LOSS
}
BFLOATS = {
    f"bfloat16 with {defense.kind}": Statistic(partial(bfloat, defense), {"difference": within(0.02)})
    for defense in (NoDefense(), TrapMID(), OnePass())
}
OF_TRAININGS = {
    **LEARNING,
    **DROPINS,
    **BFLOATS,
    "pruned resnet": Statistic(pruned, {"last of first": below(0.3)}),
    "gap of dcgan": Statistic(dcgan, {"gap": above(0.1)}),
    "gap of cgan": Statistic(in_double_precision()(cgan), {"gap": above(0.1)}),
    "guidance": Statistic(guidance, {"darker": above(0.1)}),
    "soft labels": Statistic(soft_labels, {"last of first": below(0.7)}),
    "stylegan2": Statistic(stylegan, {"distance": below(0.5)}),
}
