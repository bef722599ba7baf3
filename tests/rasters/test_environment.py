"""Environment: the settings as GDAL has them in force, and warnings among threads."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.env import getenv
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from strategies import coordinates, write

from geoseg.rasters.environment import environment, open_raster


def unplaced(path: Path) -> str:
    """A raster of which rasterio warns that it has no georeference, at each opening."""
    profile = {"driver": "GTiff", "count": 2, "height": 3, "width": 4, "dtype": "uint16"}
    with pytest.warns(NotGeoreferencedWarning), rasterio.open(path, "w", **profile) as file:
        file.write(coordinates(3, 4))
    with pytest.warns(NotGeoreferencedWarning):
        rasterio.open(path).close()
    return str(path)


def test_remote_paths_get_gdals_cloud_settings_and_local_ones_do_not() -> None:
    assert "VSI_CACHE" not in environment("/data/a.tif").options
    for path in ("https://host/a.tif", "/vsicurl/https://host/a.tif", "gs://bucket/a.tif"):
        assert environment(path).options["VSI_CACHE"] == "TRUE"


def test_the_settings_are_gdals_own_while_they_last() -> None:
    with environment("/data/a.tif"):
        assert getenv()["GDAL_VRT_ENABLE_PYTHON"] == "NO"
        assert getenv()["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
        with environment("https://host/a.tif"):
            assert getenv()["VSI_CACHE"] == "TRUE"
        assert "VSI_CACHE" not in getenv()


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("https://host/a.tif", "/vsicurl/https://host/a.tif"),
        ("/vsicurl/https://host/a.tif", "/vsicurl/https://host/a.tif"),
    ],
)
def test_gdal_forgets_what_it_cached_of_a_remote_file_when_asked_and_of_objects_always(path: str, seen: str) -> None:
    assert environment(path, fresh=True).options["CPL_VSIL_CURL_NON_CACHED"] == seen
    assert ("CPL_VSIL_CURL_NON_CACHED" in environment(path).options) == path.startswith("s3://")
    assert "CPL_VSIL_CURL_NON_CACHED" not in environment("/data/a.tif", fresh=True).options


@pytest.mark.parametrize(("endpoint", "host", "https"), [("http://h:1", "h:1", "NO"), ("https://h", "h", "YES")])
def test_objects_are_looked_for_at_the_endpoint_that_the_store_uses(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, host: str, https: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for path in ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"):
        options = environment(path).options
        assert (options["AWS_S3_ENDPOINT"], options["AWS_HTTPS"]) == (host, https)
    assert "AWS_S3_ENDPOINT" not in environment("gs://bucket/a.tif").options


def test_a_raster_without_georeference_opens_in_silence(tmp_path: Path) -> None:
    path = unplaced(tmp_path / "a.tif")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_raster(path, "GTiff") as file:
            np.testing.assert_array_equal(file.read(), coordinates(3, 4))
    assert not caught


def test_no_driver_but_the_one_named_opens_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coordinates(3, 4))
    with pytest.raises(RasterioIOError):
        open_raster(path, "VRT")


def test_threads_that_open_at_once_leave_the_filters_as_they_were_and_hear_nothing(tmp_path: Path) -> None:
    """`catch_warnings` in each thread would restore filters in any order, and warnings would come and go."""
    path = unplaced(tmp_path / "a.tif")
    threads, start = 8, threading.Barrier(8)

    def opens() -> None:
        start.wait()
        for _ in range(40):
            open_raster(path, "GTiff").close()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(threads) as pool:
            for each in [pool.submit(opens) for _ in range(threads)]:
                each.result()
        assert warnings.filters == before
        with pytest.raises(NotGeoreferencedWarning):
            rasterio.open(path)


def test_a_failed_opening_restores_the_filters(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no raster")
    before = list(warnings.filters)
    with pytest.raises(RasterioIOError):
        open_raster(str(tmp_path / "a.tif"), "GTiff")
    assert warnings.filters == before
