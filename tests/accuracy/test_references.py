"""References: ids on other grids, judged by PROJ point by point, by GDAL, and by rasters worked on paper."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from examples import share_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject
from s3_server import BUCKET, serving

from geoseg import catalog
from geoseg.accuracy.references import Kept, check, on_grid
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, RasterError
from geoseg.grid import Grid, Window
from geoseg.rasters import datasets
from geoseg.storage import s3
from geoseg.vectors import polygons

CRS = "EPSG:32612"
LEGEND = Legend("few", tuple(LandClass(id, f"class {id}", "#000000") for id in (1, 2, 3, 250)))
CORNER = (301_905.0, 4_154_085.0)


def write(path, ids, *, pixel=30.0, corner=CORNER, crs=CRS, nodata=None, **options):
    affine = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    profile = {"driver": "GTiff", "height": ids.shape[0], "width": ids.shape[1], "count": 1, "dtype": ids.dtype}
    with rasterio.open(path, "w", **profile, crs=crs, transform=affine, nodata=nodata, **options) as file:
        file.write(ids, 1)
    return Reference("wanted", str(path), 1, LEGEND, None)


def grid_of(path):
    with rasterio.open(path) as file:
        grid = Grid.of(GeoBox(file.shape, file.transform, file.crs))
        return grid, Window(grid.row0, grid.col0, *file.shape)


@pytest.fixture
def patchwork():
    return np.random.default_rng(1).choice(np.array([1, 2, 3, 250], np.uint8), (70, 90))


def test_the_grids_own_pixels_come_back_as_they_are(tmp_path, patchwork):
    reference = write(tmp_path / "r.tif", patchwork)
    grid, window = grid_of(tmp_path / "r.tif")
    assert np.array_equal(on_grid(reference, grid, window), patchwork)
    around = on_grid(reference, grid, window.grown(5))
    assert np.array_equal(around[5:-5, 5:-5], patchwork)
    assert (around[:5] == -1).all()
    assert (around[:, -5:] == -1).all()


def test_a_reference_that_stays_open_gives_the_same_and_is_opened_once(tmp_path, patchwork, monkeypatch):
    reference = write(tmp_path / "r.tif", patchwork, crs="EPSG:32613", corner=(300_000.0, 4_154_000.0))
    grid, window = grid_of(tmp_path / "r.tif")
    kept, times = Kept(reference), []
    opened = datasets.opened
    monkeypatch.setattr(datasets, "opened", lambda *how: times.append(how) or opened(*how))
    windows = [window, Window(window.row + 3, window.col + 5, 20, 30), window.grown(4)]
    found = [kept.on_grid(grid, each) for each in windows]
    assert len(times) == 1
    for each, ids in zip(windows, found):
        np.testing.assert_array_equal(ids, on_grid(reference, grid, each))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept)).on_grid(grid, window), patchwork)
    kept.close()
    np.testing.assert_array_equal(kept.on_grid(grid, window), patchwork)
    kept.close()
    few = Kept(replace(reference, legend=Legend("one", LEGEND.classes[:1])))
    with pytest.raises(CatalogError, match="legend"):
        few.on_grid(grid, window)
    few.close()


def test_an_aligned_reference_that_starts_elsewhere_is_not_shifted(tmp_path, patchwork):
    write(tmp_path / "map.tif", patchwork)
    reference = write(tmp_path / "r.tif", patchwork, corner=(CORNER[0] + 7 * 30, CORNER[1] + 4 * 30))
    grid, window = grid_of(tmp_path / "map.tif")
    assert np.array_equal(on_grid(reference, grid, window)[:-4, 7:], patchwork[4:, :-7])


def test_nodata_of_the_file_and_of_the_catalog(tmp_path, patchwork):
    legend = Legend("three", LEGEND.classes[:3])
    declared = replace(write(tmp_path / "a.tif", patchwork, nodata=250), legend=legend)
    stated = replace(write(tmp_path / "b.tif", patchwork), legend=legend, nodata=250)
    grid, window = grid_of(tmp_path / "a.tif")
    wanted = np.where(patchwork == 250, -1, patchwork.astype(int))
    for reference in (declared, stated):
        assert np.array_equal(on_grid(reference, grid, window), wanted)


def test_nodata_in_floats(tmp_path):
    ids = np.array([[1, 2], [np.nan, -99999]], np.float32)
    reference = write(tmp_path / "r.tif", ids, nodata=-99999)
    grid, window = grid_of(tmp_path / "r.tif")
    with pytest.raises(RasterError, match="holds fractions or NaN, not class ids"):
        on_grid(reference, grid, window)
    reference = write(tmp_path / "s.tif", np.nan_to_num(ids, nan=3), nodata=-99999)
    assert on_grid(reference, grid, window).tolist() == [[1, 2], [3, -1]]


def test_a_nodata_that_is_a_class_is_refused(tmp_path, patchwork):
    reference = write(tmp_path / "r.tif", patchwork, nodata=2)
    with pytest.raises(CatalogError, match=r"declares nodata 2, which is class 'class 2' of legend 'few'"):
        check(reference)


@pytest.mark.slow
@settings(max_examples=share_of(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-40, 500), st.integers(-40, 500), st.integers(1, 200), st.integers(1, 200))
def test_a_pixel_does_not_depend_on_the_window(shared_data, row, col, height, width):
    reference = Reference("r", str(shared_data / "zion/nlcd2011.tif"), 1, nlcd(), None)
    grid, whole = grid_of(shared_data / "zion/landsat_b2.tif")
    window = Window(whole.row + row, whole.col + col, height, width)
    larger = window.grown(77)
    assert np.array_equal(on_grid(reference, grid, window), on_grid(reference, grid, larger)[77:-77, 77:-77])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nlcd2011.tif", "nlcd.tif"])
def test_zions_reference_on_the_grid_of_the_imagery_is_what_lies_under_each_centre(shared_data, name):
    """PROJ moves every centre by itself; GDAL's warp of the whole raster in one piece happens to agree here."""
    path, legend = shared_data / "zion" / name, nlcd() if name == "nlcd2011.tif" else nlcd("nlcd-level1")
    grid, window = grid_of(shared_data / "zion/landsat_b2.tif")
    with rasterio.open(path) as file:
        ids, affine, crs = file.read(1), file.transform, file.crs
    ours = on_grid(Reference("r", str(path), 1, legend, None), grid, window)
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    x, y = grid.transform_of(window) @ (col.ravel(), row.ravel())
    x, y = Transformer.from_crs(grid.crs, crs.to_wkt(), always_xy=True).transform(x, y)
    col, row = (each.reshape(window.shape) for each in ~affine @ (np.asarray(x), np.asarray(y)))
    hit = (row >= 0) & (row < ids.shape[0]) & (col >= 0) & (col < ids.shape[1])
    under = np.where(hit, ids[np.where(hit, row, 0).astype(int), np.where(hit, col, 0).astype(int)].astype(int), -1)
    assert np.array_equal(ours, np.where(under == 255, -1, under))
    judge = np.full(window.shape, 255, np.uint8)
    reproject(
        ids, judge, src_transform=affine, src_crs=crs, src_nodata=255,
        dst_transform=grid.transform_of(window), dst_crs=grid.crs, dst_nodata=255, resampling=Resampling.nearest,
    )  # fmt: skip
    assert np.array_equal(ours, np.where(judge == 255, -1, judge.astype(int)))


