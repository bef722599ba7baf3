"""Sources: strips of class ids, whatever the raster."""

import numpy as np
import pytest
from strategies import write

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import CatalogError
from geoseg.vectors import source

LEGEND = Legend("two", (LandClass(1, "forest", "#006400"), LandClass(2, "open water", "#0064c8")))
LABELS = np.random.default_rng(0).integers(1, 5, (1, 37, 23)).astype(np.uint8)


@pytest.mark.parametrize("rows", [1, 5, 37, 100, None])
def test_strips_are_the_map_without_its_nodata(tmp_path, rows):
    of_map = source.described(write(tmp_path / "map.tif", LABELS, nodata=3))
    assert of_map.shape == (37, 23)
    strips = np.concatenate(list(of_map.strips(rows)))
    np.testing.assert_array_equal(strips, np.where(LABELS[0] == 3, -1, LABELS[0].astype(int)))
    assert strips.dtype == np.int32


def test_ids_of_sixteen_bits_are_read(tmp_path):
    wide = LABELS.astype(np.uint16) * 16000
    of_map = source.described(write(tmp_path / "map.tif", wide, nodata=0))
    np.testing.assert_array_equal(np.concatenate(list(of_map.strips())), wide[0])


def test_classes_that_are_not_wanted_lie_outside(tmp_path):
    path = write(tmp_path / "map.tif", np.where(LABELS > 2, 1, LABELS).astype(np.uint8))
    of_map = source.described(path, ["open water"], LEGEND)
    assert of_map.wanted == (2,)
    assert of_map.names == {1: "forest", 2: "open water"}
    np.testing.assert_array_equal(np.unique(next(of_map.strips())), [-1, 2])
    with pytest.raises(CatalogError, match="no class 'woods'"):
        source.described(path, ["woods"], LEGEND)
