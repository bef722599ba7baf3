"""Drawn: polygons and points on a grid are what GDAL burns, in any CRS and format, whatever the window asked for."""

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio import features

from geoseg.accuracy.references import check, identity_of, on_grid
from geoseg.catalog import Reference
from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError, GridError, RasterError
from geoseg.grid import Grid, Window

CRS = "EPSG:32633"
LEGEND = Legend("few", tuple(LandClass(id, name, "#000000") for id, name in ((1, "Wald"), (2, "Wasser"), (7, "湖"))))
AFFINE = Affine(10, 0, 500_000, 0, -10, 5_200_000)
GRID = Grid.of(GeoBox((100, 120), AFFINE, CRS))
WINDOW = Window(GRID.row0, GRID.col0, 100, 120)


def written(path, shapes, classes, crs=CRS, **options):
    frame = geopandas.GeoDataFrame({"kind": classes}, geometry=shapes, crs=CRS).to_crs(crs)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path, **options)
    return Reference("fields", str(path), 1, LEGEND, None, column="kind")


def blobs(count, seed=0):
    """Polygons with many corners, and their classes."""
    random = np.random.default_rng(seed)
    centres = random.uniform((500_000, 5_199_000), (501_200, 5_200_000), (count, 2))
    angles = np.sort(random.uniform(0, 2 * np.pi, (count, 12)), axis=1)
    radii = random.uniform(20, 150, (count, 12))
    rings = centres[:, None] + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return [shapely.Polygon(ring) for ring in rings], random.choice([1, 2, 7], count).tolist()


def burnt(shapes, classes):
    """By GDAL, class by class; none where there are several."""
    of_kind = [[s for s, c in zip(shapes, classes) if c == kind] or [shapely.Point(0, 0)] for kind in LEGEND.ids]
    masks = np.array([features.rasterize(each, (100, 120), transform=AFFINE) for each in of_kind])
    return np.where(masks.sum(axis=0) == 1, np.array(LEGEND.ids)[masks.argmax(axis=0)], -1)


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.fgb", "a.geojson", "a.parquet"])
def test_polygons_are_what_gdal_burns(tmp_path, name):
    shapes, classes = blobs(40)
    reference = written(tmp_path / name, shapes, classes, "EPSG:4326" if name == "a.geojson" else CRS)
    found = on_grid(reference, GRID, WINDOW)
    expected = burnt(shapes, classes)
    assert (expected >= 0).sum() > 2000
    assert ((expected < 0) & (burnt(shapes, [1] * 40) >= 0)).any()  # some overlap
    assert (found != expected).mean() <= (0.002 if name == "a.geojson" else 0)


def test_classes_are_read_by_id_or_name_and_empty_ones_left_out(tmp_path):
    shapes = [shapely.box(500_000 + 100 * at, 5_199_900, 500_100 + 100 * at, 5_200_000) for at in range(6)]
    by_name = on_grid(written(tmp_path / "n.gpkg", shapes, ["Wald", " wasser", "湖", "7", "", None]), GRID, WINDOW)
    by_id = on_grid(written(tmp_path / "i.gpkg", shapes, [1.0, 2.0, 7.0, 7.0, np.nan, np.nan]), GRID, WINDOW)
    np.testing.assert_array_equal(by_name, by_id)
    assert by_name[5, 5:60:10].tolist() == [1, 2, 7, 7, -1, -1]


@settings(max_examples=share_of(12), deadline=None)
@given(st.integers(-20, 110), st.integers(-20, 130), st.integers(1, 60), st.integers(1, 60))
def test_a_pixel_does_not_depend_on_the_window(tmp_path_factory, row, col, height, width):
    shapes, classes = blobs(30, 5)
    reference = written(tmp_path_factory.mktemp("w") / "a.fgb", shapes, classes)
    around = Window(GRID.row0 - 20, GRID.col0 - 20, 200, 220)
    window = Window(GRID.row0 + row, GRID.col0 + col, height, width)
    np.testing.assert_array_equal(
        on_grid(reference, GRID, window), on_grid(reference, GRID, around)[window.within(around)]
    )


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:3035"])
def test_points_label_the_pixel_that_holds_them(tmp_path, crs):
    random = np.random.default_rng(2)
    rows, cols = random.integers(0, 100, 60), random.integers(0, 120, 60)
    xs, ys = AFFINE @ (cols + random.uniform(0.1, 0.9, 60), rows + random.uniform(0.1, 0.9, 60))
    classes = random.choice([1, 2, 7], 60)
    points = [shapely.Point(x, y) for x, y in zip(xs, ys)]
    points[3], classes[3] = shapely.MultiPoint([points[3], points[4]]), classes[4]
    found = on_grid(written(tmp_path / "p.gpkg", points, classes, crs), GRID, WINDOW)
    expected = np.full((100, 120), -1)
    for row, col, kind in zip(rows, cols, classes):
        expected[row, col] = kind
    expected[rows[3], cols[3]] = classes[4]
    several = {(r, c) for r, c, k in zip(rows, cols, classes) if expected[r, c] != k}
    for row, col in several:
        expected[row, col] = -1
    np.testing.assert_array_equal(found, expected)


