"""A map that the tests of this folder look at."""

from pathlib import Path

import numpy as np
import pytest
from painted_maps import GRID, LEGEND, TAGS, blocks_of, classes, square

from geoseg.grid import Window
from geoseg.maps import cog


@pytest.fixture
def extent() -> Window:
    return Window(-100, 37, 1300, 1100)


@pytest.fixture
def made(tmp_path: Path, extent: Window) -> Path:
    counts = np.bincount(classes(extent).ravel(), minlength=256)
    cog.assemble(
        blocks_of(tmp_path, square(extent, 512)),
        GRID,
        extent,
        LEGEND,
        tmp_path / "map.tif",
        tags=TAGS,
        counts={each: int(counts[each]) for each in LEGEND.ids},
    )
    return tmp_path / "map.tif"
