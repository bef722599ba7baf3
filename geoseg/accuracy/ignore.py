"""Ignore: classes of a map and of a reference that a score leaves out, as if nobody had labelled their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.accuracy.confusion import positions
from geoseg.catalog import choice
from geoseg.catalog.legend import Legend

UNKNOWN = "unknown-ids"
"""Stands for every id that the legends lack."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """What is left out. Ids may be such as the legends lack."""

    map: frozenset[int] = frozenset()
    reference: frozenset[int] = frozenset()
    unknown: bool = False
    """Ids that the legends lack."""

    def tables(self, mapped: Legend, reference: Legend) -> tuple[np.ndarray, np.ndarray]:
        """Where each class id stands in the legend of the map and of the reference: see `confusion.positions`.

        Ids that are left out stand where -1 does, as not labelled.

        Parameters
        ----------
        mapped, reference : Legend
            Of the two.

        Returns
        -------
        two of (65537,) int32
        """
        tables = positions(mapped), positions(reference)
        for table, legend, ids in zip(tables, (mapped, reference), (self.map, self.reference)):
            table[sorted(ids)] = len(legend)
        return tables

    def among(self, ours: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Which pixels are left out.

        Parameters
        ----------
        ours, other : integers of one shape
            Class ids of the map and of the reference.
        """
        return np.isin(ours, sorted(self.map)) | np.isin(other, sorted(self.reference))


NOTHING = Ignore()


def read(text: str, mapped: Legend, reference: Legend) -> Ignore:
    """What a text such as 'water, map:0, reference:11' leaves out; 'unknown-ids' stands for all that legends lack.

    Parameters
    ----------
    text : str
        Ids and class names, see `catalog.choice`.
    mapped, reference : Legend
        Of the map and of the reference.

    Raises
    ------
    CatalogError
        For a class that neither has.
    """
    items = [each for each in text.split(",") if each.strip() != UNKNOWN]
    found = choice.classes(",".join(items), {"map": mapped, "reference": reference})
    ids = {side: frozenset(id for each, id in found if each == side) for side in ("map", "reference")}
    return Ignore(ids["map"], ids["reference"], len(items) < len(text.split(",")))


def advice(side: str, ids: list[int]) -> str:
    """The option that leaves out ids of one side ('map' or 'reference').

    Parameters
    ----------
    side : str
        'map' or 'reference'.
    ids : list of int
        Where they are more than twelve, all unknown ids are left out.
    """
    return f"--ignore {UNKNOWN if len(ids) > 12 else ','.join(f'{side}:{id}' for id in ids)}"
