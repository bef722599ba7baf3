"""Comparison: how the classes of a map and of a reference are brought onto one legend by a crosswalk."""

from __future__ import annotations

import numpy as np

from geoseg.catalog.legend import Crosswalk, Legend, identity
from geoseg.errors import CatalogError


def choose(mapped: Legend, reference: Legend, crosswalk: Crosswalk | None) -> tuple[Crosswalk, str]:
    """The crosswalk between two legends, and its direction.

    Parameters
    ----------
    mapped, reference : Legend
        Of the map and of the reference.
    crosswalk : Crosswalk or None
        The one wished for; None where the legends are the same.

    Returns
    -------
    (Crosswalk, str)
        'reference to map', 'map to reference' or 'same legend'.

    Raises
    ------
    CatalogError
        If the crosswalk does not lead from one to the other, or there is none and the legends differ.
    """
    if crosswalk is None or (_same(crosswalk.source, crosswalk.target) and _same(crosswalk.source, mapped)):
        if _same(mapped, reference):
            return crosswalk or identity(mapped), "same legend"
        raise CatalogError(
            f"the map's legend is {mapped.name!r} and the reference's {reference.name!r}; name a crosswalk from "
            "one to the other ('geoseg catalog --all' lists them), or add one under crosswalks in data_catalog.yaml"
        )
    if _same(crosswalk.source, reference) and _same(crosswalk.target, mapped):
        return crosswalk, "reference to map"
    if _same(crosswalk.source, mapped) and _same(crosswalk.target, reference):
        return crosswalk, "map to reference"
    raise CatalogError(
        f"crosswalk {crosswalk.name!r} leads from legend {crosswalk.source.name!r} to {crosswalk.target.name!r}; "
        f"the map has legend {mapped.name!r} and the reference {reference.name!r}, so name one between these"
    )


def join(
    crosswalk: Crosswalk, direction: str, mapped: Legend, reference: Legend
) -> tuple[Legend, np.ndarray, np.ndarray]:
    """The classes compared, and which of them each class of the two legends counts as.

    Parameters
    ----------
    crosswalk : Crosswalk
        Between the two.
    direction : str
        From `choose`.
    mapped, reference : Legend
        Of the map and of the reference.

    Returns
    -------
    Legend
        The classes compared, n of them.
    (reference class + 2,) integers
        For each class of the reference's legend, in its order, the number of the class that it counts as; n for
        not labelled, n + 1 for no counterpart. Not labelled and unknown ids come last.
    (map class + 2,) integers
        The same for the map's.
    """
    target = reference if direction == "map to reference" else mapped
    n = len(target)
    at = {each: i for i, each in enumerate(target.ids)}
    carried = dict(crosswalk.pairs)
    moved = [at[carried[each]] if each in carried else n + 1 for each in crosswalk.source.ids]
    # Unknown ids count as not labelled.
    across, same = np.array([*moved, n, n]), np.array([*range(n), n, n])
    return (target, same, across) if direction == "map to reference" else (target, across, same)


def lossy_met(crosswalk: Crosswalk, counts: np.ndarray, direction: str) -> tuple[tuple[str, int, str], ...]:
    """The lossy entries of a crosswalk whose classes were met where both rasters have labels.

    Parameters
    ----------
    crosswalk : Crosswalk
        Between the legends of map and reference.
    counts : (reference class + 2, map class + 2) int64
        From `confusion.tally`.
    direction : str
        From `choose`.

    Returns
    -------
    tuple of (str, int, str)
        Class of the crosswalk's source, its pixels, and what is lost.
    """
    met = counts[:-2, :-2].sum(0 if direction == "map to reference" else 1)
    found = {each.id: (each.name, int(pixels)) for each, pixels in zip(crosswalk.source.classes, met)}
    return tuple((*found[source], text) for source, text in crosswalk.lossy if found[source][1])


def _same(one: Legend, other: Legend) -> bool:
    return one.ids == other.ids and one.names == other.names
