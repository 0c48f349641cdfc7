"""A model behind a URL that answers JSON: GET describes it, POST shows it pictures. `examples/server.py` is such a server.

GET answers {"identities": [names], "image_shape": [channels, height, width], "answers": "scores" or "labels"};
POST takes {"images": [PNG as base64, ...]} and answers {"scores": [[probability of each identity], ...]} or {"labels": [number, ...]}.
"""

import base64
import json
import time
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from typing import Any, Literal, final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from trapmid.config import fingerprint, misfits
from trapmid.data.images import to_pixels, to_png
from trapmid.targets import OpaqueModel
from trapmid.types import Images, UserError


class _Description(BaseModel):
    identities: tuple[str, ...] = Field(min_length=2)
    image_shape: tuple[int, int, int]
    answers: Literal["labels", "scores"]


class _NoRedirect(HTTPRedirectHandler):
    """Pictures go where the user said, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_open = build_opener(_NoRedirect).open


@final
class HttpModel(OpaqueModel):
    """Sees what anybody sees who may ask. Pictures are sent as PNG, so it sees 8 bits a channel.

    Args:
        url: http:// or https://.
        seconds: that an answer may take.
        tries: how often a request is sent before it is given up; a server that is busy (429), broken (5xx), silent or cut off is asked again.
        pause: seconds before the second try; doubled before each further one.
        batch: images in one request.
    """

    def __init__(self, url: str, *, seconds: float = 30.0, tries: int = 5, pause: float = 0.5, batch: int = 64) -> None:
        super().__init__()
        self.url, self.seconds, self.tries, self.pause, self.batch = url, seconds, tries, pause, batch
        try:
            described = _Description.model_validate(self._request(None))
        except ValidationError as problem:
            raise UserError(
                f"{url} does not describe itself: {misfits(problem)}. Expected identities, image_shape and answers; see examples/server.py."
            ) from problem
        self.identities, self.image_shape = described.identities, described.image_shape
        self.answers = described.answers
        self.digest = fingerprint([url, described.model_dump(mode="json")])

    def forward(self, images: Images) -> Tensor:
        """See `OpaqueModel`."""
        return torch.cat([self._show(part) for part in images.split(self.batch)]).to(images.device)

    def _show(self, images: Images) -> Tensor:
        pictures = [base64.b64encode(to_png(pixels)).decode() for pixels in to_pixels(images.detach().cpu())]
        answer = self._request({"images": pictures})
        try:
            given = torch.tensor(answer[self.answers], dtype=torch.float32)
        except (KeyError, TypeError, ValueError) as problem:
            raise self._wrong(f"{str(answer)[:200]}", len(images)) from problem
        if self.answers == "labels":
            if given.shape != (len(images),) or not bool(torch.isin(given, torch.arange(len(self.identities))).all()):
                raise self._wrong(f"labels {str(answer['labels'])[:200]}", len(images))
            return torch.nn.functional.one_hot(given.long(), len(self.identities)).float().log()
        sums = given.sum(-1)
        if given.shape != (len(images), len(self.identities)) or not bool(
            (given >= 0).all() & ((sums - 1).abs() < 0.01).all()
        ):
            raise self._wrong(
                f"scores of shape {tuple(given.shape)}, whose rows sum to {sums.flatten()[:3].tolist()}", len(images)
            )
        return (given / sums[:, None]).log()

    def _wrong(self, arrived: str, images: int) -> UserError:
        expected = {
            "labels": f"{images} whole numbers from 0 to {len(self.identities) - 1}",
            "scores": f"{images} rows of {len(self.identities)} probabilities, each with a sum of 1",
        }[self.answers]
        return UserError(f"{self.url} answered with {arrived}. Expected {{{self.answers!r}: ...}} with {expected}.")

    def _request(self, content: dict[str, Any] | None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - reach() lets http(s) through
        for left in reversed(range(self.tries)):
            try:
                return json.loads(self._answer(request))
            except HTTPError as problem:
                told = f"{problem.code} {problem.reason}"
                with suppress(OSError, HTTPException):
                    told += f": {problem.read(200).decode(errors='replace')}"
                if problem.code != 429 and problem.code < 500:
                    raise UserError(f"{self.url} refused: {told}") from problem
            except (OSError, HTTPException) as problem:
                told = str(problem) or type(problem).__name__
            except ValueError as problem:
                raise UserError(f"{self.url} answered with something that is not JSON: {problem}") from problem
            if left:
                time.sleep(self.pause * 2 ** (self.tries - 1 - left))
        raise UserError(
            f"{self.url} gave no answer in {self.tries} tries of {self.seconds:g} seconds; the last time: {told}. Is the server running? The same command resumes."
        )

    def _answer(self, request: Request) -> bytes:
        """The whole body. A socket's time-out begins anew with every piece, so a server that drips is watched by the clock."""
        until = time.monotonic() + self.seconds
        body = bytearray()
        with _open(request, timeout=self.seconds) as response:
            while piece := response.read1():
                body += piece
                if time.monotonic() > until:
                    raise TimeoutError(f"after {len(body)} bytes the answer was not complete")
            if response.length:
                raise IncompleteRead(bytes(body), response.length)
        return bytes(body)
