"""Audits that are killed at random moments, with all their workers, end with the scores of an undisturbed one."""

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from helpers.runs import TINY_AUDIT, scores_of
from trapmid.recipes import choose_recipe

KILLS = 20
LONGEST = 3.0
"""The most seconds between the first step of a task and the kill."""
RECIPE = choose_recipe("demo", changes=TINY_AUDIT, defenses=("none",), attacks=("plgmi",), seeds=(0, 1))


def audit(out: Path, told: Any) -> None:
    os.setsid()
    scores_of(RECIPE, out, jobs=2, progress=lambda *message: told.send(message[:2]))


def begin(out: Path) -> tuple[Any, Connection]:
    """Start an audit in a process group of its own, from a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.runs"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=audit, args=(out, there))
    process.start()
    there.close()
    return process, here


def a_task_began(told: Connection) -> bool:
    """Wait until a worker has begun to train, to attack or to measure. Returns False if the audit ends before."""
    with suppress(EOFError):
        while True:
            name, done = told.recv()
            if done and name.startswith(("prior", "judge", "train", "attack", "measure")):
                return True
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_twenty_random_kills_lose_no_result(tmp_path: Path) -> None:
    expected = scores_of(RECIPE, tmp_path / "undisturbed", jobs=1)
    moments = random.Random(18)
    kills = interrupted = finished = 0
    while kills < KILLS:
        out = tmp_path / f"run-{finished}"
        process, told = begin(out)
        if a_task_began(told):
            time.sleep(moments.uniform(0, LONGEST))
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            interrupted += any(out.rglob("*.partial"))
        else:
            assert process.exitcode == 0
            assert (out / "scores.json").read_bytes() == expected
            finished += 1
    out = tmp_path / f"run-{finished}"
    assert scores_of(RECIPE, out, jobs=2) == expected
    assert interrupted > KILLS / 4
    assert not list(out.rglob("*.partial"))
