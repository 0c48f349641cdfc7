"""A Ray cluster of two simulated nodes gives the scores of this machine, to the byte, and outlives one of its nodes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.runs import scores_of, tiny_recipe
from trapmid.audit.ray import on_ray
from trapmid.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and processes to the garbage collector
RECIPE = tiny_recipe("training.epochs=40")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray of two nodes with one core each, to which this process is connected."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    found = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        found.add_node(**node)
        ray.init(address=found.address, log_to_driver=False)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def wait_for(found: Any) -> None:
    deadline = time.monotonic() + 600
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_task_that_is_preempted_and_a_node_that_dies_change_no_score(cluster: Any, tmp_path: Path) -> None:
    expected = scores_of(RECIPE, tmp_path / "here", jobs=1)
    out, told = tmp_path / "there", []

    def disturb() -> None:
        wait_for(lambda: list(out.glob("models/*.partial/log.jsonl")))
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] and process.info["cmdline"][0].startswith("ray::trapmid: train"):
                os.kill(process.pid, signal.SIGTERM)
        wait_for(lambda: any("preempted" in note for *_, note in told))
        (node,) = cluster.worker_nodes
        cluster.remove_node(node, allow_graceful=False)

    disturbing = threading.Thread(target=disturb, daemon=True)
    disturbing.start()
    found = scores_of(RECIPE, out, executor=on_ray(num_cpus=1), progress=lambda *message: told.append(message))
    disturbing.join()
    assert found == expected
    assert not cluster.worker_nodes
    assert sum("preempted" in note for *_, note in told) == 1


@pytest.mark.slow
def test_what_ray_does_not_take_is_said(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(UserError, match=r"Ray does not take these settings.*num_gpu"):
        scores_of(RECIPE, tmp_path, executor=on_ray(num_gpu=1))
