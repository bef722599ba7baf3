"""Intervals: how far the measures of a map would be off on other ground like this, by resampling blocks of it.

Pixels near each other are right or wrong together, so whole blocks are drawn, with replacement (Lahiri 2003, Resampling
Methods for Dependent Data, ch. 12). They must be larger than the distance over which a measure's errors hang together,
which the correlogram of these errors tells. No files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from geoseg.accuracy.blocks import Blocks
from geoseg.quantities import counted

FEWEST = 20
"""Blocks without which there is no interval, and blocks with a class without which there is none of it."""
REPLICATES = 2000
SEED = 0
LEVEL = 0.95
_FADED = 0.1  # correlation at which errors no longer count as hanging together
_TIMES = 5  # that distance makes a block; fewer gave intervals that were too short in simulations
_WIDER = math.sqrt(_TIMES / (_TIMES - 1))  # for what neighbouring blocks have in common, to first order (Lahiri 2003)
_AT_ONCE = 2**22

Pair = tuple[float, float]
NONE: Pair = (math.nan, math.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """95 % intervals; NaN where there is none."""

    block: int
    """Edge of a block, pixels; 0 where there are no intervals."""
    blocks: int
    """Blocks with compared pixels."""
    chosen: bool
    """Whether the edge was chosen by correlograms; else it was given."""
    cell: int
    """Edge of the blocks between which errors were correlated, pixels."""
    correlogram: tuple[float, ...]
    """Correlation of the errors of blocks of `cell` that lie 1, 2, ... of them apart."""
    overall: Mapping[str, Pair]
    """Of pixel_accuracy and mean_iou."""
    classes: Mapping[str, np.ndarray]
    """(class, 2) of iou, precision, recall and f1."""
    why_not: str
    """Why there are none; empty where there are some."""


def of(blocks: Blocks, *, given: bool) -> Intervals:
    """Intervals of all measures.

    A measure has none where its errors hang together over so long a distance that fewer than `FEWEST` blocks remain,
    where a class occurs in fewer blocks, or where all replicates are alike; where
    nothing is wrong there is none at all.

    Parameters
    ----------
    blocks : Blocks
        Counts by small blocks, which are merged as far as necessary.
    given : bool
        Use the blocks as they are.
    """
    classes = blocks.sums.shape[-1]
    series = _errors(blocks)
    correlograms = [correlogram(each, blocks.compared > 0) for each in series]
    if given:
        times, long_enough = 1, [True] * len(series)
    else:
        wanted = [math.ceil(_TIMES * reach(each)) for each in correlograms]
        left = {each: int((blocks.merged(each).compared > 0).sum()) for each in set(wanted)}
        long_enough = [left[each] >= FEWEST for each in wanted]
        times = max((each for each, enough in zip(wanted, long_enough) if enough), default=0)
    merged = blocks.merged(max(1, times))
    sums = merged.sums[merged.compared > 0]
    none = {name: np.full((classes, 2), np.nan) for name in ("iou", "precision", "recall", "f1")}
    why = ""
    if len(sums) and not blocks.wrong.any():
        why = "map and reference agree on every compared pixel"
    elif not given and not times:
        why = (
            f"errors hang together over such a distance that blocks of {_TIMES} times its length are fewer than "
            f"{FEWEST} on the compared pixels"
        )
    elif len(sums) < FEWEST:
        edge = f"{merged.edge:,} pixels"
        why = f"the compared pixels make {counted(len(sums), 'block')} of {edge}, and {FEWEST} are needed"
    found = ({"pixel_accuracy": NONE, "mean_iou": NONE}, none) if why else _resampled(sums, 1.0 if given else _WIDER)
    for name, enough in zip(("pixel_accuracy", "mean_iou"), long_enough):
        found[0][name] = found[0][name] if enough else NONE
    for each in found[1].values():
        each[~np.array(long_enough[2:], bool)] = np.nan
    return Intervals(
        0 if why else merged.edge, len(sums), not given, blocks.edge, tuple(correlograms[0]), found[0], found[1], why
    )


def correlogram(errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Correlation of the errors of two blocks, by how many blocks they lie apart along rows or columns.

    Parameters
    ----------
    errors : (row, col) float64
        Of which the mean is nothing.
    known : (row, col) bool
        Blocks to take.

    Returns
    -------
    (lag,) float64
        Of lags 1, 2, ... up to half of the longer side; NaN where no blocks lie so far apart, or nothing is wrong.
    """
    off = np.where(known, errors, 0.0)
    power = float((off**2).sum() / max(1, known.sum()))
    found = np.full(max(1, max(off.shape) // 2), np.nan)
    for lag in range(1, len(found) + 1):
        pairs = (known[lag:] & known[:-lag]).sum() + (known[:, lag:] & known[:, :-lag]).sum()
        if pairs and power:
            along = (off[lag:] * off[:-lag]).sum() + (off[:, lag:] * off[:, :-lag]).sum()
            found[lag - 1] = along / pairs / power
    return found


def reach(correlations: np.ndarray) -> float:
    """Over how many blocks errors hang together: where a correlogram first falls to 0.1, between its points by a line.

    >>> reach(np.array([0.7, 0.4, 0.0]))
    2.75
    """
    line = np.concatenate([[1.0], correlations])
    faded = np.flatnonzero(~(line > _FADED))
    if not len(faded):
        return float(len(line))
    last = int(faded[0]) - 1
    below = line[last + 1] if math.isfinite(line[last + 1]) else 0.0
    return last + float((line[last] - _FADED) / (line[last] - below))


def _errors(blocks: Blocks) -> list[np.ndarray]:
    """What each block adds to the error of pixel accuracy, of mean IoU and of each class's IoU, linearised."""
    hits, reference, mapped = np.moveaxis(blocks.sums.astype(np.float64), 2, 0)
    union = reference + mapped - hits
    pixels, total, whole = reference.sum(-1), hits.sum((0, 1)), union.sum((0, 1))
    found = whole > 0
    share = np.divide(total, whole, out=np.zeros_like(total), where=found)
    each = hits - union * share
    mean = (each[..., found] / whole[found]).sum(-1)
    return [hits.sum(-1) - pixels * (total.sum() / max(1.0, pixels.sum())), mean, *np.moveaxis(each, -1, 0)]


def _resampled(sums: np.ndarray, wider: float) -> tuple[dict[str, Pair], dict[str, np.ndarray]]:
    """Percentile intervals of (block, 3, class) counts, expanded for few blocks (Hesterberg 2015, Am. Stat. 69:371)."""
    blocks, _, classes = sums.shape
    flat = sums.reshape(blocks, -1).astype(np.float64)  # whole numbers below 2^53, so that no order of adding matters
    made = np.random.default_rng(SEED)
    drawn = np.empty((REPLICATES, 3 * classes))
    step = max(1, _AT_ONCE // blocks)
    for first in range(0, REPLICATES, step):
        chosen = made.integers(0, blocks, (min(step, REPLICATES - first), blocks))
        times = np.stack([np.bincount(each, minlength=blocks) for each in chosen]).astype(np.float64)
        drawn[first : first + len(chosen)] = times @ flat
    hits, reference, mapped = np.moveaxis(drawn.reshape(REPLICATES, 3, classes), 1, 0)
    t = special.stdtrit(blocks - 1, (1 + LEVEL) / 2) * math.sqrt(blocks / (blocks - 1)) * wider
    tails = special.ndtr(-t), special.ndtr(t)
    here = sums > 0
    in_reference, on_map = here[:, 1], here[:, 2]
    iou = _share(hits, reference + mapped - hits)
    found = {
        "iou": (iou, in_reference | on_map),
        "precision": (_share(hits, mapped), on_map),
        "recall": (_share(hits, reference), in_reference),
        "f1": (_share(2 * hits, reference + mapped), in_reference | on_map),
    }
    by_class = {
        name: np.array(
            [_between(values[:, at], tails) if met[:, at].sum() >= FEWEST else NONE for at in range(classes)]
        ).reshape(classes, 2)
        for name, (values, met) in found.items()
    }
    present = np.isfinite(iou)
    mean = np.where(present, iou, 0.0).sum(1) / present.sum(1)
    accuracy = hits.sum(1) / reference.sum(1)
    return {"pixel_accuracy": _between(accuracy, tails), "mean_iou": _between(mean, tails)}, by_class


def _share(of: np.ndarray, per: np.ndarray) -> np.ndarray:
    return np.divide(of, per, out=np.full(of.shape, np.nan), where=per > 0)


def _between(values: np.ndarray, tails: Pair) -> Pair:
    known = values[np.isfinite(values)]
    if not len(known) or np.ptp(known) == 0:
        return NONE
    low, high = np.quantile(known, tails)
    return float(low), float(high)
