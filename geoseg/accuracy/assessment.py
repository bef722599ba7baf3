"""Assessment: score any map against any reference, by file or by name in a catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from geoseg import catalog
from geoseg.accuracy import ignore as ignoring
from geoseg.accuracy import score as scoring
from geoseg.accuracy import seen
from geoseg.accuracy.alignment import GridOf
from geoseg.accuracy.boundaries import NOT_ASKED, Boundaries
from geoseg.accuracy.references import Resampling
from geoseg.accuracy.score import Accuracy
from geoseg.accuracy.seen import Trained
from geoseg.accuracy.spread import Mapper, Progress, silent
from geoseg.catalog import Catalog, Reference, RegionSpec
from geoseg.catalog.card import ModelCard
from geoseg.catalog.legend import Crosswalk, Legend
from geoseg.catalog.regions import region_of
from geoseg.errors import CatalogError, GeosegError
from geoseg.grid import Region
from geoseg.maps import view
from geoseg.maps.files import opened


def score(
    map_file: Path,
    reference: str,
    *,
    crosswalk: str | None = None,
    legend: str | None = None,
    reference_legend: str | None = None,
    column: str | None = None,
    region: str | None = None,
    catalog_file: Path | None = None,
    ignore: str = "",
    nodata: int | None = None,
    interval_block: str | None = None,
    zones: Path | None = None,
    zone_column: str | None = None,
    grid: GridOf = "auto",
    resampling: Resampling = "auto",
    confidence: Path | None = None,
    boundaries: Boundaries = NOT_ASKED,
    workers: int | None = None,
    mapper: Callable[[Sequence[Path]], AbstractContextManager[Mapper]] | None = None,
    progress: Progress = silent,
) -> Accuracy:
    """Score a map against a reference map.

    Parameters
    ----------
    map_file : Path
        Land-cover GeoTIFF or VRT.
    reference : str
        Name of a reference in the catalog, or path of a raster, or with `column` of polygons or points.
    crosswalk : str, optional
        Name in the catalog; default: the only one between the two legends, or none for equal legends.
    legend, reference_legend : str, optional
        Legends by name, where the files do not say so themselves.
    column : str, optional
        Attribute of the reference's polygons or points that holds their class, by id or name; their legend is the map's
        where none is given.
    region : str, optional
        What to stay inside of: a region of the catalog, a vector file, or 'left,bottom,right,top' in the map's CRS.
    catalog_file : Path, optional
        Default: data_catalog.yaml in the working folder if there is one, else what geoseg ships.
    ignore : str
        Classes of the map or the reference to leave out, see `ignore.read`.
    nodata : int, optional
        Value of the map that means no data, in place of what the file declares.
    interval_block : str, optional
        Edge of the blocks that are resampled for intervals, as '64 px' or '2 km'; default: chosen by how far errors
        hang together.
    zones : Path, optional
        Polygons or a raster of integers whose zones are scored each by itself, too.
    zone_column : str, optional
        Attribute that names polygons; default: numbers from 1.
    grid, resampling
        On whose grid both are compared, and how the other comes onto it; see `alignment.choose`.
    confidence : Path, optional
        Raster of the map's confidence, on its pixels.
    boundaries : Boundaries
        What to tell about boundaries of classes, and how near to them nothing is scored.
    workers : int, optional
        Threads that count; by default one for each core.
    mapper : callable, optional
        Gives a context with what spreads the squares over other processes in place of threads, for the files that
        these must read; see `spread.Mapper`.
    progress : callable
        Called with the squares that are done, and how many there are.

    Raises
    ------
    GeosegError
        For an unknown name, an unreadable file, or legends that cannot be compared.
    """
    known = open_catalog(catalog_file)
    mine = legend_of(map_file, legend, known, "--legend")
    other = _reference(reference, reference_legend, column, mine, known)
    walk = known.crosswalk(crosswalk) if crosswalk else _between(known, other.legend, mine)
    where = None if region is None else _region(region, map_file, known)
    left_out, trained = ignoring.read(ignore, mine, other.legend), trained_of(map_file, known)
    files = [map_file, Path(other.file), *(each for each in (zones, confidence) if each is not None)]
    with nullcontext() if mapper is None else mapper(files) as over:
        return scoring.score(
            map_file,
            other,
            walk,
            legend=mine,
            region=where,
            nodata=nodata,
            ignore=left_out,
            trained=trained,
            interval_block=interval_block,
            zones=zones,
            zone_column=zone_column,
            grid=grid,
            resampling=resampling,
            confidence=confidence,
            boundaries=boundaries,
            workers=workers,
            mapper=over,
            progress=progress,
        )


def trained_of(map_file: Path, known: Catalog) -> Trained | None:
    """Where the model that made a map was trained, or several; None where that cannot be known.

    Parameters
    ----------
    map_file : Path
        Its tags hold the hash of the model's weights, if geoseg made it.
    known : Catalog
        The model is looked for among its models, those that geoseg ships, and folders beside it.
    """
    with opened(map_file) as source:
        name, digest = (source.tags().get(tag) for tag in ("GEOSEG_MODEL", "GEOSEG_MODEL_SHA256"))
    if name is None or digest is None:
        return None
    wanted = digest.split(" + ")
    found: dict[str, ModelCard] = {}
    for each in (*name.split(" + "), *known.names("models")):  # a folder of the name beside the catalog is a model too
        if len(found) == len(wanted):
            break
        with suppress(GeosegError):  # a model that cannot be read says nothing of this map
            card = known.model(each).card
            if card.weights.sha256 in wanted:
                found.setdefault(card.weights.sha256, card)
    return seen.of_cards(found.values())


def open_catalog(file: Path | None) -> Catalog:
    """The catalog asked for, the one in the working folder, or what geoseg ships."""
    if file is None and not Path("data_catalog.yaml").is_file():
        return catalog.shipped()
    return catalog.read(file or Path("data_catalog.yaml"))


def legend_of(map_file: Path, name: str | None, known: Catalog, option: str) -> Legend:
    """The legend by name, or the one that the map carries.

    Parameters
    ----------
    map_file : Path
        Any raster of class ids.
    name : str or None
        A legend of the catalog; goes before the one carried.
    known : Catalog
        Where names are looked up.
    option : str
        What the message names as the way to give a legend, such as '--legend'.

    Raises
    ------
    CatalogError
        If no name is given and the map carries none.
    """
    carried = None if name is not None else view.legend_of(map_file)
    if name is None and carried is None:
        raise CatalogError(
            f"{map_file} does not say what its classes are; name its legend with {option}, "
            f"for instance one of {', '.join(known.names('legends')[:6])}"
        )
    return carried if name is None and carried is not None else known.legend(str(name))


def _region(text: str, map_file: Path, known: Catalog) -> Region:
    if text in known.names("regions"):
        return region_of(known.region(text), text, known.folder)
    try:
        left, bottom, right, top = map(float, text.split(","))
    except ValueError:
        pass
    else:
        crs = view.crs_of(map_file)
        return Region.of_bounds((left, bottom, right, top), crs, f"region {text} in the map's CRS {crs[:20]}")
    if Path(text).exists():
        return region_of(RegionSpec(file=text), text, Path())
    try:
        return region_of(known.region(text), text, known.folder)  # raises, naming the nearest
    except CatalogError as error:
        raise CatalogError(f"{error}; or give a vector file, or left,bottom,right,top in the map's CRS") from None


def _reference(name: str, legend: str | None, column: str | None, mine: Legend, known: Catalog) -> Reference:
    if name in known.names("references") or not Path(name).is_file():
        return known.reference(name)  # raises, naming the nearest
    if column is not None:
        theirs = mine if legend is None else known.legend(legend)
    else:
        theirs = legend_of(Path(name), legend, known, "--reference-legend")
    return Reference(Path(name).name, str(Path(name).absolute()), 1, theirs, None, column=column)


def _between(known: Catalog, reference: Legend, mine: Legend) -> Crosswalk:
    try:
        return known.crosswalk_between(reference, mine)
    except CatalogError:
        return known.crosswalk_between(mine, reference)
