"""The commands that judge a finished map: evaluate, by a reference map; sample and assess, by points."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import bar, out, print_table, refuse, refusing, score_table
from geoseg.cli.workers import Scheduler, TlsCa, TlsCert, TlsKey, check_exclusive, spread
from geoseg.errors import CatalogError
from geoseg.quantities import counted

MapFile = Annotated[Path, typer.Argument(metavar="MAP", help="Land-cover GeoTIFF or VRT.")]
MapLegend = Annotated[str | None, typer.Option("--legend", help="Legend of MAP, if it does not say so itself.")]


@app.command()
@refusing
def evaluate(
    map_file: MapFile,
    reference: Annotated[str, typer.Argument(help="A reference of the catalog, a GeoTIFF, or polygons or points.")],
    crosswalk: Annotated[str | None, typer.Option(help="Crosswalk of the catalog between the legends.")] = None,
    legend: MapLegend = None,
    reference_legend: Annotated[str | None, typer.Option(help="Legend of REFERENCE, if it is a file.")] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of REFERENCE's polygons or points with their class, by id or name.")
    ] = None,
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
    interval_block: Annotated[
        str | None,
        typer.Option(
            help="Edge of the blocks that are resampled for the 95 % intervals: '64 px', '2 km'; default: five times "
            "the distance over which errors hang together."
        ),
    ] = None,
    grid: Annotated[
        Literal["auto", "map", "reference"],
        typer.Option(help="On whose pixels both are compared: map, reference, or auto: the coarser of the two."),
    ] = "auto",
    resampling: Annotated[
        Literal["auto", "nearest", "mode"],
        typer.Option(help="How the other comes onto that grid: nearest, mode (most frequent underneath), or auto."),
    ] = "auto",
    zones: Annotated[
        Path | None, typer.Option(help="Also score each zone: polygons, or a raster of integers, in any CRS.")
    ] = None,
    zone_column: Annotated[
        str | None, typer.Option(help="Column that names the polygons of --zones; default: numbered from 1.")
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--error-map",
            help="Write the share of differing pixels and the IoU of each class by square blocks, a .tif.",
        ),
    ] = None,
    boundary: Annotated[
        int, typer.Option(min=0, help="Also tell the Boundary IoU of pixels within so many of a border; 0: not.")
    ] = 0,
    boundary_ignore: Annotated[
        int, typer.Option(min=0, help="Leave out pixels within so many of a border between REFERENCE's classes.")
    ] = 0,
    confidence: Annotated[
        Path | None, typer.Option(help="Raster of MAP's confidence, to tell whether it says how often MAP is right.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that count; default: one for each core.")] = None,
    scheduler: Scheduler = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    catalog: CatalogFile = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder for accuracy.json and accuracy.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what accuracy.json holds, not a table.")] = False,
) -> None:
    """Score a map against a reference map, class by class."""
    from geoseg.accuracy import assessment, error_map, tables, zone_tables
    from geoseg.accuracy.boundaries import Boundaries

    if errors is not None:
        error_map.check_ending(errors)
    if zone_column is not None and zones is None:
        refuse(CatalogError("--zone-column names the polygons of --zones, so give these too"))

    check_exclusive(workers, scheduler)
    certificates = tls_ca, tls_cert, tls_key
    with bar() as tell:
        scores = assessment.score(
            map_file,
            reference,
            crosswalk=crosswalk,
            legend=legend,
            reference_legend=reference_legend,
            column=column,
            region=region,
            catalog_file=catalog,
            ignore=ignore,
            nodata=nodata,
            interval_block=interval_block,
            zones=zones,
            zone_column=zone_column,
            grid=grid,
            resampling=resampling,
            confidence=confidence,
            boundaries=Boundaries(boundary, boundary_ignore),
            workers=workers,
            mapper=None if scheduler is None else partial(spread, scheduler, certificates),
            progress=lambda done, total: tell("counting", done, total, 0),
        )
    written = () if folder is None else tables.write(scores, folder)
    if errors is not None:
        written = (*written, error_map.write(scores, errors))
    if as_json:
        out.file.write(tables.as_json(scores))
        return
    score_table(tables.plain(scores))
    if scores.zones:
        out.print()
        print_table(*zone_tables.table(scores.zones))
    for path in written:
        out.print(f"wrote {path}", markup=False)


@app.command()
@refusing
def sample(
    map_file: MapFile,
    target: Annotated[Path, typer.Option("--out", help="Output .gpkg, .fgb, .geojson, .csv or .kml.")],
    number: Annotated[int | None, typer.Option("--n", min=1, help="Points in all; default: 500.")] = None,
    standard_error: Annotated[
        float | None, typer.Option(help="Instead of --n: the standard error wanted of overall accuracy, 0.01 say.")
    ] = None,
    expected: Annotated[
        list[str] | None,
        typer.Option(help="User's accuracy expected of all classes, or of one: 0.9, 'water=0.95'; may be repeated."),
    ] = None,
    allocation: Annotated[
        Literal["proportional", "equal", "optimal"],
        typer.Option(help="Points of a class: by its pixels, as many for each, or by pixels and expected spread."),
    ] = "proportional",
    least: Annotated[int, typer.Option("--min-per-class", min=2, help="Points of each class at least.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other points.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sample, and its labels.")] = False,
    legend: MapLegend = None,
    catalog: CatalogFile = None,
) -> None:
    """Draw random points within each class of a map, for someone to label."""
    from geoseg.accuracy import assessment
    from geoseg.vectors import sample as samples

    named = None if legend is None else assessment.open_catalog(catalog).legend(legend)
    made = samples.draw(
        map_file,
        target,
        number,
        standard_error=standard_error,
        expected=expected or (),
        allocation=allocation,
        least=least,
        seed=seed,
        legend=named,
        overwrite=overwrite,
    )
    rows: list[list[str | float | int | None]] = [[name, points] for name, points in made.points.items()]
    error = f"standard error of overall accuracy {made.standard_error:.4f}, if classes are as accurate as expected"
    print_table(["class", "points"], rows, [f"{counted(sum(made.points.values()), 'point')} in all; {error}"])
    if target.suffix.lower() == ".kml":
        out.print(f"wrote {target}, to look at; labels go into a .csv or .gpkg of the same --seed", markup=False)
        return
    out.print(f"wrote {target}: fill in the column 'label', then: geoseg assess {map_file} {target}", markup=False)


@app.command()
@refusing
def assess(
    map_file: MapFile,
    points: Annotated[Path, typer.Argument(metavar="POINTS", help="Vector file of points sampled within strata.")],
    label: Annotated[str, typer.Option(help="Column with the class that each point is, by id or name.")] = "label",
    strata: Annotated[
        Path | None, typer.Option(help="Raster of the strata that points were drawn from; default: MAP's classes.")
    ] = None,
    legend: MapLegend = None,
    catalog: CatalogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all estimates as JSON, not a table.")] = False,
) -> None:
    """Estimate a map's accuracy and the areas of its classes from labelled points, with 95 % intervals."""
    import json

    from geoseg.accuracy import assessment, sampled

    named = None if legend is None else assessment.open_catalog(catalog).legend(legend)
    found = sampled.assess(map_file, points, label=label, strata=strata, legend=named)
    if as_json:
        out.file.write(json.dumps(sampled.as_json(found), indent=1, ensure_ascii=False) + "\n")
        return
    print_table(*sampled.table(found))