def test_mode_where_the_reference_is_finer_equals_counting(tmp_path):
    fine = np.random.default_rng(2).choice(np.array([1, 2, 3], np.uint8), (300, 360), p=[0.5, 0.3, 0.2])
    reference = write(tmp_path / "r.tif", fine, pixel=10.0)
    write(tmp_path / "map.tif", np.zeros((60, 72), np.uint8), pixel=50.0)
    grid, window = grid_of(tmp_path / "map.tif")
    ours = on_grid(reference, grid, window)
    counts = np.stack([(fine == id).reshape(60, 5, 72, 5).sum((1, 3)) for id in (1, 2, 3)])
    top = np.sort(counts, 0)
    clear = top[-1] > top[-2]
    assert clear.mean() > 0.5
    assert np.array_equal(ours[clear], counts.argmax(0)[clear] + 1)
    assert np.array_equal(on_grid(reference, grid, window, resampling="nearest"), fine[2::5, 2::5])


def test_a_very_fine_reference_is_taken_in_small_pieces_with_the_same_result(tmp_path):
    fine = np.repeat(np.repeat(np.arange(1, 4, dtype=np.uint8), 1000)[None], 2000, 0)
    reference = write(tmp_path / "r.tif", fine, pixel=1.0, compress="deflate")
    grid = Grid(CRS, (100.0, 0.0, CORNER[0], 0.0, -100.0, CORNER[1]))
    assert np.array_equal(on_grid(reference, grid, Window(0, 0, 20, 30))[7], np.repeat([1, 2, 3], 10))


