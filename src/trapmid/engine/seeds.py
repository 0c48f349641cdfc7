"""Random numbers as a function of (seed, purpose, step)."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose. It depends on the arguments alone; seeds of different purposes are unrelated."""
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose, with a random stream of its own."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *purpose))


@contextmanager
def randomness(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, everything that torch draws follows from the arguments; afterwards the caller's random state is restored.

    Dropout and kornia's augmentations draw from torch's global generator and take no other, so the generator is forked
    rather than passed. Because a step's draws depend on the step's number and not on the steps before it, a resumed run
    needs no saved random state to end with the same numbers.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        chosen = seed_of(seed, *purpose)
        torch.default_generator.manual_seed(chosen)  # not torch.manual_seed, which reseeds devices that are not forked
        if device.type == "cuda":  # not torch.cuda.manual_seed, which seeds the current device
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(chosen)
        yield
