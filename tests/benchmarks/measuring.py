"""Measuring: a command run as a child: seconds, most memory of each of its processes, how busy a GPU was meanwhile."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Measured:
    """What a command took."""

    seconds: float
    status: int
    rss: Mapping[int, int]
    """Most resident bytes of each process, those of the command's children too."""
    pss: Mapping[int, int]
    """The same with shared pages divided among those that share them."""
    busy: Busy


def measured(command: Sequence[str | Path], folder: Path, log: Path, env: Mapping[str, str], device: str) -> Measured:
    """Run a command in a folder, its words in a log."""
    clock = time.perf_counter()
    with log.open("w") as words:
        child = subprocess.Popen(command, cwd=folder, stdout=words, stderr=words, env=env)
        with Watched(child.pid) as watched, Busy(device) as busy:
            child.wait()
    return Measured(time.perf_counter() - clock, child.returncode, watched.rss, watched.pss, busy)


class Watched:
    """Most memory of a process and of each of its children: RSS 20 times a second, PSS, which costs more, twice."""

    def __init__(self, pid: int) -> None:
        self.rss: dict[int, int] = {}
        self.pss: dict[int, int] = {}
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        turn = 0
        while not self._stop.wait(0.05):
            turn += 1
            for each in self._processes():
                try:
                    self.rss[each.pid] = max(self.rss.get(each.pid, 0), each.memory_info().rss)
                    if turn % 10 == 0:
                        self.pss[each.pid] = max(self.pss.get(each.pid, 0), each.memory_full_info().pss)
                except (psutil.Error, OSError):  # it ended just now
                    continue

    def _processes(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.Error:
            return []


class Busy:
    """Share of the time in which a GPU computes, as nvidia-smi says five times a second; None for a CPU."""

    def __init__(self, device: str) -> None:
        self._device, self._seen = device, []
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Busy:
        if self._device != "cpu":
            number = self._device.partition(":")[2] or "0"
            query = ["nvidia-smi", "-i", number, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            self._child = subprocess.Popen([*query, "-lms", "200"], stdout=subprocess.PIPE, text=True)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.terminate()
            self._thread.join()

    def share(self, began: float, finished: float) -> float | None:
        """Mean between two times."""
        held = [share for at, share in self._seen if began <= at <= finished]
        return statistics.mean(held) / 100 if held else None

    def _watch(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._seen.append((time.time(), float(line)))
