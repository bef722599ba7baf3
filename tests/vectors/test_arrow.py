"""Arrow batches: GeoParquet read by geopandas and plain pyarrow, the others by GDAL."""

import json

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from pyarrow import parquet

from geoseg.vectors import arrow, features, rings, stream

UTM = pyproj.CRS("EPSG:32612")
NAMES = {0: "forêt", 1: "草"}


def some(seed: int) -> features.Features:
    values = np.random.default_rng(seed).integers(0, 4, (30, 40)).astype(np.int32)
    batch = rings.concatenated(list(stream.trace([values], 40)))
    return features.located(batch, Affine(30, 0, 300000 + 1200 * seed, 0, -30, 4000000), 900.0)


def shapes(found):
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, found.points, (found.ring_starts, found.polygon_starts)
    )


def test_geoparquet_says_where_its_rows_lie(tmp_path):
    out = tmp_path / "map.parquet"
    with arrow.ParquetWriter(out, NAMES, UTM, {"map": "map.tif"}) as writer:
        writer.add(some(0))
        writer.add(some(1))
    wanted = np.concatenate([shapes(some(0)), shapes(some(1))])
    read = geopandas.read_parquet(out)
    assert list(read.columns) == ["class_id", "class_name", "area_m2", "geometry"]
    assert (read.geometry.values == wanted).all()
    assert read.attrs == {"map": "map.tif"}
    assert read.crs == UTM
    assert set(read.class_name) == {"forêt", "草", "2", "3"}
    assert len(geopandas.read_parquet(out, bbox=(300000, 3999900, 300100, 4000000))) == sum(
        shapely.box(*shape.bounds).intersects(shapely.box(300000, 3999900, 300100, 4000000)) for shape in wanted
    )
    file = parquet.ParquetFile(out)
    assert file.num_row_groups == 2
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["bbox"] == list(read.total_bounds)
    assert pyproj.CRS.from_json_dict(geo["columns"]["geometry"]["crs"]) == UTM
    statistics = file.metadata.row_group(1).column(file.schema_arrow.names.index("bbox")).statistics
    assert statistics.min >= 300000 + 1200


@pytest.mark.parametrize(("driver", "ending"), [("GPKG", "gpkg"), ("FlatGeobuf", "fgb")])
def test_gdal_writes_the_batches_as_they_come(tmp_path, driver, ending, monkeypatch):
    monkeypatch.setattr(arrow, "_MOST_POLYGONS", 100)
    out = tmp_path / f"map.{ending}"
    with arrow.GdalWriter(out, NAMES, UTM, {"map": "map.tif"}, driver, "layer") as writer:
        for seed in range(5):
            writer.add(some(seed))
    read = pyogrio.read_dataframe(out)
    wanted = np.concatenate([shapes(some(seed)) for seed in range(5)])
    assert sorted(shapely.to_wkb(read.geometry.values)) == sorted(shapely.to_wkb(wanted))
    assert read.area_m2.tolist() == read.area.tolist()
    assert read.crs == UTM


def test_an_error_of_gdals_reaches_the_one_who_adds(tmp_path):
    writer = arrow.GdalWriter(tmp_path / "no" / "map.fgb", NAMES, UTM, {}, "FlatGeobuf", "layer")
    with pytest.raises(pyogrio.errors.DataLayerError, match="Failed to create"):
        write_all(writer)
    assert not writer.thread.is_alive()


def write_all(writer):
    with writer:
        for seed in range(20):
            writer.add(some(seed))
