"""The loop that every training and every search runs in, and the log that it writes."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from trapmid import together
from trapmid.engine.checkpoints import LATEST, load_checkpoint, save_checkpoint
from trapmid.engine.compute import Compute
from trapmid.engine.progress import Progress, no_progress
from trapmid.engine.seeds import randomness
from trapmid.files import write_atomic
from trapmid.termination import Terminated, postponed
from trapmid.types import Stateful, UserError

LOG = "log.jsonl"
CHECKPOINT_SECONDS = 20.0
"""A loop writes a checkpoint if the last one is older than this, when it ends, and when the process is asked to end."""
_ALL = 0
"""The number in the random stream of a period, which is the same in all processes that train together."""


@dataclass
class Loop:
    """A loop of steps that can be killed at any moment and resumes to the same numbers.

    Processes that train together run the same loop, each with random numbers of its own. The log has the means over all
    of them, and the first one writes it and the checkpoints, with which any number of processes can go on.

    Attributes:
        name: what the loop does. The progress display shows it, and the random stream of the loop depends on it.
        steps: the number of steps.
        seed: the seed of the run.
        compute: the device and the precision.
        state: everything that changes from step to step and that later steps depend on, by name.
        folder: where the checkpoint and the log are written. If it is None, the loop writes no checkpoint and keeps the
            log in memory.
        period: the number of steps between two rows of the log. Checkpoints are written at the end of a period, unless
            the process is asked to end.
        progress: called after every step.
        rows: the log so far, one row per period.
        seconds: the time spent in the loop so far, including the time before a resume.
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
            step: takes the number of a step, counted from 0, carries it out and returns scalars to log, by name. The
                log has the mean of each over the steps of the period that returned it.
            at_period: called with the number of completed steps at the end of every period. It returns more numbers for
                the row of the log.
            stop: whether to end the loop before `steps` are completed. Its answer may depend only on `state`, so that a
                resumed loop ends at the same step.

        Returns:
            One row per period: `step`, `seconds`, the means of what `step` returned, and what `at_period` returned.

        Raises:
            UserError: `step` returned NaN or infinity, or the checkpoint in `folder` is of another run.
            Terminated: the process was asked to end during a step. After that step, a checkpoint was written.
        """
        period = _Period()
        done = self._resume(period)
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        over = done == self.steps or stop()
        alone = together.processes() == 1  # several processes would have to end after the same step
        with postponed() if alone and self.folder is not None else nullcontext(_never) as asked_to_end:
            while not over:
                with randomness(self.seed, self.name, "step", done, together.rank(), device=self.compute.torch_device):
                    period.add(step(done))
                done += 1
                over, ending = done == self.steps or stop(), asked_to_end()
                if done % self.period == 0 or over:
                    with randomness(self.seed, self.name, "period", done, _ALL, device=self.compute.torch_device):
                        extra = at_period(done) if at_period is not None else {}
                    self.seconds = time.monotonic() - started
                    averages = together.mean(period.averages(), self.compute.torch_device)
                    self._refuse_divergence(averages, done)
                    self._append({"step": float(done), "seconds": self.seconds, **averages, **extra})
                    period = _Period()
                    if over or time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self._save(done, period)
                        saved = time.monotonic()
                elif ending:
                    self._refuse_divergence(period.averages(), done)
                    self.seconds = time.monotonic() - started
                self.progress(self.name, done, self.steps, self._note())
                if ending:
                    self._save(done, period)
                    raise Terminated(saved=True)
        return self.rows

    def write_start(self) -> None:
        """Write a checkpoint of the state before the first step, unless there is a checkpoint of a later step."""
        if self.folder is not None and not (self.folder / LATEST).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._save(0, _Period())

    def _save(self, done: int, period: "_Period") -> None:
        if self.folder is not None and together.rank() == 0:
            save_checkpoint(self.folder / LATEST, done, self.seconds, self.state, period)

    def _refuse_divergence(self, averages: Mapping[str, float], done: int) -> None:
        """Raise before numbers that are not finite reach the log, a checkpoint or the result.

        This is checked once per period, because a check at every step would wait for the GPU each time.
        """
        for name, value in averages.items():
            if not math.isfinite(value):
                first = max(0, done - 1) // self.period * self.period + 1
                raise UserError(
                    f"{self.name} diverged: `{name}` is {value} between steps {first} and {done} of {self.steps}. "
                    "The steps of this period were not saved. Lower the learning rate, e.g. "
                    "--set training.optimizer.rate=0.001, or look for broken images with `trapmid doctor`; then run "
                    "the command again with another --out."
                )

    def _resume(self, period: "_Period") -> int:
        done = 0
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / LATEST).exists():
                done, self.seconds = load_checkpoint(self.folder / LATEST, self.state, period)
            self.rows = [row for row in read_log(self.folder / LOG) if row["step"] <= done]
            if self.rows:  # an earlier version kept running after a divergence
                self._refuse_divergence({name: v for name, v in self.rows[-1].items() if name.startswith("loss")}, done)
            together.wait_for_all()
            if together.rank() == 0:
                write_atomic(self.folder / LOG, "".join(json.dumps(row) + "\n" for row in self.rows))
        return done

    def _append(self, row: dict[str, float]) -> None:
        self.rows.append(row)
        if self.folder is not None and together.rank() == 0:
            with (self.folder / LOG).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def _note(self) -> str:
        if not self.rows:
            return ""
        hidden = {"step", "seconds", "epoch"}
        return "  ".join(f"{name} {value:.3g}" for name, value in self.rows[-1].items() if name not in hidden)


class _Period:
    """The sums of what the steps of a period returned, which a checkpoint within a period has to hold."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            known = self._sums.get(name)
            self._sums[name] = value.detach().clone() if known is None else known.to(value.device) + value.detach()
            self._counts[name] += 1

    def averages(self) -> dict[str, float]:
        return {name: float(value) / self._counts[name] for name, value in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "counts": dict(self._counts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sums, self._counts = dict(state_dict["sums"]), Counter(state_dict["counts"])


def _never() -> bool:
    return False


def read_log(file: Path) -> list[dict[str, float]]:
    """Read the rows of a log. A last line that a crash cut off is left out."""
    rows: list[dict[str, float]] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
