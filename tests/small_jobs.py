"""Small whole jobs in a folder of their own, and the command line to run them by."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from model_folders import write_model
from strategies import write
from typer import testing

from geoseg.cli import app, screen

ERROR_KINDS = "(Catalog|Job|Grid|Raster|Model|Prediction|Ledger|Cluster)Error"


testing._get_command = lru_cache(testing._get_command)  # else each call makes all commands anew, which takes longer


@dataclass(frozen=True)
class SmallJob:
    """A folder with scene.tif (2 bands), model/, data_catalog.yaml and job.yaml; each key may be set before a run."""

    folder: Path

    @classmethod
    def write(cls, folder: Path, model: Path | None = None, shape: tuple[int, int] = (40, 50)) -> SmallJob:
        """A job that works; `model` is a model folder to use in place of one made here."""
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(7).integers(1, 250, (2, *shape), np.uint8)
        write(folder / "scene.tif", pixels, nodata=0, compress="deflate")
        if model is None:
            write_model(folder / "model")
        made = cls(folder)
        catalog = {
            "imagery": {"scene": {"files": "scene.tif", "bands": {"red": 1, "nir": 2}}},
            "models": {"tiny": {"path": str(model or "model")}},
        }
        made.save("data_catalog.yaml", catalog)
        made.save("job.yaml", {"imagery": "scene", "model": "tiny", "outputs": {"quicklook": False, "report": False}})
        return made

    def load(self, name: str) -> Any:
        """One of the YAML files as plain data."""
        return yaml.safe_load((self.folder / name).read_text())

    def save(self, name: str, data: Any) -> None:
        """Write one of the YAML files."""
        (self.folder / name).write_text(yaml.safe_dump(data))

    def job(self, **keys: Any) -> None:
        """Set keys of job.yaml."""
        self.save("job.yaml", self.load("job.yaml") | keys)

    def imagery(self, **keys: Any) -> None:
        """Set keys of the imagery in data_catalog.yaml."""
        held = self.load("data_catalog.yaml")
        held["imagery"]["scene"].update(keys)
        self.save("data_catalog.yaml", held)

    def plan(self) -> Answer:
        """`geoseg plan`."""
        return geoseg("plan", self.folder / "job.yaml", "--no-probe")

    def run(self, *options: object) -> Answer:
        """`geoseg run --workers 0` into the folder `out`."""
        return geoseg("run", self.folder / "job.yaml", "--workers", "0", "--out", self.out, *options)

    @property
    def out(self) -> Path:
        """Where `run` writes."""
        return self.folder / "out"


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def refusal(self, kind: str = ERROR_KINDS) -> str:
        """The one sentence by which the command refused, with exit status 2 and nothing else on stderr."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.code == 2, self
        assert len(lines) == 1, self
        assert re.match(f"{kind}: ", lines[0]), self
        assert "Traceback" not in self.out + self.err, self
        return lines[0]


def geoseg(*words: object) -> Answer:
    """A command in this process; an error that is not told as a sentence comes out as it is."""
    before = signal.getsignal(signal.SIGTERM)
    screen.out.width = screen.err.width = 1000  # tables and sentences stay on one line
    try:
        found = testing.CliRunner(env={"COLUMNS": "1000"}).invoke(
            app, [str(word) for word in words], catch_exceptions=False
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    return Answer(found.exit_code, found.stdout, found.stderr)


def process(*words: object, **how: Any) -> Answer:
    """The same in a process of its own, as a user starts it."""
    command = [sys.executable, "-c", "from geoseg.cli import main; main()", *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **how)
    return Answer(found.returncode, found.stdout, found.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
