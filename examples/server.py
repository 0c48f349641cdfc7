"""Serve a classifier at a URL, to audit it as an outsider would attack it.

The audit: trapmid audit http://127.0.0.1:8000 --private photos/ --public faces/

Run: python examples/server.py model.pt2 --classes classes.txt --port 8000 --answers labels

GET describes the model, and POST classifies images. trapmid.reach.http documents the format. The server listens on this
machine only.
"""

import argparse
import base64
import binascii
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from trapmid.data.images import from_png, to_unit
from trapmid.subjects import parse_subject
from trapmid.types import logits_of

MOST_BYTES = 64 * 2**20


def serve(
    model: torch.nn.Module,
    identities: tuple[str, ...],
    image_shape: tuple[int, int, int],
    answers: str = "scores",
    port: int = 8000,
) -> ThreadingHTTPServer:
    """Return a server of `model`, which maps images in [0, 1] to logits.

    Call its `serve_forever`; port 0 is any free.
    """
    described = {"identities": identities, "image_shape": image_shape, "answers": answers}
    lock = Lock()

    def classify(request: Any) -> dict[str, Any]:
        pictures = [from_png(base64.b64decode(text, validate=True)) for text in request["images"]]
        if any(tuple(pixels.shape) != tuple(image_shape) for pixels in pictures):
            raise ValueError(f"expected pictures of shape {image_shape}")
        with lock, torch.no_grad():
            logits = logits_of(model(to_unit(torch.stack(pictures))))
        return {"labels": logits.argmax(1).tolist()} if answers == "labels" else {"scores": logits.softmax(1).tolist()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(lambda: described)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > MOST_BYTES:
                self.send_error(413)
                return
            body = self.rfile.read(length)
            self.answer(lambda: classify(json.loads(body)))

        def answer(self, work: Callable[[], dict[str, Any]]) -> None:
            try:
                status, content = 200, work()
            except (KeyError, TypeError, ValueError, OSError, binascii.Error) as problem:
                status, content = 400, {"error": str(problem)}
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            del args

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve a model until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", help="any MODEL of `trapmid audit MODEL`, such as model.pt2 or runs/demo/models/none-s0"
    )
    parser.add_argument("--classes", type=Path, help="a file with the name of each class on a line, in order")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--answers", choices=("labels", "scores"), default="scores")
    chosen = parser.parse_args()
    model = parse_subject(chosen.model, classes=chosen.classes).open()
    server = serve(model.module, model.identities, model.image_shape, chosen.answers, chosen.port)
    print(f"Serving {chosen.model} on http://127.0.0.1:{server.server_port}, answering with {chosen.answers}")
    server.serve_forever()


if __name__ == "__main__":
    main()
