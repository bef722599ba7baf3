"""Point tables: points from a CSV with columns of longitude and latitude, in degrees of WGS 84."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from geoseg.errors import GridError, RasterError

CRS = "EPSG:4326"
_PLACES = ("longitude", "latitude")


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points, and what the other columns hold, as text.

    Parameters
    ----------
    path : Path
        UTF-8, with a line of names; separated by commas or, as some spreadsheets do, by semicolons or tabs.

    Returns
    -------
    (point, 2) float64
        Longitude and latitude.
    dict
        (point,) text of each other column.

    Raises
    ------
    RasterError
        If the file cannot be read.
    GridError
        If a column or a number is missing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise RasterError(f"{path} cannot be read: {why}; check the path of the file of points") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = list(csv.DictReader(text.splitlines(), delimiter=separator, restval="", strict=True))
    except csv.Error as error:
        raise RasterError(f"{path} cannot be read as CSV: {error}; write it anew") from error
    names = {name.strip().lower(): name for name in csv.DictReader([first], delimiter=separator).fieldnames or ()}
    for each in _PLACES:
        if each not in names:
            raise GridError(f"{path} has no column {each!r}; a table of points has {' and '.join(_PLACES)} in degrees")
    places = np.array([[_degrees(row[names[each]]) for each in _PLACES] for row in rows], np.float64).reshape(-1, 2)
    bad = np.flatnonzero(~(np.abs(places) <= (180, 90)).all(axis=1))
    if len(bad):
        raise GridError(f"{path}: line {bad[0] + 2} has no longitude and latitude; give degrees such as 16.37, 48.21")
    others = [name for key, name in names.items() if key not in _PLACES]
    return places, {name.strip(): np.array([row[name] for row in rows], object) for name in others}


def _degrees(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
