"""Passes: a map that is gone through tells how far it is, and ends with all blocks done."""

import numpy as np
import pytest
from strategies import write

from geoseg.vectors import polygons, source
from geoseg.vectors.passes import Progress


@pytest.mark.slow
@pytest.mark.parametrize("mapper", [None, map], ids=["threads", "elsewhere"])
def test_every_pass_tells_how_far_it_is(tmp_path, monkeypatch, mapper):
    monkeypatch.setattr(source, "_STRIP_PIXELS", 300)
    ids = np.random.default_rng(0).integers(1, 4, (1, 64, 40), np.uint8)
    write(tmp_path / "map.tif", ids, tiled=True, blockxsize=16, blockysize=16)
    told: list[Progress] = []
    how = {"min_area": ["2ha"], "simplify": "1px", "smooth": True, "mapper": mapper}
    (count,) = polygons.vectorize(tmp_path / "map.tif", tmp_path / "out.fgb", progress=told.append, **how).values()
    steps = ["sieving", "simplifying", "smoothing", "tracing"]
    assert list(dict.fromkeys(each.step for each in told)) == steps
    for step in steps:
        done = [each.done for each in told if each.step == step]
        assert done == sorted(done)
        assert done[-1] == 4 == told[0].total
    assert told[-1].polygons == count
    assert [each.polygons for each in told] == sorted(each.polygons for each in told)
