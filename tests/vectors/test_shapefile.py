"""Shapefiles: written here, read by GDAL, which finds what it would have written itself."""

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RasterError
from geoseg.vectors import features, rings, shapefile, stream
from geoseg.vectors.shapefile import ShapefileWriter

UTM = pyproj.CRS("EPSG:32612")


def some(seed: int, side: int = 40) -> features.Features:
    from affine import Affine

    values = np.random.default_rng(seed).integers(0, 4, (side, side)).astype(np.int32)
    values[5:20, 5:20], values[8:12, 8:12] = 3, 1
    batch = rings.concatenated(list(stream.trace([values], side)))
    return features.located(batch, Affine(30, 0, 300000, 0, -30, 4000000), 900.0)


def shapes(found):
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, found.points, (found.ring_starts, found.polygon_starts)
    )


def test_gdal_reads_the_polygons_in_their_order_and_with_their_attributes(tmp_path):
    parts = [some(1), some(2)]
    with ShapefileWriter(tmp_path / "map.shp", {1: "forêt", 2: "草"}, UTM) as writer:
        for part in parts:
            writer.add(part)
    read = pyogrio.read_dataframe(tmp_path / "map.shp")
    wanted = np.concatenate([shapes(part) for part in parts])
    assert shapely.equals(shapely.normalize(read.geometry.values), shapely.normalize(wanted)).all()
    assert read.class_id.tolist() == [*parts[0].class_ids, *parts[1].class_ids]
    assert read.class_id.dtype == np.int32
    assert {*zip(read.class_id, read.class_name)} == {(0, "0"), (1, "forêt"), (2, "草"), (3, "3")}
    assert read.area_m2.tolist() == read.area.tolist()
    assert read.crs == geopandas.GeoSeries(crs=UTM).crs
    info = pyogrio.read_info(tmp_path / "map.shp", force_total_bounds=True)
    assert tuple(info["total_bounds"]) == tuple(read.total_bounds)
    assert info["features"] == len(read)
    part = pyogrio.read_dataframe(tmp_path / "map.shp", skip_features=len(parts[0]) - 1, max_features=2)  # by the .shx
    assert (part.geometry.values == read.geometry.values[len(parts[0]) - 1 :][:2]).all()


def test_gdal_writes_the_same_bytes(tmp_path):
    part = some(3)
    with ShapefileWriter(tmp_path / "ours.shp", {}, UTM) as writer:
        writer.add(part)
    columns = {"class_id": part.class_ids, "class_name": part.class_ids.astype(str), "area_m2": part.areas_m2}
    geopandas.GeoDataFrame(columns, geometry=shapes(part), crs=UTM).to_file(tmp_path / "gdal.shp")
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("ours.shp", "gdal.shp"))
    one, other = (np.frombuffer(each, np.uint8) for each in (ours, theirs))
    assert len(one) == len(other)
    read = [pyogrio.read_dataframe(tmp_path / name) for name in ("ours.shp", "gdal.shp")]
    assert (shapely.normalize(read[0].geometry.values) == shapely.normalize(read[1].geometry.values)).all()
    np.testing.assert_array_equal(one[:100], other[:100])
    assert (tmp_path / "ours.shx").read_bytes() == (tmp_path / "gdal.shx").read_bytes()
    assert pyproj.CRS((tmp_path / "ours.prj").read_text()) == pyproj.CRS((tmp_path / "gdal.prj").read_text())


@settings(deadline=None)
@given(st.lists(st.floats(0, 5.1e14, allow_subnormal=False), min_size=1, max_size=20))
def test_numbers_are_printed_as_python_prints_them(values):
    rows = np.full((len(values), 30), ord("#"), np.uint8)
    shapefile._print_decimals(np.array(values), rows, 3, 24, 15)
    for value, row in zip(values, rows):
        text = row.tobytes().decode()
        printed = text[3:27].replace("#", "")
        assert set(text[:3] + text[27:]) == {"#"}
        decimals = len(printed.partition(".")[2])
        assert decimals == min(15, 23 - len(str(int(value))))
        assert float(printed) == pytest.approx(value, rel=2e-16, abs=0.51 * 10.0**-decimals)


def test_an_empty_one_can_be_read(tmp_path):
    with ShapefileWriter(tmp_path / "map.shp", {}, UTM):
        pass
    assert len(pyogrio.read_dataframe(tmp_path / "map.shp")) == 0


def test_one_that_grows_beyond_two_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shapefile, "MOST_BYTES", 200_000)
    many = features.concatenated([some(seed) for seed in range(10)])
    with ShapefileWriter(tmp_path / "map.shp", {}, UTM) as writer:
        writer.add(some(0))
        with pytest.raises(RasterError, match=r"map\.shp would take more than the 0\.0 GB .*; write a \.gpkg"):
            writer.add(many)
