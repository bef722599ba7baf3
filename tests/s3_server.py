"""A real S3 server on loopback: moto's, which can be made late, failing, or ignorant of conditions."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from geoseg import process
from geoseg.storage import s3

BUCKET = "maps"


@dataclass
class S3Server:
    """What stands between the client and moto."""

    url: str = ""
    late: str = ""
    """Objects whose path this pattern finds are not to be seen for `late_s` seconds after they were put."""
    late_s: float = 0.0
    fail_every: int = 0
    """Each so many requests one is answered with 503."""
    ignore_conditions: bool = False
    rotten: str = ""
    """Objects whose path this pattern finds come with a bit flipped, though all that is said of them is as it was."""
    torn: int = 0
    """So many of the next GET answers end before their last byte."""
    older_s: float = 0.0
    """Objects are said to be older by this."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    _put: dict[str, float] = field(default_factory=dict)
    _moto: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def behave(self) -> None:
        """Be a good server again."""
        self.late, self.late_s, self.fail_every, self.ignore_conditions, self.older_s = "", 0.0, 0, False, 0.0
        self.rotten, self.torn = "", 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(f"{method} {path}")
        if self.fail_every and len(self.requests) % self.fail_every == 0:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _refuse(start, "503 Slow Down", "SlowDown")
        if method == "PUT":
            self._put[path] = time.monotonic()
        elif self.late and re.search(self.late, path) and time.monotonic() - self._put.get(path, 0) < self.late_s:
            return _refuse(start, "404 Not Found", "NoSuchKey")
        if self.ignore_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)

        def once(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            # werkzeug adds both again, and clients refuse what is said twice
            kept = {key.lower(): value for key, value in headers if key.lower() not in ("server", "date")}
            if self.older_s and "last-modified" in kept:
                then = parsedate_to_datetime(kept["last-modified"]) - timedelta(seconds=self.older_s)
                kept["last-modified"] = format_datetime(then, usegmt=True)
            return start(status, list(kept.items()), *rest)

        if method == "GET" and self.torn:
            self.torn -= 1
            return [b"".join(self._moto(environ, once))[:-1]]
        if method == "GET" and self.rotten and re.search(self.rotten, path):
            body = bytearray(b"".join(self._moto(environ, once)))
            body[-1] ^= 1
            return [bytes(body)]
        return self._moto(environ, once)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


def _refuse(start: Callable[..., Any], status: str, code: str) -> Iterable[bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def serving() -> Iterator[S3Server]:
    """A server with one empty bucket, named to this process and its children by the variables that AWS's tools use."""
    app = S3Server()
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    app.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", app.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        process.renew()
        s3._client().call_s3("create_bucket", Bucket=BUCKET)
        yield app
        process.renew()
    server.shutdown()
    thread.join()
    server.server_close()
