"""Symmetry: windows turned and mirrored in the eight ways that leave a square a square (the dihedral group D4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

D4 = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))
"""(quarter turns, whether mirrored before), always in this order, since sums of floats depend on it."""


def turned(pixels: Tensor, how: tuple[int, bool]) -> Tensor:
    """Pixels (..., row, col) mirrored and turned; rows and columns change places with odd turns.

    Parameters
    ----------
    pixels
        Any number of axes before row and col.
    how
        One of `D4`.
    """
    turns, mirrored = how
    return torch.rot90(pixels.flip(-1) if mirrored else pixels, turns, (-2, -1))


def turned_back(pixels: Tensor, how: tuple[int, bool]) -> Tensor:
    """What `turned` was given, from what it gave.

    Parameters
    ----------
    pixels, how
        As for `turned`.
    """
    turns, mirrored = how
    back = torch.rot90(pixels, -turns, (-2, -1))
    return back.flip(-1) if mirrored else back


def mean(scores: Callable[[tuple[int, bool]], Tensor]) -> Tensor:
    """The mean over `D4` of scores (window, class, row, col) that were turned back, added in its order.

    Parameters
    ----------
    scores
        Gives the scores of windows that were turned in one of the ways.
    """
    total = turned_back(scores(D4[0]), D4[0])
    for how in D4[1:]:
        total = total + turned_back(scores(how), how)
    return total / len(D4)
