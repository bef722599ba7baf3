"""Compiled functions: kept where there is a folder for them, and working where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import geoseg

PROGRAM = """
import numba.core.caching as caching
if {locators} == 0:
    caching.CacheImpl._locator_classes = []
from geoseg.vectors import regions
import numpy as np
parent = np.arange(3)
regions.unite(parent, 2, 1)
print(parent.tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("locators", [0, 1])
def test_code_is_compiled_with_or_without_a_folder_to_keep_it(tmp_path, locators):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(geoseg.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(locators=locators)], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0, 1, 1]\n"
    assert bool(list(tmp_path.rglob("*.nbi"))) == bool(locators)
