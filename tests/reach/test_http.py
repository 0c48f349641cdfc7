"""Models behind URLs: the example server on the loopback address, and servers that misbehave."""

import importlib.util
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trapmid.reach import HttpModel
from trapmid.subjects import parse_subject
from trapmid.targets import Budget, LabelTarget, ScoreTarget
from trapmid.types import UserError

SHAPE, NAMES = (3, 8, 8), ("anna", "bob", "carl")
DESCRIBED = {"identities": NAMES, "image_shape": SHAPE, "answers": "scores"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def example() -> Any:
    file = Path(__file__).parents[2] / "examples" / "server.py"
    spec = importlib.util.spec_from_file_location("example_server", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


@pytest.mark.parametrize("answers", ["scores", "labels"])
def test_the_example_server_answers_as_the_model_does(answers: str) -> None:
    net = network()
    with serving(example().serve(net, NAMES, SHAPE, answers, 0)) as url:
        model = HttpModel(url)
        assert (model.identities, model.image_shape, model.answers) == (NAMES, SHAPE, answers)
        target = parse_subject(url).open().target(ScoreTarget if answers == "scores" else LabelTarget)
        images = torch.rand(70, *SHAPE)  # more than one request takes
        with torch.no_grad():
            expected = net((images * 255).round() / 255)
        assert torch.equal(target.labels(images), expected.argmax(1))
        if answers == "scores":
            assert isinstance(target, ScoreTarget)
            torch.testing.assert_close(target.scores(images), expected.softmax(1), atol=1e-5, rtol=1e-4)
        else:
            assert type(target) is LabelTarget
        with pytest.raises(UserError, match=r"refused: 400 .*expected pictures of shape"):
            target.labels(torch.rand(1, 3, 9, 9))


def server(*answers: tuple[int, Any], first: Any = DESCRIBED) -> ThreadingHTTPServer:
    """Describes itself by `first`, then gives `answers` in order, the last one again and again.

    Counts POSTs in `asked`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(200, first)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.asked += 1
            self.say(*answers[min(made.asked, len(answers)) - 1])

        def say(self, status: int, content: Any) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked = 0
    return made


GOOD = {"scores": [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    busy = server((status, {}), (status, {}), (200, GOOD))
    with serving(busy) as url:
        found = HttpModel(url, pause=0.01)(torch.rand(2, *SHAPE))
    torch.testing.assert_close(found.exp(), torch.tensor(GOOD["scores"]))
    assert busy.asked == 3


def test_a_broken_server_is_given_up() -> None:
    broken = server((503, {"error": "out of order"}))
    with serving(broken) as url, pytest.raises(UserError, match=r"no answer in 3 tries .*503 .*out of order"):
        HttpModel(url, pause=0.01, tries=3)(torch.rand(2, *SHAPE))
    assert broken.asked == 3


def test_a_silent_server_is_given_up() -> None:
    with serving(server((200, GOOD))) as url:
        model = HttpModel(url, pause=0.01, tries=2, seconds=5.0)
    with pytest.raises(UserError, match=r"no answer in 2 tries of 5 seconds.*Is the server running"):
        model(torch.rand(2, *SHAPE))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([], "timed out|Timeout"),
        ([HEAD], "timed out|Timeout"),
        ([HEAD, *[b" "] * 39], "timed out|the answer was not complete"),
        ([HEAD, b"[1, 2", None], "IncompleteRead.5 bytes read, 35 more expected"),
        ([b"220 mail.example ESMTP\r\n", None], "220 mail.example"),
        ([None], "closed connection"),
        ([b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nno", None], "503 Busy"),
    ],
    ids=["silent", "silent-after-head", "dripping", "cut-off", "garbage", "hangs-up", "cut-off-error"],
)
def test_a_server_that_does_not_get_to_its_end_is_asked_again_and_given_up(
    pieces: list[bytes | None], told: str
) -> None:
    """`pieces` are sent 0.02 seconds apart; None closes the connection, otherwise it stays open."""
    asked, held = [], []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    held.append(connection)
                    asked.append(connection.recv(65536))
                    with suppress(OSError):
                        for piece in pieces:
                            if piece is None:
                                connection.close()
                            else:
                                connection.sendall(piece)
                                time.sleep(0.02)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(UserError, match=rf"no answer in 2 tries of 0\.3 seconds.*({told})"):
            HttpModel(f"http://127.0.0.1:{listening.getsockname()[1]}", pause=0.01, tries=2, seconds=0.3)
        assert len(asked) == 2
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"<html>"), "not JSON"),
        ((200, b"\xff\xfe\x00"), "not JSON"),
        ((200, {"labels": [0, 1]}), r"Expected \{'scores': \.\.\.\} with 2 rows of 3 probabilities"),
        ((200, {"scores": [[0.2, 0.3, 0.5]]}), "scores in 1 rows of 3"),
        ((200, {"scores": [[0.2, 0.3], [0.5, 0.5]]}), "scores in 2 rows of 2"),
        ((200, {"scores": [[5.0, -4.0, 0.0], [1.0, 0.0, 0.0]]}), "greater than or equal to 0"),
        ((200, {"scores": [[9.0, 4.0, 0.0], [1.0, 0.0, 0.0]]}), "whose rows sum to"),
        ((200, {"scores": "many"}), "answered with"),
        ((200, {"scores": [[0.2, 0.3, 0.5], ["1.0", 0.0, 0.0]]}), "valid number"),
        ((200, {"scores": [[0.2, 0.3, 0.5], [True, False, False]]}), "valid number"),
        ((200, {"scores": [[0.2, 0.3, 0.5], [1.0, 0.0]]}), "rows of 2 or 3"),
        ((200, {"scores": [[[0.2]], [[0.3]]]}), "valid number"),
        ((200, {"scores": []}), "scores in 0 rows"),
        ((200, b'{"scores": [[NaN, 0.5, 0.5], [1, 0, 0]]}'), "NaN is not a number of JSON"),
        ((200, b'{"scores": [[1e999, 0.5, 0.5], [1, 0, 0]]}'), "finite number"),
        ((200, b'{"scores": [[0.2, 0.3, 0.5], [1, 0, 0]], "scores": []}'), "a key appears twice"),
        ((200, b"[" * 100_000), "nested too deeply"),
        ((200, b'{"scores": ' + b"[" * 900 + b"]" * 900 + b"}"), "answered with"),
        ((200, b'{"scores": ' + b"9" * 5000 + b"}"), "not JSON"),
        ((200, []), "answered with"),
        ((403, {"error": "no key"}), "refused: 403 .*no key"),
        ((404, b"\x1b[31m" + b"x" * 10_000), r"refused: 404 .*\\x1b\[31mx{100,200}\.\.\."),
        ((302, {}), "refused: 302"),
    ],
)
def test_bad_answers_are_told(answer: tuple[int, Any], told: str) -> None:
    bad = server(answer)
    with serving(bad) as url, pytest.raises(UserError, match=told):
        HttpModel(url, pause=0.01)(torch.rand(2, *SHAPE))
    assert bad.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1",
        "http://a b/",
        "http://x:y/",
        "file:///etc/passwd",
        "http://u:p@h/",
        "http://h\x1b[31m/",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UserError, match="is not an http:// or https:// address") as told:
        HttpModel(url)
    assert str(told.value).isprintable()


@contextmanager
def dripping(pieces: Iterator[bytes], pause: float) -> Iterator[tuple[str, list[int]]]:
    """A server that sends `pieces` one after the other with a pause between them; counts the bytes it got rid of."""
    sent = [0]
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with closing(connection):
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        sent[0] += len(piece)
                        time.sleep(pause)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", sent
    thread.join(5)
    assert not thread.is_alive()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"H", *[b"T"] * 200),
        (b"HTTP/1.1 200 OK\r\nX: ", *[b"x"] * 200),
        (b"HTTP/1.1 200 OK\r\n", *[b"X: x\r\n"] * 90),
        (*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200,),
        (CHUNKED, *[b"1\r\n \r\n"] * 200),
        (CHUNKED + b"0\r\n", *[b"X: x\r\n"] * 200),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 900\r\n\r\n", *[b"x"] * 150),
    ],
    ids=["status", "header", "headers", "continue", "chunks", "trailers", "error"],
)
def test_a_time_limit_covers_the_whole_answer(pieces: tuple[bytes, ...]) -> None:
    begun = time.monotonic()
    with dripping(iter(pieces), 0.02) as (url, _), pytest.raises(UserError, match="no answer in 1 tries"):
        HttpModel(url, tries=1, seconds=0.3)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n",
        CHUNKED + b"3B9ACA00\r\n",
    ],
    ids=["endless", "announced", "chunked"],
)
def test_a_body_is_cut_off_soon_after_what_an_answer_can_need(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trapmid.reach.http._LONGEST_DESCRIPTION", 2**20)
    pieces = (head, *[b" " * 2**16] * 16_384)  # one GiB in all
    with dripping(iter(pieces), 0) as (url, sent), pytest.raises(UserError, match="more than 1,048,576 bytes"):
        HttpModel(url, tries=1)
    assert sent[0] < 16 * 2**20


@pytest.mark.parametrize("labels", [[0], [0, 3], [0, -1], [0, 0.5], ["anna", "bob"], [[0], [1]]])
def test_bad_labels_are_told(labels: list[Any]) -> None:
    bad = server((200, {"labels": labels}), first={**DESCRIBED, "answers": "labels"})
    with serving(bad) as url, pytest.raises(UserError, match="2 whole numbers from 0 to 2"):
        HttpModel(url)(torch.rand(2, *SHAPE))


@pytest.mark.parametrize(
    "first",
    [
        {"name": "classifier"},
        [],
        "\x1b[31m",
        {**DESCRIBED, "identities": ["anna"]},
        {**DESCRIBED, "identities": ["anna", "anna"]},
        {**DESCRIBED, "identities": ["anna", 3]},
        {**DESCRIBED, "image_shape": [3, 10**9, 10**9]},
        {**DESCRIBED, "image_shape": [3, 8, -8]},
        {**DESCRIBED, "image_shape": [2, 8, 8]},
        {**DESCRIBED, "image_shape": ["3", "8", "8"]},
        {**DESCRIBED, "answers": "pictures"},
    ],
)
def test_a_server_that_does_not_describe_itself(first: Any) -> None:
    with (
        serving(server((200, GOOD), first=first)) as url,
        pytest.raises(UserError, match="does not describe itself") as told,
    ):
        HttpModel(url)
    assert str(told.value).isprintable()


def test_a_server_whose_number_of_classes_changes() -> None:
    more = {"scores": [[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]]}
    changing = server((200, GOOD), (200, more))
    with serving(changing) as url:
        model = HttpModel(url)
        assert model(torch.rand(2, *SHAPE)).shape == (2, 3)
        with pytest.raises(UserError, match=r"scores in 2 rows of 4.*Expected .* with 2 rows of 3 probabilities"):
            model(torch.rand(2, *SHAPE))
        described = {**DESCRIBED, "identities": (*NAMES, "dora")}
    with serving(server((200, more), first=described)) as other:
        assert HttpModel(other).digest != model.digest


def test_a_redirect_is_not_followed() -> None:
    elsewhere = server((200, GOOD))
    with serving(elsewhere), serving(server((302, {}))) as url, pytest.raises(UserError, match="refused: 302"):
        HttpModel(url)(torch.rand(2, *SHAPE))
    assert elsewhere.asked == 0


def test_budget() -> None:
    counted = server((200, GOOD))
    with serving(counted) as url:
        target = ScoreTarget(HttpModel(url), len(NAMES), SHAPE, budget=Budget(5))
        for _ in range(2):
            target.labels(torch.rand(2, *SHAPE))
        with pytest.raises(UserError, match="budget of 5 images is spent: 4 were shown and the next batch has 2"):
            target.labels(torch.rand(2, *SHAPE))
    assert counted.asked == 2
    assert target.queries == 4


def test_what_an_earlier_run_showed_is_spent(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "shown"
    for shown in (3, 6):
        budget = Budget(8, file)
        budget.spend(3)
        assert budget.shown == shown
    with pytest.raises(UserError, match="budget of 8 images is spent: 6 were shown and the next batch has 3"):
        Budget(8, file).spend(3)
    Budget(9, file).spend(3)
