"""Resolve: a job spec resolved against the catalog, the imagery and the model. All bad input is refused here.

Rasters and weights are opened and checked; nothing is labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import shapely
from odc.geo.geom import Geometry

from geoseg import catalog, imagery
from geoseg.accuracy import ignore as ignoring
from geoseg.catalog import Catalog, RegionSpec
from geoseg.catalog.card import Model
from geoseg.catalog.legend import Crosswalk, Legend
from geoseg.catalog.regions import region_of
from geoseg.errors import GridError, JobError
from geoseg.grid import Demand, Grid, Layout, Window, block_edge, read_crs, windows_that_fit, worker_bytes
from geoseg.inference import options, predictor
from geoseg.inference.member import check_alike
from geoseg.inference.predictor import Predictor
from geoseg.jobs import contract, radiometry
from geoseg.jobs.plan import USABLE, Plan, demand
from geoseg.jobs.spec import Inference, JobSpec
from geoseg.quantities import counted, plain

_MOST_AT_ONCE = 8
"""Windows at once that a block leaves memory for, where it can."""
MOST_BLOCKS = 10_000_000
"""More than the land of the whole Earth needs at a metre; what asks for more is a mistake or a trap."""


def resolve(spec: JobSpec, *, predict_halo: int | None = None, legend: Legend | None = None) -> Plan:
    """Resolve a job: open the imagery and the model, find the grid and the extent, size the blocks.

    Parameters
    ----------
    spec : JobSpec
        With an absolute catalog path, as `job.read` gives it.
    predict_halo, legend : int, Legend
        For a caller who brings a callable of their own in place of the job's model: pixels of context that it
        needs, and its legend.

    Raises
    ------
    GeosegError
        One child for each kind of refusal: see `geoseg.errors`.
    """
    assert spec.catalog is not None
    known = catalog.read(spec.catalog)
    layer = known.imagery(spec.imagery)
    models = () if legend is not None else tuple(known.model(name) for name in spec.models)
    if models:
        check_alike(models)
        layer = layer.select(models[0].card.bands, f"model {models[0].card.name!r}")
        legend = models[0].card.legend
    assert legend is not None
    legend.check_fits_uint8()
    check_reference(spec, known, legend)
    scene = imagery.open(layer)
    grid = scene.grid if spec.grid == "source" else Grid.regular(spec.grid.crs, spec.grid.resolution)
    _check_vectors(spec, grid, legend)
    extent, region = extent_of(spec.region, known, scene, grid)
    ready = None
    if models:
        ready = predictor_of(spec.inference, models, partial(imagery.statistics, scene), spec.outputs.also)
    else:
        _check_callable(spec)
    core, margin = (ready.core, ready.margin) if ready else _callable_layout(spec, predict_halo or 0)
    layout = Layout(extent, core, margin, _block(spec, extent, core, margin, len(layer.bands), demand(ready, margin)))
    if layout.blocks > MOST_BLOCKS:
        raise JobError(
            f"the map would have {extent.height} x {extent.width} pixels in {counted(layout.blocks, 'block')}; "
            f"a job has {MOST_BLOCKS} at most, so give a smaller 'region', a coarser 'grid' or a larger inference.block"
        )
    notes = [] if ready is None else _notes(ready)
    forced = [each for model in models for each in _forced(spec, model, scene, grid, extent)]
    notes += forced
    if unseen := imagery.unseen(scene):
        others = f" and {counted(len(unseen) - 1, 'more file')}" if unseen[1:] else ""
        notes.append(
            f"nobody says when {unseen[0]}{others} last changed, so a change during the run would not be noticed; "
            "use a server that gives an ETag or Last-Modified"
        )
    wkb = None if region is None else shapely.to_wkb(region.geom, hex=True)
    return Plan(spec, scene, grid, layout, legend, wkb, ready, tuple(notes), tuple(forced))


def _forced(spec: JobSpec, model: Model, scene: imagery.Scene, grid: Grid, extent: Window) -> Iterator[str]:
    values = spec.force or spec.inference.any_values
    seen = radiometry.of_scene(scene)
    how = "--force (force: true in the job)"
    return contract.forced(model.card, grid, extent, seen, ground=spec.force, values=values, how=how)


def check_reference(spec: JobSpec, known: Catalog, legend: Legend) -> None:
    """Refuse a job whose reference cannot be compared with its map.

    Parameters
    ----------
    spec : JobSpec
        The job; nothing is checked if it names no reference.
    known : Catalog
        Its catalog.
    legend : Legend
        Of the map.
    """
    if spec.reference is not None:
        reference, _ = reference_of(spec, known, legend)
        ignoring.read(spec.reference.ignore, legend, reference.legend)
        if spec.reference.zones is not None and not (zones := known.folder / spec.reference.zones).is_file():
            raise JobError(f"reference.zones is {zones}, which is no file; check the path, which begins at the catalog")


def _check_vectors(spec: JobSpec, grid: Grid, legend: Legend) -> None:
    """Refuse what polygons cannot be made with, before there is a map."""
    wanted = spec.outputs
    if wanted.min_area:
        from geoseg.vectors import mapping_unit  # numba takes a second

        mapping_unit.parse(wanted.min_area, legend)
    if wanted.smooth or wanted.simplify is not None:
        from geoseg.vectors import simplify

        simplify.check(wanted.simplify, read_crs(grid.crs, "grid").proj, grid.affine, "the map")


def reference_of(spec: JobSpec, known: Catalog, legend: Legend) -> tuple[catalog.Reference, Crosswalk]:
    """The job's reference and the crosswalk from its legend to the map's.

    Parameters
    ----------
    spec : JobSpec
        The job, which names a reference.
    known : Catalog
        Its catalog.
    legend : Legend
        Of the map.

    Raises
    ------
    CatalogError, JobError
        If either is unknown, or the crosswalk joins other legends.
    """
    assert spec.reference is not None
    reference = known.reference(spec.reference.name)
    if spec.reference.crosswalk is None:
        return reference, known.crosswalk_between(reference.legend, legend)
    crosswalk = known.crosswalk(spec.reference.crosswalk)
    joined = [(each.ids, each.names) for each in (crosswalk.source, crosswalk.target)]
    if joined != [(each.ids, each.names) for each in (reference.legend, legend)]:
        raise JobError(
            f"crosswalk {crosswalk.name!r} leads from {crosswalk.source.name!r} to {crosswalk.target.name!r}; "
            f"reference {reference.name!r} is in {reference.legend.name!r} and the map in {legend.name!r}, "
            "so name another"
        )
    return reference, crosswalk


def extent_of(
    wanted: str | RegionSpec, known: Catalog, scene: imagery.Scene, grid: Grid
) -> tuple[Window, Geometry | None]:
    """The window of the grid that a region (or, for 'imagery', all of it) covers, and its outline in the grid's CRS.

    Parameters
    ----------
    wanted : str or RegionSpec
        A region, its name in the catalog, or 'imagery'.
    known : Catalog
        The job's catalog.
    scene : Scene
        The imagery.
    grid : Grid
        Of the map.

    Raises
    ------
    CatalogError, GridError
        If the region is unknown, cannot be used, or does not meet the imagery.
    """
    whole = imagery.extent(scene, grid)
    if wanted == "imagery":
        return whole, None
    asked = known.region(wanted) if isinstance(wanted, str) else wanted
    name = wanted if isinstance(wanted, str) else "region"
    ground = region_of(asked, name, Path(known.path).parent)
    region = ground.on(grid)
    extent = grid.cover(region).meet(whole)
    if extent is None or not region.geom.intersects(grid.footprint(whole).geom):
        raise GridError(
            f"region {name!r} covers {_bounds(region)} in {grid.crs}, but imagery {scene.imagery.name!r} covers "
            f"{_bounds(grid.footprint(whole))}; they do not meet"
            + (ground.hint(grid, whole) or ", so check the region's coordinates and CRS")
        )
    return extent, region


def predictor_of(
    asked: Inference,
    models: Sequence[Model],
    statistics: Callable[[Collection[float]], imagery.Statistics],
    also: Sequence[str] = (),
) -> Predictor:
    """The predictor of a model, or of several, for some imagery.

    Parameters
    ----------
    asked : Inference
        What the user said.
    models : sequence of Model
        What is run.
    statistics : callable
        Takes the imagery's statistics, with the percentiles that it is given; called where a model needs them.
    also : sequence of str
        What is made beside labels and confidence.
    """
    first, *others = models
    kinds = [each.card.normalisation for each in models]
    percentiles = {each for kind in kinds for each in kind.percentiles or ()}
    numbers = statistics(percentiles) if any(kind.of_scene for kind in kinds) else None
    return predictor.prepare(
        first,
        numbers,
        core=asked.window,
        halo=asked.halo,
        batch=asked.batch,
        precision=asked.precision,
        stitch=asked.stitch,
        device=asked.device,
        options=options.of(first.card.legend, asked.tta, asked.classes, asked.thresholds),
        temperature=asked.temperature,
        others=others,
        also=also,
    )


def _check_callable(spec: JobSpec) -> None:
    """Refuse what is made of a model's scores where a caller's own callable gives labels."""
    asked = spec.inference
    for key in spec.outputs.also:
        raise JobError(f"outputs.{key} is made of the scores of a model, and a callable gives labels; leave it out")
    for key in ("tta", "temperature", "classes", "thresholds"):
        if getattr(asked, key) != getattr(Inference(), key):
            raise JobError(f"inference.{key} shapes the scores of a model, and a callable gives labels; leave it out")


def _callable_layout(spec: JobSpec, halo: int) -> tuple[int, int]:
    asked = spec.inference
    return 256 if asked.window == "auto" else asked.window, halo if asked.halo == "auto" else asked.halo


def _block(spec: JobSpec, extent: Window, core: int, margin: int, bands: int, asks: Demand) -> int:
    allowed = int(USABLE * spec.memory_per_worker)
    # Windows that idle cores could label are worth more than a larger block.
    at_once = min(_MOST_AT_ONCE, windows_that_fit(core, margin, bands, asks, allowed))
    auto = block_edge(extent, core, margin, bands, asks, allowed - (at_once - 1) * asks.window)
    if spec.inference.block == "auto":
        return auto
    edge = max(core, spec.inference.block // core * core)
    if (need := worker_bytes(edge, margin, bands, asks)) > allowed:
        raise JobError(
            f"inference.block is {edge} pixels, which needs {need / 1e9:.2f} GB; "
            f"memory_per_worker leaves {allowed / 1e9:.2f} GB, so use a block of at most {auto} or raise it"
        )
    return edge


def _notes(ready: Predictor) -> list[str]:
    notes = []
    if ready.field is not None and ready.halo < ready.field:
        full, less = (((ready.core + 2 * halo) / ready.core) ** 2 for halo in (ready.field, ready.halo))
        notes.append(
            f"inference.halo is {ready.halo} and model {ready.name!r} looks {ready.field} pixels around: each pixel is "
            f"computed {less:.2f} times instead of {full:.2f}, and labels may depend on where windows are cut; "
            "'geoseg plan' measures how many differ"
        )
    if ready.field is None:
        notes.append(
            f"model {ready.name!r} looks at its whole window, so windows may differ along their edges; "
            "inference.stitch: blend smooths that"
        )
    return notes


def _bounds(geometry: Geometry) -> str:
    return "(" + ", ".join(plain(edge, 9) for edge in geometry.boundingbox.bbox) + ")"
