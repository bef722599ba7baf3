"""Going on with a job, interrupted before its n-th change of the job folder: a crash, a disk that is full, a pause.

Python tells an audit hook of each file that it is about to open for writing, rename, link or remove, and of each
folder that it is about to make or remove. So every point between two such changes can be tried in turn; what GDAL
writes meanwhile lies in folders that only Python renames.

`python -m interruptions FOLDER N crash|full|pause`: exit status 0 if the job was finished before the n-th change, 9
after a crash, 2 if geoseg refused to go on (its sentence is printed).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.jobs import run as job_run
from geoseg.jobs.plan import Plan
from geoseg.storage import job_file, lock
from geoseg.storage.store import Store

CHANGES = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")
GROWING = ("open", "os.rename", "os.link", "os.mkdir")
"""Changes that a full disk refuses."""


def interrupt(folder: Path, at: int, how: str) -> None:
    """Let this process crash, find the disk full or stand still before its change number `at` (from 0) in `folder`."""
    inside = str(folder) + os.sep
    seen = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in (GROWING if how == "full" else CHANGES):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not (isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(inside)):
            return
        seen += 1
        if seen == at + 1 and how == "crash":
            os._exit(9)
        if seen == at + 1 and how == "pause":  # all threads stand still, the heartbeat of the lock too
            os.kill(os.getpid(), signal.SIGSTOP)
        if seen > at and how == "full":  # a full disk stays full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(args[0]))

    sys.addaudithook(hook)


def go_on(folder: Path) -> None:
    """Go on with the job of a folder in this process."""
    job_run.run(Plan.from_json(job_file.read_job(Store(str(folder)))["plan"]), folder, threads=1)


if __name__ == "__main__":
    place, number, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if kind == "pause":
        lock.STALE_S, lock.BEAT_S = 0.4, 0.05
    interrupt(place, number, kind)
    try:
        go_on(place)
    except GeosegError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(2)
