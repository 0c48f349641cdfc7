"""Randomness by purpose, and loops that can be killed at any moment."""

import copy
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.faces import CPU
from helpers.runs import Killed, kill_after, log_of, without_seconds
from trapmid.engine import (
    LATEST,
    LOG,
    BestState,
    Compute,
    Loop,
    Precision,
    choose_device,
    generator,
    labelled,
    load_checkpoint,
    randomness,
    read_log,
    save_checkpoint,
    seed_of,
)
from trapmid.types import Prediction, UserError

words = st.lists(st.one_of(st.integers(0, 10**6), st.text(max_size=8)), max_size=3)


@given(seed=st.integers(0, 2**40), purpose=words)
@settings(max_examples=40, deadline=None)
def test_randomness_is_a_function_of_its_arguments_and_leaves_the_global_stream_alone(
    seed: int, purpose: list[str | int]
) -> None:
    before = torch.get_rng_state()
    draws = []
    for noise in range(2):
        torch.manual_seed(noise)
        outside = torch.get_rng_state()
        with randomness(seed, *purpose):
            draws.append(torch.rand(3))
        assert torch.equal(torch.get_rng_state(), outside)
    torch.set_rng_state(before)
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], torch.rand(3, generator=generator(seed, *purpose)))
    assert 0 <= seed_of(seed, *purpose) < 2**63


def test_randomness_survives_an_exception() -> None:
    before = torch.get_rng_state()

    def fails() -> None:
        with randomness(1, "x"):
            torch.rand(3)
            raise Killed

    with pytest.raises(Killed):
        fails()
    assert torch.equal(torch.get_rng_state(), before)


def test_purposes_are_unrelated() -> None:
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, "a", "1"), (0, "a1"), (1, "a")]
    assert len({seed_of(*key) for key in keys}) == len(keys)  # type: ignore[arg-type]


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UserError, match=r"--device gpu is not a device\. Expected auto, cpu, cuda or cuda:N"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"sees no CUDA device\. Use --device cpu"):
            choose_device("cuda:0")
    with pytest.raises(UserError, match=r"--device cpu:7: a machine has one CPU device"):
        choose_device("cpu:7")


def test_a_cuda_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"--device cuda:2: this machine has 2 CUDA device\(s\), numbered from 0"):
        choose_device("cuda:2")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compute_goes_to_another_process(precision: Precision) -> None:
    here = Compute("cpu", precision, max_memory=7)
    assert here.torch_device == torch.device("cpu")
    there = pickle.loads(pickle.dumps(here))
    assert there == here
    assert there.place(nn.Linear(2, 2))(torch.ones(1, 2)).dtype == torch.float32


