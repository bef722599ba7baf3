"""A web server on loopback that hands out files by ranges, and misbehaves as often as it is told."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

STALL_S = 1.0
"""Longer than the patience that tests give GDAL."""


@dataclass
class Mood:
    """How the server behaves."""

    fault: str = ""
    """'drop', 'stall', 'truncate', 'garbage' or '503'; '' for none."""
    times: int = 0
    """Requests of pixels that still go wrong."""
    spared: int = 0
    """Bytes at the beginning of a file that are always served well, so that the file can be opened."""
    served: int = 0
    """Requests so far."""
    spoilt: int = 0
    """Those that went wrong."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of every request so far."""
    lock: Lock = field(default_factory=Lock)

    def next_fault(self, start: int) -> str:
        """What goes wrong with a request for bytes from `start`."""
        with self.lock:
            self.served += 1
            if self.times <= 0 or start < self.spared:
                return ""
            self.times -= 1
            self.spoilt += 1
            return self.fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, mood: Mood, *args: object) -> None:
        self.folder, self.mood = folder, mood
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        with self.mood.lock:
            self.mood.asked.append((self.command, self.path, self.headers.get("Range", "")))
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2] or len(data) - 1)) if asked else (0, len(data) - 1)
        part = data[start : end + 1]
        fault = self.mood.next_fault(start) if body else ""
        if fault == "503":
            self.send_error(503)
            return
        if fault == "stall":
            time.sleep(STALL_S)
        if fault in ("drop", "stall"):
            self.close_connection = True
            return
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.end_headers()
        if fault == "garbage":
            part = bytes(len(part))
        if fault == "truncate":
            part, self.close_connection = part[: len(part) // 3], True
        if body:
            self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """A client that hangs up is nothing to tell."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Mood]]:
    """The server's address, and the mood that it is in."""
    mood = Mood()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder, mood))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", mood
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
