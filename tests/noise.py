"""Scenes of noise and a predictor run over them tile by tile, for tests of inference."""

import numpy as np
import torch

from geoseg.grid import Tile, cut
from geoseg.models import loading


def pixels_of(shape, seed=0, missing=0.0):
    """Smooth noise (band, row, col) with a share of the pixels without data in one band or both."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 2, (2, *shape)).astype("float32")
    pixels[rng.random(pixels.shape) < missing] = np.nan
    return pixels


def read(scene, at, window):
    """`scene` covers the window `at`; beyond it there is no data."""
    pixels = np.full((len(scene), *window.shape), np.nan, "float32")
    part = window.meet(at)
    if part is not None:
        pixels[(slice(None), *part.within(window))] = scene[(slice(None), *part.within(at))]
    return pixels


def tile_of(predict, keep):
    """What `predict` is given to label a window."""
    return Tile(keep.snapped(predict.core).grown(predict.margin), predict.core, keep)


def label(predict, scene, at, cores):
    """Labels and confidence (2, row, col) of a scene, made in blocks of `cores` x `cores` cores."""
    made = np.full((2, *at.shape), 111, "uint8")
    for block in cut(at, cores * predict.core):
        part = block.meet(at)
        tile = tile_of(predict, part)
        answer = np.stack(predict(read(scene, at, tile.read), tile))
        made[(slice(None), *part.within(at))] = answer[(slice(None), *part.within(tile.read))]
    return made


def network_of(predict):
    return loading.load(predict.model, "cpu")


def normalised(predict, pixels):
    mean, std = (np.asarray(each, "float32")[:, None, None] for each in (predict.mean, predict.std))
    return torch.from_numpy(np.nan_to_num((pixels - mean) / std))[None]


def near_ties(scores):
    """Pixels (row, col) where the two best of (class, row, col) scores are nearly equal."""
    best, second = scores.topk(2, dim=0).values
    return (best - second < 1e-4).numpy()
