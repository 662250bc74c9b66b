"""A server that answers as the API would, from a script; it knows nothing of calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CALL_ID = "0b5bd1c0-0000-4000-8000-000000000000"
RECORD: dict[str, Any] = {
    "id": CALL_ID,
    "callId": "CA" + "0" * 32,
    "from": "+15005550100",
    "to": "+15005550123",
    "status": "initiated",
    "provider": "ultravox",
    "duration": 0,
}
ENDED = {"by": "agent", "cause": "agent-hangup", "retryable": False, "detail": "The agent hung up.", "hint": ""}


def status(status: str, **more: Any) -> str:
    return f"event: status\ndata: {json.dumps({**RECORD, 'status': status, **more})}\n\n"


def turn(ordinal: int, speaker: str, text: str, *, truncated: bool = False) -> str:
    said = {"ordinal": ordinal, "speaker": speaker, "text": text, "truncated": truncated}
    return f"event: transcript\ndata: {json.dumps(said, ensure_ascii=False)}\n\n"


class FakeServer:
    """``events`` are the stream's parts; one that is None waits until the call was hung up."""

    def __init__(self, events: Sequence[str | None], refusal: tuple[int, dict[str, Any]] | None) -> None:
        self.events = events
        self.refusal = refusal
        self.url = ""
        self.trunks: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.keys: set[str] = set()
        self.hung_up = threading.Event()
        self.when_waiting: Callable[[], None] = lambda: None

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", 0))
        body = json.loads(request.rfile.read(length)) if length else None
        self.requests.append((request.command, request.path, body))
        self.keys.add(request.headers["authorization"].removeprefix("Bearer "))
        if self.refusal is not None:
            self._answer(request, *self.refusal)
        elif request.path.endswith("/events"):
            self._stream(request)
        elif request.path == "/api/trunks":
            self._answer(request, 200, {"trunks": self.trunks})
        elif request.command == "POST":
            self._answer(request, 200, {name: RECORD[name] for name in ("id", "callId", "status")})
        else:
            self.hung_up.set()
            self._answer(request, 200, {"ended": True})

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for part in self.events:
            if part is None:
                self.when_waiting()
                self.hung_up.wait(10)
            else:
                request.wfile.write(part.encode())
                request.wfile.flush()

    def _answer(self, request: BaseHTTPRequestHandler, code: int, content: dict[str, Any]) -> None:
        request.send_response(code)
        request.end_headers()
        request.wfile.write(json.dumps(content).encode())


@contextmanager
def fake_server(
    events: Sequence[str | None] = (), refusal: tuple[int, dict[str, Any]] | None = None
) -> Iterator[FakeServer]:
    fake = FakeServer(events, refusal)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            fake.handle(self)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
