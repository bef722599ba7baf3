"""Virtual mosaics: read back by GDAL."""

from pathlib import Path

import numpy as np
import rasterio

from geoseg.grid import Grid, Window
from geoseg.rasters import vrt

GRID = Grid("EPSG:32612", (30.0, 0.0, 300015.0, 0.0, -30.0, 4199985.0))
BAND = vrt.MapBand(None, "values", 1.0, None)


def rasters(folder: Path, windows: list[Window]) -> list[tuple[Window, Path]]:
    """One file for each window, its pixels painted with their place."""
    made = []
    for window in windows:
        rows, cols = np.mgrid[window.row : window.row_end, window.col : window.col_end]
        path = folder / f"{window.row}_{window.col}.tif"
        facts = {"crs": GRID.crs, "transform": GRID.transform_of(window), "nodata": 255}
        with rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="uint8", height=window.height, width=window.width, **facts
        ) as out:
            out.write(((rows * 7 + cols * 13) % 255).astype(np.uint8), 1)
        made.append((window, path))
    return made


def test_many_sources_nested_read_as_few_sources_flat(tmp_path: Path) -> None:
    # blocks of several heights and widths, gaps, and an extent across them
    windows = [Window(row, col, 10, 12) for row in (-10, 0, 10) for col in (0, 12, 24)]
    windows = [*windows[:4], Window(0, 12, 10, 12), windows[5], Window(10, 0, 9, 12), Window(13, 12, 2, 20)]
    sources, extent = rasters(tmp_path, windows), Window(-7, 5, 26, 30)
    for name, text in vrt.nested(sources, GRID, extent, BAND, {"A": "b"}, tmp_path, most=3).items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "flat.vrt").write_bytes(vrt.compose(sources, GRID, extent, BAND, {"A": "b"}))
    assert len(list(tmp_path.glob("row*.vrt"))) == 3
    with rasterio.open(tmp_path / "map.vrt") as nested, rasterio.open(tmp_path / "flat.vrt") as flat:
        assert (nested.read(1) == flat.read(1)).all()
        assert nested.transform == flat.transform == GRID.transform_of(extent)
        assert nested.tags()["A"] == "b"


def test_sources_can_be_named_by_their_place_below_the_mosaic(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    window = Window(0, 0, 5, 7)
    text = vrt.compose(rasters(tmp_path / "old", [window]), GRID, window, BAND, {}, relative_to=tmp_path / "old")
    (tmp_path / "old" / "map.vrt").write_bytes(text)
    (tmp_path / "old").rename(tmp_path / "new & moved")
    with rasterio.open(tmp_path / "new & moved" / "map.vrt") as source:
        assert source.read(1)[4, 6] == (4 * 7 + 6 * 13) % 255
