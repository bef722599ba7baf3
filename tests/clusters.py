"""Schedulers, workers and clients as processes of their own, for tests that kill them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil
from distributed import Client, Status

QUIET = {"DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "1000", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
_warm = multiprocessing.get_context("forkserver")
_OURS = ["geoseg.cli", "geoseg.jobs.submit", "geoseg.inference.predictor", "geoseg.inference.device", "torch"]
_warm.set_forkserver_preload([*_OURS, "distributed.cli.dask_worker", "tornado.httpserver"])


class Process(Protocol):
    """What Popen and Forked have in common."""

    pid: int

    def kill(self) -> None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Forked:
    """What `python COMMAND` does, in a process forked from one that has imported geoseg and torch already.

    It starts in a tenth of a second instead of three.
    """

    def __init__(self, command: tuple[str, ...], env: dict[str, str], folder: Path, log: Path) -> None:
        self._process = _warm.Process(target=_main, args=(command, env, str(folder), str(log)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return self._process.exitcode


def _main(command: tuple[str, ...], env: dict[str, str], folder: str, log: str) -> None:
    os.environ.update(env)
    os.chdir(folder)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    sys.path[:0] = PATHS
    how, what, *words = command
    sys.argv = [what if how == "-m" else "-c", *words]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})


class Processes:
    """A scheduler and workers, each a process of its own, with logs in a folder."""

    def __init__(self, folder: Path, *, warm: bool = False, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.all: list[Process] = []
        self.file = folder / "scheduler.json"
        self._warm = warm
        self._env = {**QUIET, "PYTHONPATH": os.pathsep.join(PATHS), **(env or {})}

    def start(self, *command: str) -> Process:
        """`python COMMAND`, '-m module ...' or '-c code ...', in a process which can import the tests' functions."""
        log = self.folder / f"{len(self.all)}.log"
        process: Process
        if self._warm:
            process = Forked(command, self._env, self.folder, log)
        else:
            how = {"env": {**os.environ, **self._env}, "cwd": self.folder, "start_new_session": True}
            with log.open("wb") as out:
                process = subprocess.Popen([sys.executable, *command], stdout=out, stderr=out, **how)
        self.all.append(process)
        return process

    @property
    def address(self) -> str:
        """Of the scheduler, once it listens."""
        wait_until(lambda: self.file.exists() and self.file.read_text().strip().endswith("}"))
        return str(json.loads(self.file.read_text())["address"])

    def scheduler(self, *how: str, port: int = 0) -> Process:
        self.file.unlink(missing_ok=True)
        common = ("--host", "127.0.0.1", "--port", str(port), "--scheduler-file", str(self.file), "--no-dashboard")
        return self.start("-m", "distributed.cli.dask_scheduler", *common, *how)

    def worker(self, *how: str) -> Process:
        common = ("--host", "127.0.0.1", "--no-dashboard", "--memory-limit", "2GB", "--nthreads", "1")
        return self.start("-m", "distributed.cli.dask_worker", "--scheduler-file", str(self.file), *common, *how)

    def workers(self, count: int, *how: str) -> list[Process]:
        """Workers without a nanny: they start sooner, and when one dies it stays dead."""
        return [self.worker("--no-nanny", *how) for _ in range(count)]

    def log(self, process: Process) -> str:
        return (self.folder / f"{self.all.index(process)}.log").read_text()

    def end(self) -> None:
        family = []
        for process in self.all:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.poll() is None:
                    family += [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        for process in self.all:
            process.wait()


@contextlib.contextmanager
def client_of(processes: Processes, workers: int) -> Iterator[Client]:
    """A client, once so many workers are there."""
    wait_until(processes.file.exists)
    with Client(scheduler_file=str(processes.file), set_as_default=False) as client:
        wait_until(lambda: len(client.nthreads()) >= workers)
        yield client


def wait_until(fact: Callable[[], Any], timeout_s: float = 60) -> Any:
    """What `fact` gives once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := fact()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def gone(item: int, why: str) -> tuple[int, str]:
    """The result of an item that was set aside."""
    return item, why


def nap(item: int) -> int:
    """Work of a moment."""
    time.sleep(0.05)
    return item


async def pause(on: bool = True, dask_worker: Any = None) -> None:
    """On a worker: what its memory manager does, which is kept from taking that back; or the end of it."""
    dask_worker.memory_manager.memory_pause_fraction = False
    dask_worker.status = Status.paused if on else Status.running
