"""Labels: a map of classes drawn into axes of matplotlib, on its ground, in the legend's colours."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from geoseg.catalog.legend import NODATA, Legend
from geoseg.report import key
from geoseg.report.figures import HATCH


def draw(
    labels: np.ndarray,
    legend: Legend,
    axes: Axes | None = None,
    *,
    extent: tuple[float, float, float, float] | None = None,
    names: tuple[str, str] = ("", ""),
) -> Axes:
    """Draw a map and a key of the classes present beside it.

    Parameters
    ----------
    labels : (row, col) uint8
        Class ids; 255 is no data and hatched, a value that the legend lacks magenta.
    legend : Legend
        Names and colours.
    axes : Axes, optional
        Where to draw; default: a new figure of pyplot, since that is what notebooks show.
    extent : (left, right, bottom, top), optional
        Coordinates of the map's edges; default: pixels.
    names : (str, str)
        Of the horizontal and the vertical axis.

    Returns
    -------
    Axes
    """
    if axes is None:
        from matplotlib import pyplot  # picks a display, which nothing else here needs

        axes = pyplot.subplots()[1]
    axes.imshow(key.coloured(labels, legend, NODATA), interpolation="nearest", extent=extent)
    axes.patch.set(**HATCH)
    axes.set(xlabel=names[0], ylabel=names[1])
    counts = key.count(labels)
    rows = key.rows(counts, legend, NODATA, has_nodata=NODATA in counts)
    patches = [Patch(label=str(number), **patch) for number, (_, _, patch) in enumerate(rows)]
    drawn = axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, borderaxespad=0)
    key.name_rows(drawn, [name for name, _, _ in rows])
    return axes
