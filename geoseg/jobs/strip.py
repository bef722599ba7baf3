"""Strip: rows of a finished map traced as tasks, on workers of the cluster, which see the job folder as we do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.errors import RasterError
from geoseg.jobs.engines import Elsewhere
from geoseg.rasters import identity
from geoseg.storage.store import patiently

LEAST_PIXELS = 200_000_000
"""Of a map whose polygons are worth sending around; this process traces smaller ones within a minute."""
_STALL_S = 600.0


def over(elsewhere: Elsewhere, files: Sequence[Path]) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]:
    """A mapper for `vectors.polygons.vectorize`.

    Parameters
    ----------
    elsewhere : Elsewhere
        Over the cluster.
    files : sequence of Path
        What is read there; a worker waits a while until it sees them as they are here.
    """
    known = {str(each.absolute()): identity.stamp(str(each.absolute())) for each in files}

    def spread(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return elsewhere.of("strip", lost, _STALL_S)(partial(traced, known, function), items)

    return spread


def traced(known: Mapping[str, tuple[int, str]], function: Callable[[Any], Any], item: Any) -> Any:
    """What a function makes of an item while the files are those of the run.

    Parameters
    ----------
    known : mapping
        As `identity.check_same` takes it.
    function, item
        What is to be done.

    Raises
    ------
    RasterError
        If a file is another one, before or after.
    """
    patiently(lambda: None, lambda _: _same(known))
    identity.check_same(known)
    found = function(item)
    identity.check_same(known)
    return found


def lost(item: Any, why: str) -> Any:
    """Ends the run, since polygons need each of their strips.

    Parameters
    ----------
    item : object
        What could not be done.
    why : str
        What befell the workers.

    Raises
    ------
    RasterError
        Always.
    """
    raise RasterError(
        f"polygons could not be traced, since workers died over one part of the map ({why}); give workers more memory, "
        "or run the same command with --workers 0; the map is kept"
    )


def _same(known: Mapping[str, tuple[int, str]]) -> bool:
    try:
        identity.check_same(known)
    except (RasterError, OSError):
        return False
    return True
