"""VRT: mosaics as text, read back by GDAL; and what a VRT from elsewhere must be."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import vrt

GRID = Grid("EPSG:32612", (30.0, 0.0, 300015.0, 0.0, -30.0, 4199985.0))
BAND = vrt.MapBand(None, ("values",), 1.0, None)


def rasters(folder: Path, windows: list[Window]) -> list[tuple[Window, Path]]:
    """One file for each window, its pixels painted with their position."""
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


def test_sources_can_be_named_by_their_path_below_the_mosaic(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    window = Window(0, 0, 5, 7)
    text = vrt.compose(rasters(tmp_path / "old", [window]), GRID, window, BAND, {}, relative_to=tmp_path / "old")
    (tmp_path / "old" / "map.vrt").write_bytes(text)
    (tmp_path / "old").rename(tmp_path / "new & moved")
    with rasterio.open(tmp_path / "new & moved" / "map.vrt") as source:
        assert source.read(1)[4, 6] == (4 * 7 + 6 * 13) % 255


@settings(max_examples=share_of(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_extent_over_any_blocks_reads_as_the_blocks_do(tmp_path: Path, data: st.DataObject) -> None:
    spans = st.tuples(st.integers(1, 9), st.integers(1, 9))
    windows = [
        Window(10 * row, 10 * col, *data.draw(spans))
        for row, col in data.draw(st.sets(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1))
    ]
    extent = Window(data.draw(st.integers(-25, 15)), data.draw(st.integers(-25, 15)), 17, 23)
    (tmp_path / "a.vrt").write_bytes(vrt.compose(rasters(tmp_path, windows), GRID, extent, BAND, {}))
    wanted = np.full(extent.shape, 255, np.uint8)
    for window in windows:
        part = window.meet(extent)
        if part is not None:
            rows, cols = np.mgrid[part.row : part.row_end, part.col : part.col_end]
            wanted[part.within(extent)] = (rows * 7 + cols * 13) % 255
    with rasterio.open(tmp_path / "a.vrt") as source:
        assert (source.read(1) == wanted).all()
        assert source.nodata == 255


def test_a_legend_reaches_gdal_as_colours_and_comes_back_as_names(tmp_path: Path) -> None:
    legend = Legend("two", (LandClass(3, 'forêt "dense" <&>', "#006400"), LandClass(0, "water", "#0064c8")))
    text = vrt.compose([], GRID, Window(0, 0, 5, 7), vrt.MapBand(legend, ("land cover",), 1.0, {0: 2**40}), {})
    (tmp_path / "a.vrt").write_bytes(text)
    with rasterio.open(tmp_path / "a.vrt") as source:
        colours = source.colormap(1)
        assert (colours[3], colours[0]) == ((0, 100, 0, 255), (0, 100, 200, 255))
        assert source.descriptions == ("land cover",)
    assert vrt.class_names(ET.fromstring(text)) == {3: 'forêt "dense" <&>', 0: "water"}
    bare = ET.fromstring(text)
    for band in bare.iter("VRTRasterBand"):
        band.remove(band.find("GDALRasterAttributeTable"))
    assert vrt.class_names(bare) == {3: 'forêt "dense" <&>', 0: "water"}  # category names alone
    assert vrt.class_names(ET.fromstring(b"<PAMDataset/>")) == {}


def test_a_legend_of_ids_that_do_not_fit_is_refused() -> None:
    with pytest.raises(CatalogError, match="has id 255; maps store ids 0 to 254"):
        vrt.MapBand(Legend("x", (LandClass(255, "a", "#000000"),)), ("land cover",), 1.0, None)


# ------------------------------------------------------------------------------------- from elsewhere


def mosaic(path: Path, *names: str) -> Path:
    """A plain VRT that names files relative to itself."""
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename></SimpleSource>' for name in names
    )
    path.write_text(f"<VRTDataset><VRTRasterBand>{sources}</VRTRasterBand></VRTDataset>")
    return path


def test_what_is_composed_here_passes_the_check(tmp_path: Path) -> None:
    window = Window(0, 0, 5, 7)
    text = vrt.compose(rasters(tmp_path, [window]), GRID, window, BAND, {"A": "b"}, relative_to=tmp_path)
    (tmp_path / "a.vrt").write_bytes(text)
    vrt.check(tmp_path / "a.vrt")


@pytest.mark.parametrize("depth", [1, 4, 5])
def test_vrts_within_vrts_pass_to_a_depth_of_four(tmp_path: Path, depth: int) -> None:
    rasters(tmp_path, [Window(0, 0, 5, 7)])
    mosaic(tmp_path / "0.vrt", "0_0.tif")
    for number in range(1, depth + 1):
        mosaic(tmp_path / f"{number}.vrt", f"{number - 1}.vrt")
    if depth <= 4:
        vrt.check(tmp_path / f"{depth}.vrt")
    else:
        with pytest.raises(RasterError, match="more than 4 VRTs deep"):
            vrt.check(tmp_path / f"{depth}.vrt")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../up.tif", "does not lie beside or below it"),
        ("/etc/passwd", "does not lie beside or below it"),
        ("below/../../up.tif", "does not lie beside or below it"),
        (" 0_0.tif", "does not lie beside or below it"),
        ("http://host/a.tif", "does not lie beside or below it"),
        ("link.tif", "does not lie beside or below it"),
        ("gone.tif", "does not exist; bring the file back"),
        ("text.tif", "neither TIFF, JPEG 2000 nor VRT"),
    ],
)
def test_a_name_that_leads_away_is_refused_unless_it_is_trusted(tmp_path: Path, name: str, match: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    rasters(tmp_path, [Window(0, 0, 5, 7)])[0][1].rename(tmp_path / "up.tif")
    (folder / "link.tif").symlink_to(tmp_path / "up.tif")
    (folder / "text.tif").write_text("id,name")
    path = mosaic(folder / "a.vrt", name)
    with pytest.raises(RasterError, match=match):
        vrt.check(path)
    vrt.check(path, trusted=True)


def test_a_vrt_that_computes_is_refused_even_if_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    path.write_text('<VRTDataset><VRTRasterBand subClass="VRTDerivedRasterBand"/></VRTDataset>')
    for trusted in (False, True):
        with pytest.raises(RasterError, match="computes its pixels by a function; write the result to a GeoTIFF"):
            vrt.check(path, trusted=trusted)
