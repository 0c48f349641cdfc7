"""HTTP requests with a time limit for the whole answer and a limit on its size."""

import io
import socket
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, cast
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

_PIECE = 65_536


class TooLargeError(ValueError):
    """The body is longer than any valid answer."""


class _Timed(io.RawIOBase):
    """The bytes of a socket, read until a deadline. The timeout of a socket itself restarts with every byte."""

    def __init__(self, raw: io.RawIOBase, connected: socket.socket, until: float) -> None:
        self._raw, self._socket, self._until = raw, connected, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(_left(self._until))
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, connected: socket.socket, *args: Any, until: float, **options: Any) -> None:
        super().__init__(connected, *args, **options)
        self.fp = io.BufferedReader(_Timed(connected.makefile("rb", buffering=0), connected, until))


class _Deadline(HTTPConnection):
    """A connection that is closed when its time limit is over, counted from its start."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until = time.monotonic() + float(cast("float", self.timeout))
        self.response_class = partial(_Response, until=self._until)  # type: ignore[assignment]

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_left(self._until))
        super().send(data)


class _SecureDeadline(_Deadline, HTTPSConnection):
    pass


class _Handler(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_Deadline, req)


class _SecureHandler(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_SecureDeadline, req)


class _NoRedirect(HTTPRedirectHandler):
    """Refuses redirects, so that images are sent only to the address that the user gave."""

    def redirect_request(self, *_: Any) -> None:
        return None


_open: Callable[..., HTTPResponse] = build_opener(_NoRedirect, _Handler, _SecureHandler).open


def transfer(request: Request, seconds: float, most: int) -> bytes:
    """Send a request and return the body of its answer.

    Args:
        request: a request to an http:// or https:// address.
        seconds: the time limit for connecting, and for receiving the whole answer.
        most: the largest size of the body in bytes.

    Raises:
        HTTPError: the status of the answer is not 2xx. Redirects are not followed.
        OSError: there is no connection, or no complete answer in time.
        HTTPException: the answer is not HTTP, or is truncated.
        TooLargeError: the body is longer than `most`.
    """
    body = bytearray()
    with _open(request, timeout=seconds) as response:
        while piece := response.read1(_PIECE):
            body += piece
            if len(body) > most:
                raise TooLargeError(f"more than {most:,} bytes")
        if response.length:
            raise IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer was not complete in time")
    return left
