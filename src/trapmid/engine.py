"""The loop that everything trained or searched runs in: devices, randomness by step, checkpoint and resume, log, progress.

The only importer of Lightning Fabric. Fabric places modules on devices and casts; what it leaves out
is here: random numbers that survive a resume, and a checkpoint that holds all of a run.
"""

import copy
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch
from torch import Tensor, nn

from trapmid.types import Stateful, UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision import Precision as PrecisionPlugin

Precision = Literal["32-true", "bf16-mixed"]
Progress = Callable[[str, int, int | None, str], None]
"""Called as progress(task, done, total, note); `total` is None while it is unknown."""

LATEST = "checkpoint.pt"
LOG = "log.jsonl"
CHECKPOINT_SECONDS = 20.0
"""A checkpoint is written when the last is older than this, and at the end of a loop."""
_PROCESS = 0
"""The number of the process in a loop's random streams. A loop has one; every number that was ever made hangs on it."""


def no_progress(task: str, done: int, total: int | None, note: str) -> None:
    """Watch nothing."""


def labelled(progress: Progress, label: str) -> Progress:
    """Tell `progress` of every task that it is `label`'s: a display may say so, a random stream must not depend on it."""
    return lambda task, done, total, note: progress(f"{task} {label}", done, total, note)


def seed_of(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: a function of its arguments alone, and unrelated between purposes."""
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random stream of its own for one purpose."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *purpose))


@contextmanager
def randomness(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, all that torch draws is a function of the arguments; outside, the caller's random state is untouched.

    Dropout and kornia's augmentations draw from torch's global generator and take no other, so the generator is forked
    rather than passed. Because a step's draws depend on the step's number and not on the steps before it, a resumed run
    needs no saved random state to end with the same numbers.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        chosen = seed_of(seed, *purpose)
        torch.default_generator.manual_seed(chosen)  # not torch.manual_seed, which reseeds devices that are not forked
        if device.type == "cuda":
            torch.cuda.manual_seed(chosen)
        yield


def choose_device(device: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device.

    Raises:
        UserError: it is neither, or a CUDA device is asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as problem:
        raise UserError(f"--device {device} is not a device. Expected auto, cpu, cuda or cuda:N.") from problem
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(
            f"--device {device}: trapmid computes on CPUs and CUDA devices. Expected auto, cpu, cuda or cuda:N."
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device {device}: this torch sees no CUDA device. Use --device cpu, or install a CUDA driver."
        )
    return chosen


@dataclass(frozen=True)
class Compute:
    """Where and how numbers are computed.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `32-true`, or `bf16-mixed` (forward passes in bfloat16, weights and sums in float32).
        max_memory: bytes that a search may take, of the process on a CPU and of tensors on a GPU; None for no limit.
    """

    device: str = "auto"
    precision: Precision = "32-true"
    max_memory: int | None = None

    @cached_property
    def fabric(self) -> "Fabric":
        """The Fabric behind it; imported at first use, since it takes seconds."""
        from lightning_fabric import Fabric

        device = choose_device(self.device)
        plugins: list[Any] = [_bf16(device)] if self.precision == "bf16-mixed" else []
        devices = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices, plugins=plugins)

    def __getstate__(self) -> dict[str, Any]:
        """What decides it; another process makes a Fabric of its own."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def target(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device; its forward pass will run in the chosen precision.

        Weights of convolutions lie channels last in memory, which is faster and not seen from outside (docs/results.md).
        """
        return self.fabric.setup_module(module.to(memory_format=torch.channels_last), move_to_device=True)


def _bf16(device: torch.device) -> "PrecisionPlugin":
    """Forward passes in bfloat16, from and to float32.

    Fabric's own plugin insists on `fabric.backward`, which float16 needs for its scaling and bfloat16 does not; here losses
    are back-propagated by whoever made them, and triggers and latents ask autograd for their gradients alone.
    """
    from lightning_fabric.plugins.precision import Precision as PrecisionPlugin
    from lightning_utilities.core.apply_func import apply_to_collection

    class BFloat16(PrecisionPlugin):
        precision = "bf16-mixed"

        def forward_context(self) -> torch.autocast:
            return torch.autocast(device.type, torch.bfloat16)

        def convert_output(self, data: Any) -> Any:
            return apply_to_collection(data, Tensor, lambda x: x.float() if x.is_floating_point() else x)

    return BFloat16()


class BestState:
    """The weights of the best moment so far, by a score where higher is better."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: dict[str, dict[str, Any]] = {}

    def offer(self, score: float, step: int, parts: Mapping[str, Stateful]) -> bool:
        """Keep a copy of `parts` if `score` beats every earlier one (ties keep the earlier, as the authors' code does)."""
        if score <= self.score:
            return False
        self.score, self.step = score, step
        self.weights = {name: copy.deepcopy(dict(part.state_dict())) for name, part in parts.items()}
        return True

    def restore(self, parts: Mapping[str, Stateful]) -> None:
        """Put the kept copy back into `parts`."""
        for name, part in parts.items():
            part.load_state_dict(self.weights[name])

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {"score": self.score, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.score, self.step, self.weights = state_dict["score"], state_dict["step"], state_dict["weights"]


def save_checkpoint(file: Path, step: int, seconds: float, state: Mapping[str, Stateful]) -> None:
    """Write a checkpoint so that a crash at any moment leaves either the old or the new one.

    Its owner alone can read it (mode 0600): a trapdoor's holds the triggers.
    """
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(new, "wb", opener=partial(os.open, mode=0o600)) as stream:
        torch.save(
            {"step": step, "seconds": seconds, "state": {name: part.state_dict() for name, part in state.items()}},
            stream,
        )
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def load_checkpoint(file: Path, state: Mapping[str, Stateful]) -> tuple[int, float]:
    """Fill `state` from a checkpoint; returns its step and the seconds spent until then.

    Raises:
        UserError: the checkpoint is of another run.
    """
    saved = torch.load(file, weights_only=True, map_location="cpu")
    if saved["state"].keys() != state.keys():
        raise UserError(
            f"{file} is a checkpoint of another run: it holds {sorted(saved['state'])}, expected {sorted(state)}. Remove it or choose another --out."
        )
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    return int(saved["step"]), float(saved["seconds"])


def peak_memory_mib() -> float:
    """The largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there includes what the parent held when it started this process
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) / 1024.0
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1024.0**2
    import resource  # there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0 if sys.platform != "darwin" else 1024.0**2)


@dataclass
class Loop:
    """A loop of steps that can be killed at any moment and resumes to the same numbers.

    Attributes:
        name: what runs: for the progress display, and the purpose of its random stream.
        steps: how many.
        seed: of the run.
        compute: device and precision.
        state: everything that changes over the steps and decides what comes next.
        folder: for the checkpoint and the log; None to keep both in memory only.
        period: steps between two rows of the log; a checkpoint is only written there.
        progress: who is told how far it is.
    """

    name: str
    steps: int
    seed: int
    compute: Compute
    state: Mapping[str, Stateful]
    folder: Path | None = None
    period: int = 100
    progress: Progress = no_progress
    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def run(
        self,
        step: Callable[[int], Mapping[str, Tensor]],
        at_period: Callable[[int], Mapping[str, float]] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[dict[str, float]]:
        """Run what is left of the loop.

        Args:
            step: does step number i (from 0) and returns scalars to log by name; each is averaged over those steps of the
                period that return it.
            at_period: called with the number of steps done at the end of every period; returns more numbers for the row.
            stop: whether there is nothing left to do, before `steps` are over; a function of what `state` holds.

        Returns:
            One row per period: `step`, `seconds`, the averages, what `at_period` gave.
        """
        done = self._resume()
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        sums: dict[str, Tensor] = {}
        counts: Counter[str] = Counter()
        over = done == self.steps or stop()
        while not over:
            with randomness(self.seed, self.name, "step", done, _PROCESS, device=self.compute.target):
                for name, value in step(done).items():
                    sums[name] = sums[name] + value.detach() if name in sums else value.detach().clone()
                    counts[name] += 1
            done += 1
            over = done == self.steps or stop()
            if done % self.period == 0 or over:
                with randomness(self.seed, self.name, "period", done, _PROCESS, device=self.compute.target):
                    extra = at_period(done) if at_period is not None else {}
                self.seconds = time.monotonic() - started
                row = {
                    "step": float(done),
                    "seconds": self.seconds,
                    **{name: float(value) / counts[name] for name, value in sums.items()},
                    **extra,
                }
                self._append(row)
                sums, counts = {}, Counter()
                if self.folder is not None and (over or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    save_checkpoint(self.folder / LATEST, done, self.seconds, self.state)
                    saved = time.monotonic()
            self.progress(self.name, done, self.steps, self._note())
        return self.rows

    def _resume(self) -> int:
        done = 0
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / LATEST).exists():
                done, self.seconds = load_checkpoint(self.folder / LATEST, self.state)
            self.rows = [row for row in read_log(self.folder / LOG) if row["step"] <= done]
            new = self.folder / (LOG + ".new")
            new.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
            new.replace(self.folder / LOG)
        return done

    def _append(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        if self.folder is not None:
            with (self.folder / LOG).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def _note(self) -> str:
        if not self.rows:
            return ""
        hidden = {"step", "seconds", "epoch"}
        return "  ".join(f"{name} {value:.3g}" for name, value in self.rows[-1].items() if name not in hidden)


def read_log(file: Path) -> list[dict[str, float]]:
    """The rows of a log; a last line cut off by a crash is left out."""
    rows: list[dict[str, float]] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
