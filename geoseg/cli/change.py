"""The command for two maps of one place: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.maps import MapLegend
from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import out, print_table, refuse, refusing
from geoseg.errors import CatalogError, RasterError
from geoseg.quantities import counted


@app.command()
@refusing
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Land-cover GeoTIFF or VRT.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another of the same legend and pixels.")],
    target: Annotated[Path | None, typer.Option("--out", help="Write what became what, a .tif.")] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Write the changes as polygons: .shp, .gpkg, .fgb or .parquet; with --out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the outputs.")] = False,
    legend: MapLegend = None,
    catalog: CatalogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Tell what changed between two maps of one place."""
    from geoseg.accuracy import assessment, change

    known = assessment.open_catalog(catalog)
    ours, theirs = (assessment.legend_of(each, legend, known, "--legend") for each in (before, after))
    if vectors is not None:
        from geoseg.vectors import files

        files.check_ending(vectors)
        if target is None:
            refuse(CatalogError("--vectors traces the raster of change, so name that too, with --out"))
    for path in (target, vectors):
        if path is not None and path.exists() and not overwrite:
            refuse(RasterError(f"{path} exists; name another file, or say --overwrite"))
    if target is not None and target.resolve() in (before.resolve(), after.resolve()):
        refuse(RasterError(f"{target} is one of the maps; name another file"))
    found = change.compare(before, after, legend=ours, after_legend=theirs, out=target)
    written = [] if target is None else [f"wrote {target}"]
    if vectors is not None and target is not None:
        written.append(_traced(target, vectors))
    if as_json:
        out.file.write(change.as_json(found))
        return
    head, rows, feet = change.table(found)
    print_table(head, rows, [*feet, *written])


def _traced(change_raster: Path, target: Path) -> str:
    """Write the changes as polygons, if there are any; what to say of it."""
    from geoseg.accuracy.change import NO_CHANGE
    from geoseg.cluster import local
    from geoseg.maps import view
    from geoseg.vectors import polygons

    legend = view.legend_of(change_raster)
    assert legend is not None
    changes = [id for id in legend.ids if id != NO_CHANGE]
    if not changes:
        return f"nothing changed, so {target} is not written"
    made = polygons.vectorize(change_raster, target, classes=changes, workers=local.cores())
    return "; ".join(f"wrote {path}: {counted(count, 'polygon')}" for path, count in made.items())
