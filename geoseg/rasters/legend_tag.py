"""Legend tag: the metadata item in which a map carries its legend as JSON, so that it explains itself. Text only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from geoseg.catalog.legend import LandClass, Legend
from geoseg.errors import RasterError

LEGEND_TAG = "GEOSEG_LEGEND"
"""Name of the item."""


def written(legend: Legend) -> str:
    """A legend as the item's text."""
    return json.dumps({"name": legend.name, "classes": [asdict(each) for each in legend.classes]})


def carried(tags: Mapping[str, str], path: str | Path) -> Legend | None:
    """The legend among a map's metadata, or None where there is none.

    Parameters
    ----------
    tags : mapping
        The metadata.
    path : path
        What to call the map.

    Raises
    ------
    RasterError
        If the item is no legend.
    """
    text = tags.get(LEGEND_TAG)
    if text is None:
        return None
    try:
        held = json.loads(text)
        return Legend(held["name"], tuple(LandClass(**each) for each in held["classes"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RasterError(
            f"{path} carries a legend that cannot be read ({error}); name one of the catalog's"
        ) from error
