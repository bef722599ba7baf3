"""Commands for finished maps: evaluate, vectorize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import out, refusing, score_table
from geoseg.quantities import counted

MapFile = Annotated[Path, typer.Argument(metavar="MAP", help="Land-cover GeoTIFF or VRT.")]
MapLegend = Annotated[str | None, typer.Option("--legend", help="Legend of MAP, if it does not say so itself.")]


@app.command()
@refusing
def evaluate(
    map_file: MapFile,
    reference: Annotated[str, typer.Argument(help="A reference of the catalog, or a GeoTIFF.")],
    crosswalk: Annotated[str | None, typer.Option(help="Crosswalk of the catalog between the legends.")] = None,
    legend: MapLegend = None,
    reference_legend: Annotated[str | None, typer.Option(help="Legend of REFERENCE, if it is a file.")] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="Score only inside: a region of the catalog, a vector file, or left,bottom,right,top in MAP's CRS."
        ),
    ] = None,
    ignore: Annotated[
        str,
        typer.Option(
            help="Classes of MAP or REFERENCE to leave out: ids or names, separated by commas; map:9 and reference:9 "
            "say whose id it is, unknown-ids stands for all that the legends lack."
        ),
    ] = "",
    nodata: Annotated[int | None, typer.Option(help="Value of MAP that means no data; default: what it says.")] = None,
    catalog: CatalogFile = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder for accuracy.json and accuracy.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what accuracy.json holds, not a table.")] = False,
) -> None:
    """Score a map against a reference map, class by class."""
    from geoseg.accuracy import assessment, tables

    scores = assessment.score(
        map_file,
        reference,
        crosswalk=crosswalk,
        legend=legend,
        reference_legend=reference_legend,
        region=region,
        catalog_file=catalog,
        ignore=ignore,
        nodata=nodata,
    )
    written = () if folder is None else tables.write(scores, folder)
    if as_json:
        out.file.write(tables.as_json(scores))
        return
    score_table(tables.plain(scores))
    for path in written:
        out.print(f"wrote {path}", markup=False)


@app.command()
@refusing
def vectorize(
    map_file: MapFile,
    target: Annotated[Path, typer.Option("--out", help="Output .shp, .gpkg, .fgb or .parquet.")],
    classes: Annotated[str | None, typer.Option(help="Only these classes: ids or names, separated by commas.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="One file for each class.")] = False,
    legend: MapLegend = None,
    catalog: CatalogFile = None,
) -> None:
    """Trace a map's classes as polygons."""
    from geoseg.accuracy import assessment
    from geoseg.catalog import choice
    from geoseg.maps import view
    from geoseg.vectors import polygons

    named = None if legend is None else assessment.open_catalog(catalog).legend(legend)
    wanted = None if classes is None else choice.ids_of(classes, named or view.legend_of(map_file))
    for path, count in polygons.vectorize(map_file, target, classes=wanted, legend=named, per_class=per_class).items():
        out.print(f"wrote {path}: {counted(count, 'polygon')}", markup=False)
