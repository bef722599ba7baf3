"""A headless Chromium spoken to through its DevTools protocol, for tests that look at pages as people do."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

_QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
_QUIET += "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"


class Page:
    """A page in a browser of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: WebSocketClientConnection) -> None:
        self._loop, self._connection, self._numbers = loop, connection, itertools.count(1)
        self.errors: list[str] = []
        """What the page wrote to its console as warnings or errors, exceptions, and what its policy refused."""
        self.requests: list[str] = []
        """Addresses that it asked for, data URLs left out."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        return self._loop.run_until_complete(self._asked(method, params))

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Show a file in a window of so many pixels."""
        mobile = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **mobile)
        self.ask("Page.navigate", url=path.absolute().as_uri())
        self.run("new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key, pressed and released."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, pressed at one place and released at another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def wheel(self, at: tuple[float, float], by: float) -> None:
        """The wheel, turned."""
        self.ask("Input.dispatchMouseEvent", type="mouseWheel", x=at[0], y=at[1], deltaX=0, deltaY=by)

    def screenshot(self, path: Path) -> None:
        """All of the page as PNG."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    async def _asked(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._connection.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = await asyncio.wait_for(self._connection.read_message(), 30)
            assert answer is not None, "the browser has ended"
            said = json.loads(answer)
            if said.get("id") == number:
                assert "error" not in said, said
                return dict(said["result"])
            self._hear(said["method"], said["params"])

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert")
        ):
            self.errors.append(json.dumps(params))
        elif method == "Log.entryAdded":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self.requests.append(params["request"]["url"])


@contextmanager
def browsing() -> Iterator[Page]:
    """A page in a new browser, which ends with it; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser is here: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [program, *_QUIET.split(), f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)  # which the connection asks for when it is closed
            try:
                assert process.stderr is not None
                port = next(found[1] for line in process.stderr if (found := re.search(r"ws://[^:]+:(\d+)/", line)))
                with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    address = next(each for each in json.load(answer) if each["type"] == "page")["webSocketDebuggerUrl"]
                connection = loop.run_until_complete(_connected(address))
                yield Page(loop, connection)
                connection.close()
            finally:
                process.terminate()
                process.wait(20)
                asyncio.set_event_loop(None)
                loop.close()


async def _connected(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address, max_message_size=100_000_000)
