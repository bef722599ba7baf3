"""Fixtures and the report header shared by all tests."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rasterio
from examples import share_of
from hypothesis import settings

# How long an example takes says nothing where cores are shared.
settings.register_profile("shared machine", deadline=None, max_examples=share_of(100))
settings.load_profile("shared machine")
if TYPE_CHECKING:
    from farm import Farm

collect_ignore = ["benchmarks"]
"""Programs of their own, which find each other in their folder."""
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_report_header() -> str:
    """The versions that decide what rasters, networks and clusters do."""
    device = "CUDA" if shutil.which("nvidia-smi") else "CPU"
    return f"GDAL {rasterio.__gdal_version__}, torch {version('torch')}, Dask {version('dask')}, device {device}"


@pytest.hookimpl(tryfirst=True)  # before -m is applied
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, beside which the others run; skip what needs a CUDA device where there is none."""
    cases: Counter[str] = Counter()
    for item in items:
        if sampled := item.get_closest_marker("sampled"):
            name = item.nodeid.partition("[")[0]
            if cases[name] % sampled.args[0]:
                item.add_marker(pytest.mark.slow)
            cases[name] += 1
    items.sort(key=_longest, reverse=True)
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _longest(item: pytest.Item) -> float:
    """How long a test is allowed to take, if it says so."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


@pytest.fixture(scope="session", autouse=True)
def notes_of_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Jobs that tests submit are noted in a place of their own, not in the account's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Files reach the disk when the system likes: no test cuts the power. Processes that tests start do wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery and reference maps, which are not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real imagery is not here: no shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a small random network of two bands."""
    from model_folders import write_model

    return write_model(tmp_path_factory.mktemp("model") / "tiny").folder


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A scheduler, with workers that can be troubled."""
    from farm import Farm

    farm = Farm(tmp_path_factory.mktemp("farm"))
    yield farm
    farm.end()
