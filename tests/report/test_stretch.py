"""Stretch: percentiles and nodata."""

import numpy as np
from examples import share_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.report.stretch import stretched


def test_stretched_cuts_the_tails_and_leaves_nodata_transparent() -> None:
    band = np.arange(1000.0).reshape(25, 40)
    pixels = np.stack([band, -band, np.full_like(band, 7.0)])
    pixels[1, 3, 4] = np.nan
    image = stretched(pixels)
    assert image.shape == (25, 40, 4)
    assert image[3, 4].tolist() == [0, 0, 0, 0]
    assert image[..., 3].sum() == 255 * 999
    low, high = np.nanpercentile(np.delete(band.ravel(), 3 * 40 + 4), (2, 98))
    assert (image[..., 0][(band > high)] == 255).all()
    assert (image[..., 0][(band < low)] == 0).all()
    assert (image[20, :, 0] >= image[10, :, 0]).all()
    assert not stretched(np.full((3, 4, 5), np.nan)).any()


values = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@settings(max_examples=share_of(40), deadline=None)
@given(arrays(np.float32, st.tuples(st.just(3), st.integers(1, 6), st.integers(1, 6)), elements=values))
def test_brighter_is_never_darker_and_opaque_is_what_is_known(pixels):
    image = stretched(pixels)
    known = np.isfinite(pixels).all(axis=0)
    assert ((image[..., 3] == 255) == known).all()
    assert not image[~known].any()
    for band, shown in zip(pixels, np.moveaxis(image[..., :3], -1, 0)):
        order = np.argsort(band[known], kind="stable")
        assert (np.diff(shown[known][order].astype(int)) >= 0).all()
