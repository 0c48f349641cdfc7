"""A hostile server: answers with damaged bytes, JSON or HTTP, and answers that never end.

The test prints its counts: `pytest -m slow -n 0 -s tests/fuzz/test_answers.py`.
"""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import torch

from helpers.mutations import SECONDS, ending, mutate, tell
from trapmid.reach import HttpModel
from trapmid.types import UserError

pytestmark = pytest.mark.slow

SHAPE = (3, 8, 8)
DESCRIBED = {"identities": ["anna", "bob", "carl"], "image_shape": SHAPE, "answers": "scores"}
SCORES = {"scores": [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]}
LABELS = {"labels": [0, 2]}
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    1e308,
    2**70,
    "",
    "x" * 5_000,
    [],
    {},
    [[]],
    {"scores": []},
    "\x1b[31m",
    "\udcff",
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Server:
    """Says `answers` one after the other, one to a connection, as they are; then closes it."""

    def __init__(self, listening: socket.socket) -> None:
        self.answers: list[bytes] = []
        self._listening = listening

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with closing(connection), suppress(OSError):
                    connection.settimeout(0.5)
                    self._receive(connection)
                    connection.sendall(self.answers.pop(0) if self.answers else b"")

    def _receive(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65_536)
            if not piece:
                return
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65_536)


@contextmanager
def serving() -> Iterator[tuple[str, Server]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = Server(listening)
        threading.Thread(target=server.serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", server


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def changed(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value with something else somewhere in it."""
    if rng.random() < 0.2 or not isinstance(value, dict | list | tuple) or not value:
        return ODD[int(rng.integers(len(ODD)))]
    if isinstance(value, dict):
        key = list(value)[int(rng.integers(len(value)))]
        return {**value, key: changed(value[key], rng)}
    at, entries = int(rng.integers(len(value))), list(value)
    match int(rng.integers(3)):
        case 0:
            return entries[:at] + entries[at + 1 :]
        case 1:
            return entries + entries[at:]
        case _:
            return [*entries[:at], changed(entries[at], rng), *entries[at + 1 :]]


def answer(good: Any, rng: np.random.Generator) -> bytes:
    body = json.dumps(good).encode()
    match int(rng.integers(4)):
        case 0:
            return http(json.dumps(changed(good, rng)).encode())
        case 1:
            return http(mutate(body, rng))
        case 2:
            return mutate(http(body), rng)
        case _:
            return mutate(chunked(body), rng)


def asked(url: str, described: Any) -> torch.Tensor:
    model = HttpModel(url, tries=1, seconds=2.0)
    assert model.image_shape[0] in (1, 3)
    assert len(set(model.identities)) == len(model.identities) >= 2
    if model.image_shape != SHAPE or len(model.identities) != len(described["identities"]):
        raise UserError("Another model, which the next answer is none of.")
    return model(torch.rand(2, *SHAPE))


@pytest.mark.parametrize(("kind", "good"), [("scores", SCORES), ("labels", LABELS)])
def test_answers(kind: str, good: Any) -> None:
    rng, told, until = np.random.default_rng(6), Counter[str](), time.monotonic() + SECONDS
    described = {**DESCRIBED, "answers": kind}
    with serving() as (url, server):
        for number in range(1_500):
            if time.monotonic() > until:
                break
            first = answer(described, rng) if number % 2 else http(json.dumps(described).encode())
            server.answers[:] = [first, http(json.dumps(good).encode()) if number % 2 else answer(good, rng)]
            refusal = ""
            try:
                with ending():
                    logs = asked(url, described)
            except UserError as problem:
                refusal = str(problem)
            if refusal:
                assert refusal.isprintable(), f"case {number}: {refusal}"
                assert len(refusal) < 2_000, f"case {number}"
            else:
                assert logs.shape == (2, 3), f"case {number}"
                assert torch.allclose(logs.exp().sum(1), torch.ones(2), atol=1e-3), f"case {number}"
            told["refused" if refusal else "read"] += 1
    tell(f"answers with {kind}", told)
