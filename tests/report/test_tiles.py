"""Tiles: a pyramid that any decoder puts together to the very pixels, in the legend's colours."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.report import tiles

LEGEND = Legend("some", (LandClass(1, "a", "#102030"), LandClass(200, "b", "#ff8800")))


def decoded(url):
    kind, data = url.split(",", 1)
    assert kind in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (256, 256), (257, 511), (600, 2)])
def test_tiles_of_labels_are_the_labels_in_exactly_the_legends_colours(shape):
    labels = np.random.default_rng(3).choice(np.array([1, 200, 7, NODATA], np.uint8), shape)
    level = tiles.level(labels, LEGEND, (2.0, 2.0))
    found = np.zeros((*shape, 4), np.uint8)
    across = -(-shape[1] // tiles.EDGE)
    for number, url in enumerate(level["tiles"]):
        row, col = number // across * tiles.EDGE, number % across * tiles.EDGE
        part = decoded(url)
        found[row : row + part.shape[0], col : col + part.shape[1]] = part
    colours = {1: (16, 32, 48, 255), 200: (255, 136, 0, 255), 7: (255, 0, 255, 255)}
    for value, colour in colours.items():
        assert (found[labels == value] == colour).all()
    assert (found[labels == NODATA, 3] == 0).all()
    assert level["size"] == list(shape)


def test_pictures_of_imagery_keep_what_is_transparent():
    image = np.full((40, 50, 4), 200, np.uint8)
    image[..., 3] = 255
    image[:20, :, 3] = 0
    found = decoded(tiles.pictured(image))
    assert (found[:20, :, 3] == 0).all()
    assert abs(found[20:, :, :3].astype(int) - 200).max() <= 4


@pytest.mark.parametrize(("shape", "half"), [((4, 6), (2, 3)), ((5, 7), (3, 4)), ((1, 9), (1, 5))])
def test_half_an_image_has_the_mean_of_four(shape, half):
    image = np.full((*shape, 4), 90, np.uint8)
    found = tiles.halved(image)
    assert found.shape == (*half, 4)
    assert (found == 90).all()
