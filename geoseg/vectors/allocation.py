"""Allocation: how many points a stratified sample needs, and how many each stratum gets. Numbers only; no files.

After Cochran 1977, Sampling Techniques, 5.5 to 5.9, and Olofsson et al. 2014, Remote Sens. Environ. 148, section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from geoseg.catalog import choice
from geoseg.catalog.legend import Legend
from geoseg.errors import CatalogError

Allocation = Literal["proportional", "equal", "optimal"]
EXPECTED = 0.8
"""User's accuracy of a class of which nothing else is expected."""


def expectations(texts: Sequence[str], ids: Sequence[int], legend: Legend | None) -> dict[int, float]:
    """The user's accuracy expected of each class.

    Parameters
    ----------
    texts : sequence of str
        A number for all classes ('0.9'), or for one ('water=0.95', '11=0.7'), which goes before.
    ids : sequence of int
        Classes of the map.
    legend : Legend or None
        Names of classes.

    Raises
    ------
    CatalogError
        For an unknown class, or what is no number between 0 and 1.

    Examples
    --------
    >>> expectations(["0.9", "2=0.7"], [1, 2, 3], None)
    {1: 0.9, 2: 0.7, 3: 0.9}
    """
    found = dict.fromkeys(ids, EXPECTED)
    own: dict[int, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        value = _share(number, text)
        if not equals:
            found = dict.fromkeys(ids, value)
            continue
        named = choice.ids_of(name, legend)
        if lacking := [each for each in named if each not in found]:
            raise CatalogError(f"the map has no pixel of class {lacking[0]}, of which {text!r} expects something")
        own |= dict.fromkeys(named, value)
    return found | own


def needed(
    counts: Mapping[int, int], expected: Mapping[int, float], allocation: Allocation, standard_error: float
) -> int:
    """Points with which overall accuracy gets a standard error, where each class is as accurate as expected.

    With `optimal` this is equation 13 of Olofsson et al. 2014 (Cochran's 5.25); other allocations need more.

    Parameters
    ----------
    counts : mapping
        Pixels of each class.
    expected : mapping
        User's accuracy expected of each.
    allocation : 'proportional', 'equal' or 'optimal'
        How the points will be divided.
    standard_error : float
        Wanted of the overall accuracy, a share of 1.
    """
    total = sum(counts.values())
    weights = {each: pixels / total for each, pixels in counts.items()}
    variances = {each: expected[each] * (1 - expected[each]) for each in counts}
    if allocation == "optimal":
        spread = sum(weights[each] * math.sqrt(variances[each]) for each in counts) ** 2
    elif allocation == "equal":
        spread = len(counts) * sum(weights[each] ** 2 * variances[each] for each in counts)
    else:
        spread = sum(weights[each] * variances[each] for each in counts)
    finite = sum(weights[each] * variances[each] for each in counts) / total
    return math.ceil(spread / (standard_error**2 + finite) - 1e-9)


def allocated(
    counts: Mapping[int, int],
    number: int,
    allocation: Allocation,
    least: int,
    expected: Mapping[int, float] | None = None,
) -> dict[int, int]:
    """Points of each class: shares of `number` by largest remainders, then raised to `least` and cut to what there is.

    Parameters
    ----------
    counts : mapping
        Pixels of each class.
    number : int
        Points in all.
    allocation : 'proportional', 'equal' or 'optimal'
        To the classes' pixels, as many for each, or to pixels times the standard deviation that is expected (Neyman).
    least : int
        Points of each class at least.
    expected : mapping, optional
        User's accuracy expected of each class, for `optimal`; default: the same of all.
    """
    sizes: dict[int, float] = dict(counts)
    if allocation == "equal":
        sizes = dict.fromkeys(counts, 1.0)
    elif allocation == "optimal" and expected is not None:
        sizes = {each: counts[each] * math.sqrt(expected[each] * (1 - expected[each])) for each in counts}
    total = sum(sizes.values())
    shares = {each: number * size / total for each, size in sizes.items()}
    given = {each: int(share) for each, share in shares.items()}
    left = number - sum(given.values())
    for each in sorted(shares, key=lambda each: (given[each] - shares[each], each))[:left]:
        given[each] += 1
    return {each: min(counts[each], max(least, points)) for each, points in given.items()}


def standard_error(counts: Mapping[int, int], points: Mapping[int, int], expected: Mapping[int, float]) -> float:
    """What the standard error of overall accuracy will be, where each class is as accurate as expected.

    Parameters
    ----------
    counts, points : mapping
        Pixels and sampled points of each class.
    expected : mapping
        User's accuracy expected of each.
    """
    total = sum(counts.values())
    parts = [(counts[each] / total) ** 2 * expected[each] * (1 - expected[each]) / points[each] for each in counts]
    return math.sqrt(sum(parts))


def _share(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise CatalogError(f"an accuracy of {text!r} was expected; give a number between 0 and 1, or class=number")
    return value
