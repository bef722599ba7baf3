"""Cube: what an array says of its bands, nodata and grid; what cannot be mapped is refused in one sentence."""

import dask.array
import numpy as np
import odc.geo.xr
import pytest
import rioxarray
import xarray
from affine import Affine
from array_scenes import BANDS, PLACES
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from strategies import NORTH_UP, ROTATED, write

from geoseg.arrays import cube
from geoseg.errors import CatalogError, GridError
from geoseg.grid import Grid

# odc-geo 0.5.3 and rioxarray 0.19 multiply Affines with *, which affine deprecates; goes when they use @.
pytestmark = pytest.mark.filterwarnings(r"ignore:Use `@` matmul:PendingDeprecationWarning:(odc\.geo|rioxarray)\..*")


def array(pixels=None, affine=NORTH_UP, crs="EPSG:32612", bands=BANDS, **how):
    pixels = np.arange(2 * 5 * 7, dtype="float32").reshape(2, 5, 7) if pixels is None else pixels
    coords = odc.geo.xr.xr_coords(GeoBox(pixels.shape[-2:], affine, crs), dims=("y", "x"))
    return xarray.DataArray(pixels, {"band": list(bands), **coords}, ("band", "y", "x"), **how)


def of(found, bands=BANDS, together=True):
    return cube.of(found, bands, "model 'tiny'", 4, together=together)


@pytest.mark.parametrize("place", PLACES)
@given(row=st.integers(0, 3), col=st.integers(0, 5), height=st.integers(1, 5), width=st.integers(1, 7))
@settings(max_examples=share_of(10), deadline=None)
def test_a_part_lies_on_the_lattice_of_the_whole(place, row, col, height, width):
    affine, crs = PLACES[place]
    whole = array(affine=affine, crs=crs)
    found = of(whole).place
    part = of(whole.isel(y=slice(row, row + height), x=slice(col, col + width))).place
    assert found.grid.window_of(part.grid.geobox(part.window)) == part.window
    assert (part.window.row, part.window.col) == (found.window.row + row, found.window.col + col)
    assert found.grid.transform == pytest.approx(tuple(affine)[:6])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_pixels_of_any_number_become_floats_and_nodata_nan(dtype):
    pixels = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (2, 5, 7)).astype(dtype)
    found = of(array(pixels, attrs={"_FillValue": pixels[0, 1, 2]}), together=False).pixels
    assert found.dtype == np.float32
    assert found.numblocks[0] == 1
    assert np.array_equal(found.compute(), np.where(pixels == pixels[0, 1, 2], np.nan, pixels), equal_nan=True)


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "fill_value", "nodata"])
@pytest.mark.parametrize("where", ["attrs", "encoding"])
def test_nodata_is_found_under_its_names(key, where):
    stored, decoded = array(np.full((2, 5, 7), 9, "int16")), array(np.full((2, 5, 7), 9, "float32"))
    for each in (stored, decoded):
        getattr(each, where)[key] = 9
    assert np.isnan(of(stored).pixels.compute()).all()
    # What has been decoded has NaN already, and may hold that number in earnest.
    assert np.isnan(of(decoded).pixels.compute()).all() == (where == "attrs")


def test_nodata_that_no_pixel_can_have_changes_nothing():
    for nodata in (-9999, 0.5, np.nan):
        found = of(array(np.full((2, 5, 7), 9, "uint8"), attrs={"nodata": nodata}))
        assert (found.pixels.compute() == 9).all()


def test_what_float32_cannot_hold_is_no_data():
    pixels = np.ones((2, 5, 7))
    pixels[0, 0, 0], pixels[1, 1, 1] = 1e300, -np.inf
    assert np.isnan(of(array(pixels), together=False).pixels.compute()).sum() == 2


def test_a_pixel_that_lacks_a_band_lacks_all_where_they_lie_together():
    pixels = np.ones((3, 5, 7), "float32")
    pixels[0, 1, 1] = pixels[2, 3, 3] = np.nan
    three = array(pixels, bands=("red", "nir", "other"))
    for together, lacking in ((True, 2), (False, 1)):
        assert np.isnan(of(three, together=together).pixels.compute()).sum() == lacking


def test_bands_come_in_the_order_asked_for():
    found = of(array(), ("nir", "red")).pixels.compute()
    assert np.array_equal(found, array().values[::-1])


def test_a_single_band_is_known_by_its_coordinate_or_name():
    red = array().sel(band="red")
    for each in (red, red.drop_vars("band").rename("red"), red.drop_vars("band").assign_attrs(long_name="red")):
        assert np.array_equal(of(each, ("red",)).pixels[0].compute(), red)
    with pytest.raises(CatalogError, match="needs band 'red', which the array lacks"):
        of(red.drop_vars("band"), ("red",))