def test_bfloat16_is_for_forward_passes_alone_and_survives_a_deep_copy() -> None:
    """A discriminator may be a copy of the classifier: the copy has to run its own weights."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 3)
            self.seen: list[torch.dtype] = []

        def forward(self, x: Tensor) -> Prediction:
            logits = self.inner(x)
            self.seen.append(logits.dtype)
            return Prediction(logits, logits, (logits, torch.arange(2)))

    x = torch.rand(4, 64)
    module = Pair()
    plain = module(x)
    placed = Compute("cpu", "bf16-mixed").place(module)
    output = placed(x)
    assert placed is module
    assert module.seen == [torch.float32, torch.bfloat16]
    assert isinstance(output, Prediction)
    assert output.posterior is None
    assert [part.dtype for part in (output.logits, *output.hidden)] == [torch.float32, torch.float32, torch.int64]
    torch.testing.assert_close(output.logits, plain.logits, rtol=0, atol=0.02)
    assert not torch.equal(output.logits, plain.logits)
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    twin = copy.deepcopy(placed)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert not twin(x).logits.any()
    assert torch.equal(placed(x).logits, output.logits)
    assert twin.seen[-1] == torch.bfloat16


class Walk:
    """A random walk whose every step depends on all before it."""

    def __init__(self, folder: Path | None, steps: int = 11, calls: int = 0, name: str = "walk") -> None:
        self.net = nn.Linear(2, 1)
        with torch.no_grad():
            self.net.weight.fill_(0.5)
            self.net.bias.zero_()
        self.adam = torch.optim.Adam(self.net.parameters(), lr=0.1)
        state = {"net": self.net, "adam": self.adam}
        self.seen: list[int] = []
        self.loop = Loop(name, steps, 0, CPU, state, folder, period=3, progress=kill_after(calls))

    def step(self, number: int) -> Mapping[str, Tensor]:
        self.seen.append(number)
        loss = (self.net(torch.rand(4, 2)) - torch.rand(4, 1)).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss": loss, "number": torch.tensor(float(number))}

    def run(self) -> list[dict[str, float]]:
        return self.loop.run(self.step, lambda done: {"draw": float(torch.rand(()))})

    @property
    def weights(self) -> list[float]:
        return [*self.net.weight.flatten().tolist(), *self.net.bias.tolist()]


def test_rows_average_over_the_period(tmp_path: Path) -> None:
    rows = Walk(tmp_path).run()
    assert [row["step"] for row in rows] == [3, 6, 9, 11]
    assert [row["number"] for row in rows] == [1, 4, 7, 9.5]
    assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(rows))
    assert read_log(tmp_path / LOG) == rows
    assert without_seconds(Walk(None).run()) == without_seconds(rows)  # a folder changes no number


def test_a_name_is_averaged_over_the_steps_that_report_it() -> None:
    def step(number: int) -> dict[str, torch.Tensor]:
        always, seldom = torch.tensor(float(number)), torch.tensor(10.0 + number)
        return {"always": always} if number % 3 else {"always": always, "seldom": seldom}

    rows = Loop("seldom", 8, 0, CPU, {}, period=4).run(step)
    assert [(row["always"], row["seldom"]) for row in rows] == [(1.5, 11.5), (5.5, 16.0)]


@pytest.mark.parametrize("calls", range(1, 12))
@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_killed_anywhere_it_resumes_to_the_same_rows_and_weights(tmp_path: Path, calls: int) -> None:
    whole = Walk(None)
    expected = without_seconds(whole.run())
    with pytest.raises(Killed):
        Walk(tmp_path, calls=calls).run()
    resumed = Walk(tmp_path)
    assert without_seconds(resumed.run()) == expected
    assert resumed.weights == whole.weights
    assert resumed.seen == list(range(11 if calls == 11 else calls // 3 * 3, 11))
    assert without_seconds(read_log(tmp_path / LOG)) == expected


@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_killed_within_a_step(tmp_path: Path) -> None:
    walk = Walk(tmp_path)

    def step(number: int) -> Mapping[str, Tensor]:
        if number == 7:
            raise Killed
        return walk.step(number)

    with pytest.raises(Killed):
        walk.loop.run(step, lambda done: {"draw": float(torch.rand(()))})
    resumed, whole = Walk(tmp_path), Walk(None)
    assert without_seconds(resumed.run()) == without_seconds(whole.run())
    assert resumed.weights == whole.weights


@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_a_checkpoint_is_its_owners_alone_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with pytest.raises(Killed):
            Walk(tmp_path, calls=10).run()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / LATEST).stat().st_mode) == 0o600


def test_checkpoints_are_written_by_the_clock(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Walk(tmp_path, calls=10).run()  # a fraction of a second: no checkpoint was due
    assert not (tmp_path / LATEST).exists()
    assert len(read_log(tmp_path / LOG)) == 3
    rows = Walk(tmp_path).run()  # starts over, and so does the log
    assert [row["step"] for row in rows] == [3, 6, 9, 11]
    assert without_seconds(rows) == without_seconds(Walk(None).run())


@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_log_ahead_of_the_checkpoint_and_cut_off(tmp_path: Path) -> None:
    expected = without_seconds(Walk(None).run())
    with pytest.raises(Killed):
        Walk(tmp_path, calls=7).run()
    with (tmp_path / LOG).open("a") as stream:
        stream.write(json.dumps({"step": 9.0, "seconds": 1.0, "loss": 99.0}) + "\n" + '{"step": 11.0, "lo')
    assert [row["step"] for row in read_log(tmp_path / LOG)] == [3, 6, 9]
    assert without_seconds(Walk(tmp_path).run()) == expected
    assert without_seconds(read_log(tmp_path / LOG)) == expected


def test_stops_before_its_steps_are_over_and_stays_stopped(tmp_path: Path) -> None:
    def run() -> list[int]:
        seen: list[int] = []
        state = nn.Linear(1, 1, bias=False)
        state.weight.data.zero_()
        loop = Loop("walk", 100, 0, CPU, {"state": state}, tmp_path, period=5)

        def step(number: int) -> Mapping[str, Tensor]:
            seen.append(number)
            state.weight.data += 1
            return {"at": state.weight.sum()}

        rows = loop.run(step, stop=lambda: float(state.weight.detach()) >= 7)
        assert [row["step"] for row in rows] == [5, 7]
        return seen

    assert run() == list(range(7))
    assert run() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.usefixtures("every_period_a_checkpoint")
def test_what_diverges_ends_with_the_step_and_a_cure_and_again_when_it_resumes(tmp_path: Path, value: float) -> None:
    def step(number: int) -> Mapping[str, Tensor]:
        return {"loss": torch.tensor(value if number >= 7 else 1.0)}

    def diverged() -> str:
        with pytest.raises(UserError, match="Lower the learning rate") as raised:
            Loop("train", 20, 0, CPU, {"net": nn.Linear(1, 1)}, tmp_path, period=5).run(step)
        return str(raised.value)

    said = diverged()
    assert said.startswith(f"train diverged: `loss` is {value} between steps 6 and 10 of 20.")
    assert [row["step"] for row in read_log(tmp_path / LOG)] == [5]
    assert diverged() == said


def test_what_an_earlier_version_kept_of_a_divergence_is_refused(tmp_path: Path) -> None:
    state = {"net": nn.Linear(1, 1)}
    save_checkpoint(tmp_path / LATEST, 10, 1.0, state)
    (tmp_path / LOG).write_text('{"step": 5.0, "loss": 1.0}\n{"step": 10.0, "loss": NaN}\n')
    with pytest.raises(UserError, match="train diverged: `loss` is nan between steps 6 and 10 of 10"):
        Loop("train", 10, 0, CPU, state, tmp_path, period=5).run(lambda number: {})


def test_name_decides_what_is_drawn() -> None:
    def rows(name: str) -> list[dict[str, float]]:
        return without_seconds(Walk(None, name=name).run())

    assert rows("walk") == rows("walk") != rows("stroll")


def test_a_label_is_for_show() -> None:
    told: list[str] = []
    labelled(lambda task, *_: told.append(task), "of mine")("walk", 1, 2, "")
    assert told == ["walk of mine"]


def test_checkpoint_of_another_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / LATEST, 3, 1.0, {"net": nn.Linear(2, 1), "judge": nn.Linear(1, 1)})
    with pytest.raises(
        UserError, match=r"checkpoint of another run: it holds \['judge', 'net'\], expected \['adam', 'net'\]"
    ):
        Walk(tmp_path).run()


def test_checkpoint_round_trip_and_atomicity(tmp_path: Path) -> None:
    class Unwilling:
        def state_dict(self) -> dict[str, Any]:
            raise Killed

        def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    net, file = nn.Linear(2, 1), tmp_path / LATEST
    save_checkpoint(file, 3, 1.5, {"net": net})
    with pytest.raises(Killed):
        save_checkpoint(file, 4, 2.5, {"net": Unwilling()})
    other = nn.Linear(2, 1)
    assert load_checkpoint(file, {"net": other}) == (3, 1.5)
    assert torch.equal(other.weight, net.weight)


def test_best_state_keeps_a_copy() -> None:
    class Nested:
        """Like a trapdoor: a module within a dictionary within the state."""

        def __init__(self) -> None:
            self.inner = nn.Linear(1, 1)

        def state_dict(self) -> dict[str, Any]:
            return {"inner": self.inner.state_dict(), "step": 1}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.inner.load_state_dict(state_dict["inner"])

    def fill(value: float) -> None:
        with torch.no_grad():
            net.weight.fill_(value)
            nested.inner.weight.fill_(value)

    net, nested, best = nn.Linear(1, 1), Nested(), BestState()
    parts = {"net": net, "nested": nested}
    accepted = []
    for step, score in enumerate([0.2, 0.5, 0.5, 0.3]):
        fill(float(step))
        accepted.append(best.offer(score, step, parts))
    assert accepted == [True, True, False, False]  # ties keep the earlier
    assert (best.score, best.step) == (0.5, 1)
    copied = BestState()
    copied.load_state_dict(best.state_dict())
    for state in (best, copied):
        fill(9.0)
        state.restore(parts)
        assert float(net.weight.detach()) == 1.0
        assert float(nested.inner.weight.detach()) == 1.0


ZYGOTE = """
    import os, sys, torch
    from pathlib import Path
    from helpers.faces import CPU, TINY, quick_training, tiny_private
    from trapmid.engine import loop
    from trapmid.defenses import TrapMID, train

    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    for folder in sys.stdin:
        pid = os.fork()
        if pid == 0:
            print("pid", os.getpid(), flush=True)
            train(
                Path(folder.strip()), tiny_private(), model=TINY, defense=TrapMID(), compute=CPU, seed=1,
                training=quick_training(epochs=8, schedule="one-cycle"),
                progress=lambda task, done, total, note: print("done", done, flush=True),
            )
            os._exit(0)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Trainings:
    """A process that has imported everything and forks trainings, which can be killed and need not import."""

    def __init__(self) -> None:
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{textwrap.dedent(ZYGOTE)}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, kill_at: int | None = None) -> tuple[list[int], int]:
        """The steps that a training reported, and its exit code.

        From step `kill_at` on it is killed where it happens to be.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        pid, steps = 0, []
        for line in self.process.stdout:
            word, number = line.split()
            if word == "ended":
                return steps, int(number)
            if word == "pid":
                pid = int(number)
                continue
            steps.append(int(number))
            if steps[-1] == kill_at:
                os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"the process of the trainings ended: {self.process.wait()}")


@pytest.fixture
def trainings() -> Iterator[Trainings]:
    found = Trainings()
    yield found
    found.process.communicate(timeout=20)  # closes its input, which ends it


@pytest.mark.slow
def test_kill_9_and_resume(tmp_path: Path, trainings: Trainings) -> None:
    """Killed twice, somewhere behind two given steps, a training ends as if nothing had been."""
    first, code = trainings.run(tmp_path / "killed", kill_at=6)
    assert code == -signal.SIGKILL
    assert first[0] == 1
    assert first[-1] < 32
    assert not (tmp_path / "killed").exists()
    second, code = trainings.run(tmp_path / "killed", kill_at=19)
    assert code == -signal.SIGKILL
    assert second[0] > 4  # it went on from a checkpoint
    assert not (tmp_path / "killed").exists()
    third, code = trainings.run(tmp_path / "killed")
    assert code == 0
    assert third[0] > 16
    whole, code = trainings.run(tmp_path / "whole")
    assert (whole, code) == (list(range(1, 33)), 0)
    for name in ("killed/model.safetensors", "killed-secrets/secrets.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("killed", "whole")).read_bytes()
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


@pytest.mark.slow
def test_peak_memory_where_there_is_neither_proc_nor_resource() -> None:
    """As on Windows, whose peak psutil tells; in a process of its own, since imports are what it is about."""
    code = """
        import sys
        import psutil
        sys.modules["resource"] = None
        from types import SimpleNamespace
        from trapmid.engine import memory
        psutil.Process = lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=3 * 2**20))
        memory.Path = lambda name: SimpleNamespace(exists=lambda: False)
        sys.platform = "win32"
        assert memory.peak_memory_mib() == 3.0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
