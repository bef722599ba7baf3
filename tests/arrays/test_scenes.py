"""Scenes: lazy imagery with its place, nodata and origin."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from array_scenes import BANDS, put
from strategies import write

import geoseg
from geoseg.arrays import open_imagery

# odc-geo 0.5.3 and rioxarray 0.19 multiply Affines with *, which affine deprecates; goes when they use @.
pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")


def test_imagery_carries_its_place_and_nodata(tmp_path):
    scene = open_imagery(tmp_path / "scene.tif", bands=BANDS, catalog=put(tmp_path))
    named = open_imagery("scene", catalog=tmp_path / "data_catalog.yaml")
    assert scene.dims == ("band", "y", "x")
    assert list(scene.band.values) == list(BANDS)
    assert named.attrs["attribution"] == "Noise"
    assert named.dtype == "float32"
    assert np.allclose(named * 1000, scene, equal_nan=True)
    assert int(scene.isnull().sum()) == 2 * (40 + 600)
    with rasterio.open(tmp_path / "scene.tif") as source:
        assert scene.rio.transform().almost_equals(source.transform, 1e-6)
        assert scene.rio.crs == source.crs
        assert np.array_equal(scene[0].values[~scene[0].isnull()], source.read(1)[source.read(1) != 0])
    assert np.isnan(scene.rio.nodata)


def test_a_degree_grid_has_the_same_dimensions(tmp_path):
    write(tmp_path / "degrees.tif", np.ones((1, 5, 6), "uint8"), Affine(0.01, 0, 10, 0, -0.01, 50), crs="EPSG:4326")
    scene = geoseg.open_imagery(tmp_path / "degrees.tif", bands=["red"])
    assert scene.dims == ("band", "y", "x")
    assert scene.odc.geobox.affine.almost_equals(Affine(0.01, 0, 10, 0, -0.01, 50), 1e-9)
