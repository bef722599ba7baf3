"""Fixtures and the report header shared by all tests."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import rasterio
from hypothesis import settings

settings.register_profile(
    "shared machine", deadline=None
)  # how long an example takes says nothing where cores are shared
settings.load_profile("shared machine")
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_report_header() -> str:
    """The versions that decide what rasters, networks and clusters do."""
    device = "CUDA" if shutil.which("nvidia-smi") else "CPU"
    return f"GDAL {rasterio.__gdal_version__}, torch {version('torch')}, Dask {version('dask')}, device {device}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery and reference maps, which are not part of the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real imagery is not here: no shared/data beside the repository")
    return SHARED_DATA