def test_overviews_never_bring_ids_that_the_raster_lacks(tmp_path):
    ids = np.tile(np.array([[1, 3], [3, 1]], np.uint8), (256, 256))
    reference = write(tmp_path / "r.tif", ids, pixel=10.0)
    with rasterio.open(tmp_path / "r.tif", "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)  # every overview pixel is 2
    grid = Grid(CRS, (41.0, 0.0, CORNER[0], 0.0, -41.0, CORNER[1]))
    for resampling in ("auto", "nearest", "mode"):
        found = on_grid(reference, grid, Window(0, 0, 120, 120), resampling=resampling)
        assert set(np.unique(found)) <= {1, 3}


def test_unknown_ids_are_refused_or_ignored(tmp_path, patchwork):
    reference = replace(write(tmp_path / "r.tif", patchwork), legend=Legend("two", LEGEND.classes[:2]))
    grid, window = grid_of(tmp_path / "r.tif")
    with pytest.raises(CatalogError, match=r"reference 'wanted' holds id 3, 250, which legend 'two' lacks"):
        on_grid(reference, grid, window)
    found = on_grid(reference, grid, window, ignore_unknown=True)
    assert np.array_equal(found, np.where(patchwork > 2, -1, patchwork.astype(int)))


def test_ids_that_no_legend_can_hold(tmp_path):
    reference = write(tmp_path / "r.tif", np.array([[1, -128]], np.int16))
    grid, window = grid_of(tmp_path / "r.tif")
    with pytest.raises(CatalogError, match=r"holds id -128; ids run from 0 to 65535, so if it means not labelled"):
        on_grid(reference, grid, window)
    assert on_grid(replace(reference, nodata=-128), grid, window).tolist() == [[1, -1]]


def test_the_catalogs_crs_wins_over_the_files(tmp_path, patchwork):
    reference = write(tmp_path / "r.tif", patchwork, crs="EPSG:3358")
    grid = Grid(CRS, (30.0, 0.0, CORNER[0], 0.0, -30.0, CORNER[1]))
    window = Window(0, 0, *patchwork.shape)
    assert (on_grid(reference, grid, window) == -1).all()
    assert np.array_equal(on_grid(replace(reference, crs=CRS), grid, window), patchwork)


def test_far_from_the_reference_nothing_is_labelled(tmp_path, patchwork):
    reference = write(tmp_path / "r.tif", patchwork)
    assert (on_grid(reference, Grid.regular("EPSG:32756", 10.0), Window(-700_000, 30_000, 50, 50)) == -1).all()
    assert (on_grid(reference, Grid.regular("EPSG:3857", 10.0), Window(10**9, 0, 50, 50)) == -1).all()


def test_the_antimeridian_of_a_reference_in_degrees_is_refused(tmp_path):
    ids = np.ones((180, 360), np.uint8)
    write(tmp_path / "r.tif", ids, pixel=1.0, corner=(-180, 90), crs="EPSG:4326")
    reference = Reference("world", str(tmp_path / "r.tif"), 1, LEGEND, None)
    fiji = Grid.regular("EPSG:3460", 100.0)  # Fiji 1986, the antimeridian runs through it
    with pytest.raises(RasterError, match=r"the map crosses the antimeridian of .*gdalwarp"):
        on_grid(reference, fiji, Window(-40_000, 21_200, 300, 300))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"file": "gone.tif"}, RasterError, r"gone\.tif cannot be read"),
        ({"band": 2}, RasterError, r"has 1 band, band 2 was asked for"),
    ],
)
def test_a_reference_that_cannot_be_opened(tmp_path, patchwork, change, error, match):
    reference = replace(write(tmp_path / "r.tif", patchwork), **change)
    with pytest.raises(error, match=match):
        check(reference)


def test_a_reference_without_a_place_on_earth(tmp_path, patchwork):
    from PIL import Image

    Image.fromarray(patchwork).save(tmp_path / "r.tif")
    reference = Reference("r", str(tmp_path / "r.tif"), 1, LEGEND, None)
    with pytest.raises(RasterError, match=r"r\.tif has no CRS; state it as 'crs' under its entry"):
        check(reference)


