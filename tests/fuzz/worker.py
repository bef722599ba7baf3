"""A process that does cases of the fuzzer, and is killed where one of its commands hangs or eats the memory."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.cases import KINDS, Bench, case

from geoseg.process import peak_bytes
from geoseg.storage import store

HANGS_S = 30.0
"""How long a command may take; the first one of a process loads torch and GDAL."""
MOST_BYTES = 3_000_000_000


def work(pipe: Connection, folder: Path) -> None:
    """Do the cases that are asked for, and say what comes of each; in a process of its own."""
    logging.lastResort.setLevel(logging.ERROR)  # type: ignore[union-attr]  # as the command line does
    store.PATIENCE_S = 0.4  # a disk shows its files at once
    bench = Bench.at(folder)
    bench.before = lambda what: pipe.send(("runs", what))
    pipe.send(("ready", ""))
    while True:
        seed = pipe.recv()
        bench.said.clear()
        try:
            case(bench, seed)
            held = peak_bytes()
            assert held < MOST_BYTES, f"it took {held / 1e9:.1f} GB"
            wrong = ""
        except BaseException:
            wrong = traceback.format_exc()
        pipe.send(
            ("done", {"seed": seed, "kind": KINDS[seed % len(KINDS)].__name__, "did": bench.said, "wrong": wrong})
        )


class Worker:
    """A process that does cases."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, Path(tempfile.mkdtemp(dir=folder))), daemon=True)
        self._process.start()
        theirs.close()
        self._answer(300)

    def case(self, seed: int) -> dict[str, object]:
        """What comes of one case."""
        self._pipe.send(seed)
        found = self._answer(HANGS_S)
        return found if isinstance(found, dict) else {"seed": seed, "did": [], "wrong": found}

    def _answer(self, wait_s: float) -> dict[str, object] | str:
        what: object = "the case"
        while self._pipe.poll(wait_s):
            try:
                kind, what = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                return f"the process died with status {self._process.exitcode} in: {what}"
            if kind != "runs":
                return what  # type: ignore[return-value]
        self.end()
        return f"more than {wait_s:.0f} s for: {what}"

    @property
    def alive(self) -> bool:
        """Whether it can do another case."""
        return self._process.is_alive()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