def test_coordinates_of_coarse_floats_are_a_grid_still():
    degrees = array(affine=Affine(0.01, 0, 100, 0, -0.01, 50), crs="EPSG:4326", pixels=np.zeros((2, 90, 120), "u1"))
    coarse = degrees.assign_coords({dim: degrees[dim].astype("float32") for dim in ("y", "x")})
    coarse.spatial_ref.attrs.pop("GeoTransform")
    found = of(coarse.odc.assign_crs("EPSG:4326")).place
    assert found.window.shape == (90, 120)
    assert found.grid.transform[0] == pytest.approx(0.01, rel=1e-5)


def test_a_transform_of_rioxarray_is_enough(tmp_path):
    write(tmp_path / "a.tif", np.ones((2, 5, 7), "uint8"), ROTATED)
    bare = rioxarray.open_rasterio(tmp_path / "a.tif", parse_coordinates=False).assign_coords(band=list(BANDS))
    assert of(bare).place.grid.transform == pytest.approx(tuple(ROTATED)[:6])
    renamed = array().rename(y="north", x="east").drop_attrs().rio.set_spatial_dims("east", "north")
    assert of(renamed.rio.write_crs("EPSG:32612")).place.grid.transform == pytest.approx(tuple(NORTH_UP)[:6])


def test_coordinates_stay_with_the_array():
    place = of(array().assign_coords(time=np.datetime64("2020-01-01", "ns"))).place
    assert set(place.coords) == {"y", "x", "spatial_ref", "time"}
    named = array().rename(y="latitude", x="longitude")
    assert of(named).place.dims == ("latitude", "longitude")


def irregular():
    found = array().drop_vars("spatial_ref")
    return found.assign_coords(x=found.x + np.r_[0, 0, 3, 0, 0, 0, 0]).odc.assign_crs("EPSG:32612")


def stale(tmp_path):
    write(tmp_path / "a.tif", np.ones((2, 5, 7), "uint8"), ROTATED)
    return rioxarray.open_rasterio(tmp_path / "a.tif").assign_coords(band=list(BANDS))[:, 2:]


def test_what_cannot_be_mapped_is_refused(tmp_path):
    times = np.array(["2020-01-01", "2020-02-01"], "datetime64[ns]")
    cases = {
        "the array has no CRS; state it": array(crs=None),
        r"no regular grid: one is 0\.1 pixels from its place": irregular(),
        "are no regular grid; resample": xarray.DataArray(
            np.zeros((2, 5, 7)), {"band": list(BANDS)}, ("band", "y", "x")
        ).rio.write_crs(4326),
        r"1\.\d+ pixels from where its transform puts them": stale(tmp_path),
        "band 'red' holds complex64; give integers": array(np.zeros((2, 5, 7), "complex64")),
        r"band 'red' holds datetime64\[ns\]": array(np.zeros((2, 5, 7), "datetime64[ns]")),
        r"no rows and columns of a grid \(its dimensions: band, a, b\)": xarray.DataArray(
            np.zeros((2, 5, 7)), dims=("band", "a", "b")
        ),
        r"the array has 2 times; choose one, as array.isel\(time=0\), or combine": array().expand_dims(time=times),
        "the array has 3 layers along 'z'": array().expand_dims(z=3),
        "the array has no pixels": array()[:, :0],
        "this is a ndarray": np.zeros((2, 5, 7)),
    }
    for message, each in cases.items():
        with pytest.raises(GridError, match=message):
            of(each)
    names = {
        r"model 'tiny' needs band 'nir', which the array lacks; did you mean 'nirr'\? known: red, nirr": array(
            bands=("red", "nirr")
        ),
        r"the array's 2 bands have no names; name them, for instance with array.assign_coords\(band=": array(
            bands=(1, 2)
        ),
        "the array has band 'red' twice": array(bands=("red", "red")),
        "needs band 'red', which the array lacks; known: blue": array().isel(band=0, drop=True).to_dataset(name="blue"),
    }
    for message, each in names.items():
        with pytest.raises(CatalogError, match=message):
            of(each)


def test_nothing_is_computed():
    def fail(block):
        raise AssertionError("computed")

    pixels = dask.array.map_blocks(fail, dask.array.zeros((2, 5, 7)), dtype=float, meta=np.empty((0, 0, 0)))
    assert of(array(pixels)).place.grid == Grid.of(GeoBox((5, 7), NORTH_UP, "EPSG:32612"))
