"""A model behind a URL that answers JSON, such as `examples/server.py`.

A GET request returns its description. A POST request queries it with images.

GET answers {"identities": [names], "image_shape": [channels, height, width], "answers": "scores" or "labels"}.
POST takes {"images": [PNG as base64, ...]} and answers {"scores": [[probability of each identity], ...]} or {"labels":
[number, ...]}.
"""

import base64
import json
import time
from contextlib import suppress
from http.client import HTTPException, InvalidURL
from typing import Annotated, Any, Literal, final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from trapmid.config import explain, fingerprint
from trapmid.data.images import to_pixels, to_png
from trapmid.errors import shown
from trapmid.reach.limits import MOST_CLASSES, Side
from trapmid.reach.transfer import TooLargeError, transfer
from trapmid.targets import OpaqueModel
from trapmid.types import Images, UserError

_LONGEST_NUMBER = 64
"""The largest size in bytes of one number in a JSON answer, including the separator."""
_SLACK = 2**20
_LONGEST_DESCRIPTION = 64 * 2**20


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name appears twice")
    return names


class _Description(BaseModel):
    identities: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1_000)], ...], AfterValidator(_unique)
    ] = Field(min_length=2, max_length=MOST_CLASSES)
    image_shape: tuple[Literal[1, 3], Side, Side]
    answers: Literal["labels", "scores"]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Scores(_Answer):
    scores: list[list[Annotated[float, Field(ge=0)]]]


class _Labels(_Answer):
    labels: list[float]


@final
class HttpModel(OpaqueModel):
    """A model behind a URL, which anyone with access to the URL can query. Images are sent as PNG with 8 bits.

    Args:
        url: an http:// or https:// address. Redirects are not followed.
        seconds: the time limit of a whole answer.
        tries: the number of attempts for a request. A request is repeated if the server is busy (status 429), fails
            (5xx), is too slow or closes the connection.
        pause: seconds before the second attempt. The pause doubles before each further attempt.
        batch: number of images in one request.

    Raises:
        UserError: the address is not valid, no server answers, or the answer is not a description.
    """

    def __init__(self, url: str, *, seconds: float = 30.0, tries: int = 5, pause: float = 0.5, batch: int = 64) -> None:
        super().__init__()
        _check_address(url)
        self.url, self.seconds, self.tries, self.pause, self.batch = url, seconds, tries, pause, batch
        try:
            described = _Description.model_validate(self._request(None, _LONGEST_DESCRIPTION))
        except ValidationError as problem:
            raise UserError(
                f"{url} does not describe itself: {shown(explain(problem))}. "
                "Expected identities, image_shape and answers; see examples/server.py."
            ) from problem
        self.identities, self.image_shape = described.identities, described.image_shape
        self.answers = described.answers
        self.digest = fingerprint([url, described.model_dump(mode="json")])

    def forward(self, images: Images) -> Tensor:
        """See `OpaqueModel`.

        Raises:
            UserError: the server gives no answer, or an answer that is not valid.
        """
        return torch.cat([self._show(part) for part in images.split(self.batch)]).to(images.device)

    def _show(self, images: Images) -> Tensor:
        pictures = [base64.b64encode(to_png(pixels)).decode() for pixels in to_pixels(images.detach().cpu())]
        numbers = len(images) * (len(self.identities) if self.answers == "scores" else 1)
        answer = self._request({"images": pictures}, _SLACK + numbers * _LONGEST_NUMBER)
        try:
            if self.answers == "labels":
                return self._from_labels(torch.tensor(_Labels.model_validate(answer).labels), len(images))
            return self._from_scores(_Scores.model_validate(answer).scores, len(images))
        except ValidationError as problem:
            raise self._wrong(f"{shown(answer)} ({explain(problem).partition('; ')[0]})", len(images)) from problem

    def _from_labels(self, labels: Tensor, images: int) -> Tensor:
        if labels.shape != (images,) or not bool(torch.isin(labels, torch.arange(len(self.identities))).all()):
            raise self._wrong(f"labels {shown(labels.tolist())}", images)
        return torch.nn.functional.one_hot(labels.long(), len(self.identities)).float().log()

    def _from_scores(self, rows: list[list[float]], images: int) -> Tensor:
        lengths = {len(row) for row in rows}
        if len(rows) != images or lengths != {len(self.identities)}:
            raise self._wrong(f"scores in {len(rows)} rows of {' or '.join(map(str, sorted(lengths)[:3]))}", images)
        scores = torch.tensor(rows, dtype=torch.float32)
        sums = scores.sum(1)
        if not bool(((sums - 1).abs() < 0.01).all()):
            raise self._wrong(f"scores whose rows sum to {sums[:3].tolist()}", images)
        return (scores / sums[:, None]).log()

    def _wrong(self, arrived: str, images: int) -> UserError:
        expected = {
            "labels": f"{images} whole numbers from 0 to {len(self.identities) - 1}",
            "scores": f"{images} rows of {len(self.identities)} probabilities, each with a sum of 1",
        }[self.answers]
        return UserError(f"{self.url} answered with {arrived}. Expected {{{self.answers!r}: ...}} with {expected}.")

    def _request(self, content: dict[str, Any] | None, most: int) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - checked in __init__
        for left in reversed(range(self.tries)):
            try:
                return self._parsed(transfer(request, self.seconds, most))
            except HTTPError as problem:
                told = f"{problem.code} {problem.reason}"
                with problem, suppress(OSError, HTTPException):
                    told += f": {problem.read(200).decode(errors='replace')}"
                if problem.code != 429 and problem.code < 500:
                    raise UserError(f"{self.url} refused: {shown(told)}.") from problem
            except InvalidURL as problem:
                raise UserError(f"{shown(self.url)} is not an address: {shown(problem)}.") from problem
            except (OSError, HTTPException) as problem:
                told = str(problem) or type(problem).__name__
            except TooLargeError as problem:
                raise UserError(f"{self.url} answered with {problem}, which no right answer takes.") from problem
            if left:
                time.sleep(self.pause * 2 ** (self.tries - 1 - left))
        raise UserError(
            f"{self.url} gave no answer in {self.tries} tries of {self.seconds:g} seconds; "
            f"the last time: {shown(told)}. Is the server running? The same command resumes."
        )

    def _parsed(self, body: bytes) -> Any:
        try:
            return json.loads(body, object_pairs_hook=_without_duplicates, parse_constant=_no_number)
        except (ValueError, RecursionError) as problem:
            reason = "it is nested too deeply" if isinstance(problem, RecursionError) else shown(problem)
            raise UserError(f"{self.url} answered with something that is not JSON: {reason}.") from problem


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isascii()
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise UserError(f"{shown(url)} is not an http:// or https:// address, such as http://127.0.0.1:8000.")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key appears twice")
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