def test_a_truncated_reference_names_the_file(tmp_path):
    ids = np.random.default_rng(3).integers(1, 4, (600, 600), np.uint8)
    reference = write(tmp_path / "r.tif", ids)
    grid, window = grid_of(tmp_path / "r.tif")
    data = (tmp_path / "r.tif").read_bytes()
    (tmp_path / "r.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(RasterError, match=r"r\.tif cannot be read"):
        on_grid(reference, grid, window)
    with pytest.raises(RasterError, match=r"r\.tif cannot be read"):
        on_grid(reference, Grid.regular(CRS, 31.0), Grid.regular(CRS, 31.0).cover(grid.footprint(window)))


def test_a_reference_in_a_bucket_is_read_as_one_in_a_folder(tmp_path, patchwork):
    """The store's endpoint is among the settings under which GDAL opens it."""
    reference = write(tmp_path / "r.tif", patchwork, tiled=True, blockxsize=32, blockysize=32)
    grid, window = grid_of(tmp_path / "r.tif")
    with serving():
        s3.upload(tmp_path / "r.tif", f"s3://{BUCKET}/truth/r.tif")
        remote = replace(reference, file=f"s3://{BUCKET}/truth/r.tif")
        check(remote)
        assert np.array_equal(on_grid(remote, grid, window), patchwork)
        other = Grid.regular(CRS, 47.0)
        around = other.cover(grid.footprint(window))
        assert np.array_equal(on_grid(remote, other, around), on_grid(reference, other, around))
        with pytest.raises(RasterError, match=r"truth/gone\.tif cannot be read"):
            check(replace(reference, file=f"s3://{BUCKET}/truth/gone.tif"))


def test_a_pole_and_its_neighbourhood_are_labelled_or_refused_but_never_made_up(tmp_path):
    """A reference in degrees with a class for each hemisphere, on a polar map: no pixel has the class of the other."""
    ids = np.ones((180, 360), np.uint8)
    ids[:, 180:] = 2
    write(tmp_path / "r.tif", ids, pixel=1.0, corner=(-180, 90), crs="EPSG:4326")
    reference = Reference("world", str(tmp_path / "r.tif"), 1, LEGEND, None)
    polar = Grid.regular("EPSG:3413", 20_000.0)
    with pytest.raises(RasterError, match="crosses the antimeridian"):
        on_grid(reference, polar, Window(-20, -20, 40, 40))
    # Longitudes of the map's lower half: 45 degrees west runs straight down.
    window = Window(20, 0, 200, 200)
    found = on_grid(reference, polar, window)
    row, col = np.mgrid[0 : window.height, 0 : window.width] + 0.5
    x, y = polar.transform_of(window) @ (col.ravel(), row.ravel())
    lon, _ = Transformer.from_crs("EPSG:3413", "EPSG:4326", always_xy=True).transform(x, y)
    lon = np.asarray(lon).reshape(window.shape)
    clear = np.abs(lon) > 0.5
    assert np.array_equal(found[clear], np.where(lon < 0, 1, 2)[clear])


def nlcd(name="nlcd"):
    return catalog.shipped().legend(name)


@pytest.mark.parametrize("how", ["alpha", "mask inside", "mask beside", "nodata and mask"])
def test_what_says_that_there_is_no_data_says_it_for_a_reference_as_for_a_map_that_is_traced(tmp_path, patchwork, how):
    """One rule for `evaluate` and `vectorize`; judged by what was written."""
    path, hidden = tmp_path / "r.tif", np.add.outer(np.arange(70), np.arange(90)) % 4 == 0
    bands, nodata = (2, None) if how == "alpha" else (1, 2 if how == "nodata and mask" else None)
    profile = {"driver": "GTiff", "height": 70, "width": 90, "count": bands, "dtype": "uint8", "nodata": nodata}
    inside = how != "mask beside"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside),
        rasterio.open(path, "w", **profile, crs=CRS, transform=Affine(30, 0, CORNER[0], 0, -30, CORNER[1])) as out,
    ):
        if how == "alpha":  # said before a block is flushed: GDAL writes it beside the file then
            out.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
            out.write(np.where(hidden, 0, 255).astype(np.uint8), 2)
        out.write(patchwork, 1)
        if how != "alpha":
            out.write_mask(~hidden)
    assert (tmp_path / "r.tif.msk").exists() == (not inside)
    wanted = np.where(hidden | (patchwork == 2 if nodata else False), -1, patchwork.astype(int))
    legend = Legend("without 2", tuple(each for each in LEGEND.classes if each.id != nodata))
    grid, window = grid_of(path)
    found = on_grid(Reference("r", str(path), 1, legend, None), grid, window)
    assert np.array_equal(found, wanted)
    frame = polygons.trace(path)
    pixels = (frame.groupby("class_id")["area_m2"].sum() / grid.pixel_area).round().astype(int).to_dict()
    counted = {int(id): int((wanted == id).sum()) for id in np.unique(wanted) if id >= 0}
    assert pixels == pytest.approx(counted, rel=2e-3)
