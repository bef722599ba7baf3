"""Readback: whatever a full disk leaves of a file is noticed, and of the files that are made so none is published."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from full_disk import no_file_beyond
from rasterio.windows import Window
from strategies import write

from geoseg.accuracy import change, drawn
from geoseg.accuracy.references import opened
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError
from geoseg.rasters import readback
from geoseg.vectors import mapping_unit

LEGEND = Legend("three", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3)))


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    labels = np.kron(np.random.default_rng(0).integers(1, 4, (110, 110)), np.ones((10, 10), int)).astype(np.uint8)
    for name, pixels in (("map", labels), ("later", np.roll(labels, 3, 0))):
        write(folder / f"{name}.tif", pixels[None], nodata=255)
    return folder


def sieved(maps, out):
    mapping_unit.write_sieved(maps / "map.tif", out, ["10ha"])


def compared(maps, out):
    change.compare(maps / "map.tif", maps / "later.tif", legend=LEGEND, after_legend=LEGEND, out=out)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("make", [sieved, compared])
@pytest.mark.sampled(2)
def test_on_a_full_disk_no_part_of_a_raster_passes_for_whole(maps, tmp_path, make, share):
    make(maps, tmp_path / "whole.tif")
    size = (tmp_path / "whole.tif").stat().st_size
    with no_file_beyond(int(size * share)), pytest.raises(RasterError, match=r"out\.tif cannot be written"):
        make(maps, tmp_path / "out.tif")
    assert [each.name for each in tmp_path.iterdir()] == ["whole.tif"]


def test_a_pixel_that_is_another_is_noticed(tmp_path):
    pixels = np.arange(40 * 50, dtype=np.uint16).reshape(1, 40, 50)
    one, other = (write(tmp_path / f"{name}.tif", pixels, nodata=None) for name in ("one", "other"))
    written = readback.Written()
    written.note(Window(10, 5, 20, 30), pixels[0, 5:35, 10:30])
    written.check(one, one)
    readback.check_copy(one, other, other)
    with rasterio.open(other, "r+") as file:
        file.write(np.array([[7]], np.uint16), 1, window=Window(29, 34, 1, 1))
    with pytest.raises(RasterError, match=r"other\.tif cannot be written: what is read of it is not what was written"):
        readback.check_copy(one, other, other)
    with pytest.raises(RasterError, match=r"other\.tif cannot be written"):
        written.check(other, other)


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [500, 4_000, 20_000])
@pytest.mark.sampled(3)
def test_on_a_full_disk_no_part_of_a_drawn_reference_is_scored_against(maps, tmp_path, most_bytes):
    rng = np.random.default_rng(1)
    corners = rng.uniform((300_015, 4_167_000), (333_000, 4_199_985), (400, 2))
    frame = geopandas.GeoDataFrame(
        {"class": rng.integers(1, 4, 400)}, geometry=shapely.buffer(shapely.points(corners), 900)
    )
    frame.set_crs("EPSG:32612").to_file(tmp_path / "truth.gpkg")
    truth = Reference("truth", str(tmp_path / "truth.gpkg"), 1, LEGEND, None, column="class")
    with opened(Reference("map", str(maps / "map.tif"), 1, LEGEND, None)) as mapped:
        drawing = drawn.as_raster(truth, mapped.grid, mapped.window)
        with no_file_beyond(most_bytes), pytest.raises(RasterError, match="cannot be written"):
            drawing.__enter__()
