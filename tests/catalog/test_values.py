"""Values: imagery gives the bands that a model asks for, in its order, or says what to add."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.catalog import Band, Imagery
from geoseg.errors import CatalogError

NAMES = ("blue", "green", "red", "nir")
LAYER = Imagery("scene", tuple(Band(name, (f"/{name}.tif",), 1, None, 1.0, 0.0) for name in NAMES), crs="EPSG:32612")


@given(st.lists(st.sampled_from(NAMES), unique=True).map(tuple))
def test_just_the_bands_that_are_asked_for_in_that_order(names):
    chosen = LAYER.select(names, "it")
    assert tuple(band.name for band in chosen.bands) == names
    assert all(band in LAYER.bands for band in chosen.bands)
    assert (chosen.name, chosen.crs) == (LAYER.name, LAYER.crs)


def test_a_band_that_is_missing_is_named_with_where_to_add_it():
    with pytest.raises(CatalogError) as caught:
        LAYER.select(("blue", "swir1", "swir2"), "model 'landsat-6class'")
    assert str(caught.value) == (
        "model 'landsat-6class' needs band 'swir1', 'swir2'; imagery 'scene' has blue, green, red, nir. "
        "Add 'swir1' under imagery.scene.bands in data_catalog.yaml."
    )


def test_values_can_be_keys_and_cannot_change():
    assert len({LAYER, LAYER.select(NAMES, "it")}) == 1
    with pytest.raises(AttributeError):
        LAYER.name = "other"