def test_edges_that_are_straight_in_another_crs_are_drawn_so(tmp_path):
    """A field 12 km wide, straight in degrees, bulges by some pixels in UTM."""
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*(AFFINE @ (60, 50)))
    frame = geopandas.GeoDataFrame(
        {"kind": [1]}, geometry=[shapely.box(lon - 2, lat - 1, lon + 2, lat)], crs="EPSG:4326"
    )
    frame.to_file(tmp_path / "a.gpkg")
    found = on_grid(Reference("f", str(tmp_path / "a.gpkg"), 1, LEGEND, None, column="kind"), GRID, WINDOW)
    rows, cols = np.indices((100, 120))
    _, lats = to_degrees.transform(*(AFFINE @ (cols + 0.5, rows + 0.5)))
    sure = np.abs(lats - lat) > 2e-5  # two metres
    np.testing.assert_array_equal((found == 1)[sure], (lats < lat)[sure])


def test_features_are_chosen_by_layer_and_filter(tmp_path):
    shapes, classes = blobs(10)
    first = written(tmp_path / "a.gpkg", shapes, classes, layer="one")
    written(tmp_path / "a.gpkg", shapes[:1], classes[:1], layer="two")
    with pytest.raises(GridError, match="has 2 layers"):
        check(first)
    some = replace(first, layer="one", where="kind = 2")
    of_two = ([s for s, c in zip(shapes, classes) if c == 2], [2] * classes.count(2))
    np.testing.assert_array_equal(on_grid(some, GRID, WINDOW), burnt(*of_two))


@pytest.mark.parametrize(
    ("shapes", "classes", "change", "error", "said"),
    [
        ([shapely.box(0, 0, 1, 1)], ["Wlad"], {}, CatalogError, "no class 'Wlad' in legend 'few'; did you mean 'Wald'"),
        ([shapely.box(0, 0, 1, 1)], [3], {}, CatalogError, "no class '3' in legend 'few'"),
        ([shapely.box(0, 0, 1, 1)], [1], {"column": "kin"}, GridError, "no column 'kin'; did you mean 'kind'"),
        ([shapely.box(0, 0, 1, 1)], [None], {}, CatalogError, "'kind' is empty in each feature"),
        ([shapely.LineString([(0, 0), (1, 1)])], [1], {}, GridError, "is a LineString; give polygons or points"),
        ([shapely.box(0, 0, 1, 1)], [1], {"where": "kind = 5"}, GridError, "selects no feature"),
        ([shapely.box(0, 0, 1, 1)], [1], {"layer": "b"}, GridError, "has no layer 'b'"),
        ([shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])], [1], {}, GridError, "is not valid"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(tmp_path, shapes, classes, change, error, said):
    reference = replace(written(tmp_path / "a.gpkg", shapes, classes), **change)
    for how in (check, lambda each: on_grid(each, GRID, WINDOW)):
        with pytest.raises(error, match=said):
            how(reference)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RasterError, match="does not exist"):
        check(Reference("f", str(tmp_path / "a.gpkg"), 1, LEGEND, None, column="kind"))


@pytest.mark.parametrize("suffix", [".shp", ".dbf", ".shx", ".prj"])
def test_a_change_of_any_file_of_a_shapefile_is_another_identity(tmp_path, suffix):
    reference = written(tmp_path / "a.shp", *blobs(3))
    before = identity_of(reference)
    assert identity_of(reference) == before
    with (tmp_path / f"a{suffix}").open("ab") as file:
        file.write(b" ")
    assert identity_of(reference) != before
