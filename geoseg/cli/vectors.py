"""Commands for the regions of a finished map: vectorize, sieve, areas."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from geoseg.cli.maps import MapFile, MapLegend
from geoseg.cli.options import CatalogFile, app
from geoseg.cli.screen import bar, out, refuse, refusing
from geoseg.cli.workers import Scheduler, TlsCa, TlsCert, TlsKey, check_exclusive, spread
from geoseg.errors import CatalogError
from geoseg.process import cores
from geoseg.quantities import counted

if TYPE_CHECKING:
    from geoseg.catalog.legend import Legend
    from geoseg.vectors.mapping_unit import Change

MinArea = Annotated[
    list[str] | None,
    typer.Option(
        "--min-area",
        help="Smaller regions join the neighbour with the longest common border: 0.5ha, 900m2, 1km2; water=2ha is for "
        "one class. Repeat it.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads; default: one for each core.")]


@app.command()
@refusing
def vectorize(
    map_file: MapFile,
    target: Annotated[Path, typer.Option("--out", help="Output .shp, .gpkg, .fgb, .parquet or .geojson.")],
    classes: Annotated[str | None, typer.Option(help="Only these classes: ids or names, separated by commas.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="One file for each class.")] = False,
    min_area: MinArea = None,
    simplify: Annotated[
        str | None,
        typer.Option(help="Outlines lose corners that stand out by less: 30m or 1.5px; borders stay shared."),
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Round corners, after all else; borders stay shared.")
    ] = False,
    crs: Annotated[
        str | None,
        typer.Option(help="CRS of the coordinates, EPSG:3857 say; default: the map's, for .geojson EPSG:4326."),
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(help="Further columns, separated by commas: pixels, perimeter (perim_m), confidence (conf)."),
    ] = None,
    confidence: Annotated[
        Path | None, typer.Option(help="Raster of which conf is the mean; default: confidence.tif beside the map.")
    ] = None,
    legend: MapLegend = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    catalog: CatalogFile = None,
) -> None:
    """Trace a map's classes as polygons."""
    from geoseg.catalog import choice
    from geoseg.maps import view
    from geoseg.vectors import polygons

    named = _named(legend, catalog)
    wanted = None if classes is None else choice.ids_of(classes, named or view.legend_of(map_file))
    check_exclusive(workers, scheduler)
    attached = [each.strip() for each in attributes.split(",")] if attributes else []
    how: dict[str, Any] = {
        "classes": wanted,
        "legend": named,
        "per_class": per_class,
        "min_area": min_area or (),
        "simplify": simplify,
        "smooth": smooth,
        "crs": crs,
        "attributes": attached,
        "confidence": confidence,
        "changed_areas": _show,
        "workers": workers or cores(),
    }
    with ExitStack() as stack:
        if scheduler is not None:
            files = polygons.files_read(map_file, attached, confidence)
            how["mapper"] = stack.enter_context(spread(scheduler, (tls_ca, tls_cert, tls_key), files))
        tell = stack.enter_context(bar("polygons"))
        made = polygons.vectorize(
            map_file,
            target,
            progress=lambda now: tell(now.step, now.done, now.total, now.polygons),
            **how,
        )
    for path, count in made.items():
        out.print(f"wrote {path}: {counted(count, 'polygon')}", markup=False)


@app.command()
@refusing
def sieve(
    map_file: MapFile,
    target: Annotated[Path, typer.Option("--out", help="Output .tif.")],
    min_area: MinArea = None,
    legend: MapLegend = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    workers: Workers = None,
    catalog: CatalogFile = None,
) -> None:
    """Write a map without regions smaller than a least area."""
    from geoseg.vectors import mapping_unit

    if not min_area:
        refuse(CatalogError("--min-area is missing; say how small a region may be, 0.5ha or water=2ha say"))
    changes = mapping_unit.write_sieved(
        map_file,
        target,
        min_area or (),
        legend=_named(legend, catalog),
        overwrite=overwrite,
        workers=workers or cores(),
    )
    _show(changes)
    out.print(f"wrote {target}", markup=False)


@app.command()
@refusing
def areas(
    map_file: MapFile,
    zones: Annotated[Path | None, typer.Option(help="Vector file of polygons; default: the whole map.")] = None,
    column: Annotated[str | None, typer.Option(help="Attribute that names the zones; default: numbers.")] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="Write a .csv, or the zones with their areas as .gpkg.")
    ] = None,
    legend: MapLegend = None,
    catalog: CatalogFile = None,
) -> None:
    """Area of each class, in the whole map or in each zone."""
    from geoseg.vectors import zones as by_zone

    found = by_zone.measure(map_file, zones, column=column, legend=_named(legend, catalog))
    table = Table(show_edge=False, pad_edge=False)
    for name in ("zone", "class"):
        table.add_column(name, overflow="fold")
    for name in ("area, km²", "of the zone"):
        table.add_column(name, justify="right")
    totals: dict[str, float] = {}
    for each in found:
        totals[each.zone] = totals.get(each.zone, 0.0) + each.area_m2
    for each in found:
        share = each.area_m2 / totals[each.zone]
        table.add_row(Text(each.zone), Text(each.class_name), f"{each.area_m2 / 1e6:,.4f}", f"{share:.2%}")
    out.print(table)
    if target is not None:
        by_zone.write(found, target, map_file, zones, column=column)
        out.print(f"wrote {target}", markup=False)


def _show(changes: Sequence[Change]) -> None:
    """What generalising did to each class's area."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in ("before, km²", "after, km²", "change"):
        table.add_column(name, justify="right")
    for each in changes:
        change = (each.after_m2 - each.before_m2) / each.before_m2
        sizes = f"{each.before_m2 / 1e6:,.4f}", f"{each.after_m2 / 1e6:,.4f}"
        table.add_row(Text(each.class_name), *sizes, f"{change:+.2%}")
    out.print(table)


def _named(legend: str | None, catalog: Path | None) -> Legend | None:
    """The legend of that name."""
    from geoseg.accuracy import assessment

    return None if legend is None else assessment.open_catalog(catalog).legend(legend)
