"""Trouble on purpose: `<job folder>.trouble.json` says which blocks are slow, greedy or deadly.

Workers learn it by `--preload faults`, a process of its own by `python -m faults GEOSEG-COMMAND`, and both note each
attempt at a block in `<job folder>.attempts`, so that a test can count them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from geoseg.grid import Window
from geoseg.jobs import block as job_block
from geoseg.jobs import sheet as job_sheet
from geoseg.maps import sheets as maps_sheets
from geoseg.storage.record import Record

_finish = job_block.finish
_make_sheet = job_sheet.make


def plan_trouble(
    folder: Path,
    *,
    sleep: float = 0.0,
    kill: tuple[Window, ...] = (),
    hog: dict[Window, float] | None = None,
    hog_s: float = 5.0,
    sheet_sleep: float = 0.0,
    sheet_kills: int = 0,
    sheets_wait: bool = False,
) -> None:
    """Make every block take `sleep` seconds, those of `kill` deadly, those of `hog` hold so many bytes for a while.

    Sheets take `sheet_sleep` seconds once they are written and not yet named, with `sheets_wait` until `let_sheets_go`,
    and the first `sheet_kills` of them kill their workers then.
    """
    facts = {
        "sleep": sleep,
        "kill": [[each.row, each.col] for each in kill],
        "hog": [[[each.row, each.col], held] for each, held in (hog or {}).items()],
        "hog_s": hog_s,
        "sheet_sleep": sheet_sleep,
        "sheet_kills": sheet_kills,
    }
    if sheets_wait:
        _beside(folder, "hold").touch()
    fresh = _beside(folder, "trouble.new")
    fresh.write_text(json.dumps(facts))
    fresh.replace(_beside(folder, "trouble.json"))


def let_sheets_go(folder: Path) -> None:
    """End the wait that `sheets_wait` began."""
    _beside(folder, "hold").unlink()


def attempts(folder: Path) -> Counter[tuple[int, int]]:
    """How often each block, by its row and column, was begun."""
    path = _beside(folder, "attempts")
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return Counter((int(row), int(col)) for row, col in map(str.split, lines))


def finish(
    root: str, digest: str, variant: str, predict: Any, threads: int | None, window: Window, **more: Any
) -> Record:
    """`block.finish` with the trouble planned for its folder."""
    folder = Path(root)
    with _beside(folder, "attempts").open("a") as file:
        file.write(f"{window.row} {window.col}\n")
    plan = _beside(folder, "trouble.json")
    facts = json.loads(plan.read_text()) if plan.exists() else {}
    here = [window.row, window.col]
    if here in facts.get("kill", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(facts.get("sleep", 0))
    for place, held in facts.get("hog", ()):
        if place == here:
            greedy = b"x" * int(held)
            time.sleep(facts["hog_s"])
            del greedy
    return _finish(root, digest, variant, predict, threads, window, **more)


def make_sheet(root: str, at_once: int, key: str) -> job_sheet.Made:
    """`sheet.make` with the trouble planned for its folder."""
    folder = Path(root)
    with _beside(folder, "sheets").open("a") as file:
        file.write(f"{key}\n")
    plan = _beside(folder, "trouble.json")
    facts = json.loads(plan.read_text()) if plan.exists() else {}
    deadly = len(sheet_attempts(folder)) <= facts.get("sheet_kills", 0)
    written = maps_sheets.make_sheet

    def troubled(*what: Any, **how: Any) -> Any:
        counts = written(*what, **how)
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(facts.get("sheet_sleep", 0))
        while _beside(folder, "hold").exists():
            time.sleep(0.02)
        return counts

    job_sheet.make_sheet = troubled
    end = "made"
    try:
        made = _make_sheet(root, at_once, key)
        end = "damaged" if made.damaged else "made"
        return made
    except Exception as error:
        end = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise
    finally:
        with _beside(folder, "ends").open("a") as file:
            file.write(f"{end}\n")


def sheet_attempts(folder: Path) -> list[str]:
    """Keys of the sheets that were begun, each as often as it was."""
    path = _beside(folder, "sheets")
    return path.read_text().split() if path.exists() else []


def sheet_ends(folder: Path) -> list[str]:
    """What became of the sheets that were begun and whose workers live: 'made', 'damaged' blocks, or the error."""
    path = _beside(folder, "ends")
    return path.read_text().splitlines() if path.exists() else []


def dask_setup(worker: object) -> None:
    """Let a worker be troubled; Dask calls this in each worker with `--preload faults`."""
    job_block.finish = finish
    job_sheet.make = make_sheet


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f"{folder.name}.{ending}")


if __name__ == "__main__":
    import faults

    from geoseg.cli import main

    faults.dask_setup(None)
    sys.argv[0] = "geoseg"
    main()
