"""Drop-ins in two processes with half of a batch each, and in one process with all of it.

The test is the first of two processes. The second one is this file as a program, `python -m helpers.two_processes
FOLDER`: it takes the steps of every case, then runs every check, and writes what it has seen into FOLDER.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from helpers.faces import TINY, quick_training, tiny_private
from helpers.statistics.trainings import IN_THEIR_LOSS
from trapmid.defenses import Defended, Defense, OnePass, TrapMID, train
from trapmid.trapdoor import SECRETS
from trapmid.trapdoor.settings import FeatureDiscriminator
from trapmid.types import Prediction, UserError

STEPS, BATCH = 4, 8
CASES: dict[str, Defense] = {
    **{defense.name: defense for defense in IN_THEIR_LOSS},
    "both discriminators": TrapMID(feature_discriminator=FeatureDiscriminator(width=8), blend_low=0.5),
    "every second batch": OnePass(trigger_period=2),
    "anonymous": TrapMID(anonymity_weight=1.0),
    "anonymous in one pass": OnePass(anonymity_weight=1.0),
}
SAME_ROWS = [0, 1, 2, 3, 4, 5, 6, 7]
HOSTS_FIRST = [0, 1, 4, 5, 2, 3, 6, 7]
"""OnePass poisons the first images of each process; in one process they have to be the first of all."""


class Net(nn.Module):
    """Without batch norm, with a hidden map for the defense that needs one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.Tanh())
        self.head = nn.Linear(4 * 64, 5)

    def forward(self, images: Tensor) -> Prediction:
        """Logits, features, and the map."""
        maps = self.body(images)
        return Prediction(self.head(maps.flatten(1)), maps.flatten(1), (maps,))


@contextmanager
def draws_by_image(rank: int, world: int) -> Iterator[None]:
    """Each process draws for all images, and takes the numbers of its own; so one process draws the same for each."""
    rng, rand, randint = torch.Generator().manual_seed(5), torch.rand, torch.randint

    def mine(drawn: Tensor) -> Tensor:
        return drawn.chunk(world)[rank]

    def shared(*size: Any, device: Any = None, generator: Any = None) -> Tensor:
        if generator is not None:
            return rand(*size, generator=generator)
        return mine(rand(size[0] * world, *size[1:], generator=rng))

    def shared_like(tensor: Tensor) -> Tensor:
        return mine(rand(len(tensor) * world, *tensor.shape[1:], dtype=tensor.dtype, generator=rng))

    def shared_integers(high: int, size: Sequence[int], device: Any = None, generator: Any = None) -> Tensor:
        if generator is not None:
            return randint(high, size, generator=generator)
        return mine(randint(high, (size[0] * world, *size[1:]), generator=rng))

    with (
        patch.object(torch, "rand", shared),
        patch.object(torch, "rand_like", shared_like),
        patch.object(torch, "randint", shared_integers),
    ):
        yield


def joined(defense: Defense, world: int, augment: Callable[[Tensor], Tensor] = lambda images: images) -> Any:
    """A network, the wrapper around it, its optimizer and the drop-in."""
    torch.manual_seed(1)
    network = Net().double()
    model = DistributedDataParallel(network) if world > 1 else network
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sizes: dict[str, Any] = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": 1, "steps_per_epoch": STEPS}
    defended = Defended(defense, model, optimizer, **sizes, batch_size=BATCH // world, augment=augment)
    return network, optimizer, defended


def rows_of(defense: Defense, step: int, rank: int, world: int) -> Tensor:
    """The images of a process in a step."""
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(step))[:BATCH]
    if world > 1:
        return rows[rank * BATCH // world : (rank + 1) * BATCH // world]
    return rows[HOSTS_FIRST if "onepass" in defense.name else SAME_ROWS]


def take(parts: Any, defense: Defense, steps: range, rank: int, world: int) -> None:
    """Some steps of a loop."""
    _, optimizer, defended = parts
    data = tiny_private().part("train")
    for step in steps:
        rows = rows_of(defense, step, rank, world)
        loss = defended.loss(data.images()[rows].double(), data.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def state_of(parts: Any) -> dict[str, Any]:
    """Weights and the state of the defense, without the name of the training, which is drawn."""
    network, optimizer, defended = parts
    state = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "defense": defended.state_dict()}
    stream = BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def trained(defense: Defense, rank: int, world: int, resume: Any = None, steps: range = range(STEPS)) -> dict[str, Any]:
    """The state after some steps."""
    with draws_by_image(rank, world):
        parts = joined(defense, world)
        if resume is not None:
            parts[0].load_state_dict(resume["model"])
            parts[1].load_state_dict(resume["optimizer"])
            parts[2].load_state_dict(resume["defense"])
        take(parts, defense, steps, rank, world)
        return state_of(parts)


def refusal(what: Callable[[], object]) -> str:
    """The error of a mistake."""
    try:
        what()
    except UserError as problem:
        return str(problem)
    return ""


def checks(folder: Path, rank: int) -> dict[str, Any]:
    """What only several processes can do, or do wrong."""
    defense, data = TrapMID(), tiny_private().part("train")
    images, labels = data.images()[:4].double(), data.labels[:4]
    broken = images.clone()
    broken[0, 0, 0, 0] = torch.nan
    _, _, defended = joined(defense, 2)
    one_broken = refusal(lambda: defended.loss(broken if rank == 1 else images, labels))
    step = defended.state_dict()["trapdoor"]["step"]
    file = defended.save_secrets(folder / f"secrets-{rank}")

    torch.manual_seed(1)
    bare = Net().double()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.05)
    sizes = {"num_classes": 5, "image_shape": (3, 32, 32), "epochs": 1, "steps_per_epoch": 9, "batch_size": 4}
    unwrapped = Defended(defense, bare, optimizer, **sizes, augment=lambda images: images)  # type: ignore[arg-type]

    def two_steps(mine: slice) -> None:
        for _ in range(2):
            loss = unwrapped.loss(data.images()[mine].double(), data.labels[mine])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    not_averaged = refusal(lambda: two_steps(slice(rank * 16, rank * 16 + 4)))
    alone = refusal(
        lambda: train(folder / "model", tiny_private(), model=TINY, defense=defense, training=quick_training())
    )
    return {
        "one broken": one_broken,
        "step": step,
        "secrets": [str(file.relative_to(folder)), (folder / f"secrets-{rank}" / SECRETS).exists()],
        "not averaged": not_averaged,
        "train": alone,
        "other": refusal(lambda: unwrapped.through(Net())),
    }


def seen_by(rank: int, folder: Path, half_way: Mapping[str, Any]) -> dict[str, Any]:
    """What one of two processes sees, which both have to call; `half_way` has states of one process after two steps."""
    # The first waits while the second starts: on a core that ten programs share, a minute was too short.
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=300))
    try:
        states = {name: trained(defense, rank, 2) for name, defense in CASES.items()}
        halves = {name: trained(CASES[name], rank, 2, steps=range(2)) for name in half_way}
        ended = {name: trained(CASES[name], rank, 2, half, range(2, 4)) for name, half in half_way.items()}
        found = {"states": states, "halves": halves, "ended": ended, "checks": checks(folder, rank)}
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    shared = Path(sys.argv[1])
    torch.save(seen_by(1, shared, torch.load(shared / "half.pt", weights_only=True)), shared / "seen.pt")
