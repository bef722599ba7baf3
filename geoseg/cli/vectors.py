"""Commands that make polygons of a finished map: vectorize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.maps import MapFile, MapLegend
from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import out, refusing
from geoseg.quantities import counted

if TYPE_CHECKING:
    from geoseg.catalog.legend import Legend

Workers = Annotated[int | None, typer.Option(min=1, help="Threads; default: one for each core.")]


@app.command()
@refusing
def vectorize(
    map_file: MapFile,
    target: Annotated[Path, typer.Option("--out", help="Output .shp, .gpkg, .fgb or .parquet.")],
    classes: Annotated[str | None, typer.Option(help="Only these classes: ids or names, separated by commas.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="One file for each class.")] = False,
    legend: MapLegend = None,
    workers: Workers = None,
    catalog: CatalogFile = None,
) -> None:
    """Trace a map's classes as polygons."""
    from geoseg.catalog import choice
    from geoseg.cluster import local
    from geoseg.maps import view
    from geoseg.vectors import polygons

    named = _named(legend, catalog)
    wanted = None if classes is None else choice.ids_of(classes, named or view.legend_of(map_file))
    made = polygons.vectorize(
        map_file, target, classes=wanted, legend=named, per_class=per_class, workers=workers or local.cores()
    )
    for path, count in made.items():
        out.print(f"wrote {path}: {counted(count, 'polygon')}", markup=False)


def _named(legend: str | None, catalog: Path | None) -> Legend | None:
    """The legend of that name."""
    from geoseg.accuracy import assessment

    return None if legend is None else assessment.open_catalog(catalog).legend(legend)
