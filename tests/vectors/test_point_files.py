"""Point files: read back by GDAL, pandas and an XML parser to where the points were."""

import xml.etree.ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from geoseg.catalog import regions
from geoseg.errors import RasterError
from geoseg.vectors import point_files

X, Y = np.array([500_005.0, 512_345.0]), np.array([4_000_005.0, 3_987_655.0])
FRAME = gpd.GeoDataFrame(
    {"id": [1, 2], "label": pd.Series([None, None], dtype="str"), "stratum": [7, 9]},
    geometry=gpd.points_from_xy(X, Y),
    crs=32633,
)


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson", ".csv"])
def test_geoseg_reads_them_back_to_within_a_millimetre(tmp_path, ending):
    out = tmp_path / f"p{ending}"
    point_files.write(FRAME, out)
    where, columns, crs = regions.read_points(out)
    order = np.argsort([int(each) for each in columns["id"]])  # FlatGeobuf puts neighbours together
    back = gpd.GeoSeries.from_xy(*where[order].T, crs=crs).to_crs(32633)
    np.testing.assert_allclose([back.x, back.y], [X, Y], atol=1e-3 if ending != ".geojson" else 0.02)
    assert [int(columns["stratum"][at]) for at in order] == [7, 9]
    assert all(each in (None, "") for each in columns["label"])


def test_csv_begins_with_number_and_place(tmp_path):
    point_files.write(FRAME, tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table.columns) == ["id", "longitude", "latitude", "label", "stratum"]
    assert table["label"].isna().all()
    np.testing.assert_allclose(table["longitude"], FRAME.to_crs(4326).geometry.x, atol=1e-9)


def test_kml_holds_numbers_and_places_and_no_stratum(tmp_path):
    point_files.write(FRAME, tmp_path / "p.kml")
    space = {"k": "http://www.opengis.net/kml/2.2"}
    marks = ET.parse(tmp_path / "p.kml").getroot().findall(".//k:Placemark", space)
    assert [mark.find("k:name", space).text for mark in marks] == ["1", "2"]
    places = [list(map(float, mark.find(".//k:coordinates", space).text.split(","))) for mark in marks]
    lonlat = FRAME.to_crs(4326).geometry
    np.testing.assert_allclose(places, np.stack([lonlat.x, lonlat.y], 1), atol=1e-9)
    assert b"stratum" not in (tmp_path / "p.kml").read_bytes()


def test_gdal_reads_the_kml(tmp_path):
    point_files.write(FRAME, tmp_path / "p.kml")
    back = gpd.read_file(tmp_path / "p.kml").to_crs(32633)
    np.testing.assert_allclose([back.geometry.x, back.geometry.y], [X, Y], atol=1e-3)


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(RasterError, match=r"written to \.gpkg, \.fgb, \.geojson, \.csv, \.kml, not to '\.shp'"):
        point_files.write(FRAME, tmp_path / "p.shp")
