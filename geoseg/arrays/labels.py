"""Labels: the map of any georeferenced array as a lazy xarray.DataArray, (row, col) uint8, 255 where there is no data.

A chunk is made just as a run makes a block, so it is the same pixel for pixel. The graph holds the plan once, with
paths and cards in it, never a network or an open file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray

from geoseg import imagery
from geoseg.arrays import chunks, cube, scenes
from geoseg.catalog import Catalog
from geoseg.catalog.card import Model, read_model
from geoseg.catalog.legend import NODATA, Legend
from geoseg.catalog.yaml import parse
from geoseg.errors import JobError
from geoseg.grid import Grid, Layout, Window
from geoseg.imagery.statistics import Statistics, measured, sample
from geoseg.inference import options
from geoseg.inference.member import check_alike
from geoseg.inference.predictor import Predictor
from geoseg.jobs import block as job_block
from geoseg.jobs import contract, radiometry, resolve
from geoseg.jobs.block import Labelled
from geoseg.jobs.plan import Plan
from geoseg.jobs.spec import Inference, JobSpec, Outputs
from geoseg.storage.digests import digest_of

_MEANT = {
    "confidence": "confidence, 0 to 254 for 0 to 1",
    "probabilities": "share of each class, 0 to 254 for 0 to 1",
    "entropy": "entropy of the shares of all classes, 0 to 254 for 0 to 1",
    "margin": "share of the best class less that of the second, 0 to 254 for 0 to 1",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Mapper:
    """What chunks of a map of given pixels need."""

    predictor: Predictor
    legend: Legend
    layout: Layout
    kinds: tuple[str, ...]
    """Beside the labels."""


def segment(
    scene: xarray.DataArray | xarray.Dataset,
    model: Model | scenes.PathText | Sequence[Model | scenes.PathText],
    *,
    confidence: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    margin: bool = False,
    force: bool = False,
    catalog: scenes.PathText | None = None,
    **inference: Any,
) -> xarray.DataArray | xarray.Dataset:
    """Map an array lazily: each chunk is labelled when it is computed, as `geoseg run` would label it on that grid.

    What you pass is what is mapped: pixels beyond the array's edges are no data, and its statistics, where the model
    normalises by them, are those of a fixed sample of the array, which is computed now. Only for an array just as
    `open_imagery` gave it, or cut out of that with one selection (`isel`, `sel` or brackets), are files read beyond its
    edges where the network looks there, and the statistics those of the whole imagery; so the map of such a part is
    that part of the map.

    Parameters
    ----------
    scene : DataArray or Dataset
        Physical values on a regular grid with a CRS, in NumPy or Dask, NaN or the nodata of its attributes where there
        is no data. Bands are matched by name: along a dimension, by its coordinate or the file's band descriptions
        (`long_name`); or as variables. A time must be a single one. A pixel that lacks one of the model's bands gets
        no label; what else of it the network sees is as with files: nothing where the bands lie in one array, the
        other bands where each is a variable of its own.
    model : Model, path or str
        A model, its folder, or its name in the catalog; several make an ensemble.
    confidence, probabilities, entropy, margin : bool
        Return a Dataset with `land_cover` and these (0..254 for 0..1, 255 where there is no label), as the outputs of
        a job; probabilities are (class, row, col).
    force : bool
        Go on where the pixels' size, type or values are not such as the model was made for; what is wrong is warned of
        and stands in the result's attribute `forced`. Values are those of a few parts of the array, computed now where
        the model's card says what it expects.
    catalog : path, optional
        As in `open_imagery`.
    **inference
        window, halo, batch, precision, stitch, device, tta, temperature, classes and thresholds, as in a job.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        (row, col) uint8 class ids under the array's own coordinates, nodata 255 as `_FillValue`, with CF flag
        attributes.

    Raises
    ------
    GeosegError
        If the array has no bands, CRS or grid that the model can be used on, or pixels of another size, type or
        range of values than its card says.
    """
    several = [model] if isinstance(model, Model | str | os.PathLike) else model
    models = [each if isinstance(each, Model) else _model(each, scenes.catalog_of(catalog)) for each in several]
    if not models:
        raise JobError("segment was given an empty list of models; give at least one")
    check_alike(models)
    chosen = models[0]
    asked = parse(Inference, inference, "segment", JobError)
    wanted = {"confidence": confidence, "probabilities": probabilities, "entropy": entropy, "margin": margin}
    kinds = tuple(kind for kind, asked_for in wanted.items() if asked_for)
    origin = scenes.origin_of(scene)
    if origin is None:
        wanted_by = f"model {chosen.card.name!r}"
        together = isinstance(scene, xarray.DataArray) and scenes.ORIGIN not in scene.attrs
        found = cube.of(scene, chosen.card.bands, wanted_by, chunks.EDGE, together=together)
        troubles = _forced(models, found.place.grid, found.place.window, _seen(found, models), asked, force=force)
        data, place = _of_pixels(found, models, asked, kinds), found.place
    else:
        assert isinstance(scene, xarray.DataArray)
        place = cube.georeference(scene.isel(band=0) if "band" in scene.dims else scene)
        opened = _opened(scene, origin, models)
        seen = radiometry.of_scene(opened)
        troubles = _forced(models, place.grid, place.window, seen, asked, force=force)
        data = _of_files(opened, origin, place, models, asked, kinds)
    for trouble in troubles:
        warnings.warn(trouble, stacklevel=2)
    flags = _flags(chosen.card.legend, models, scene.attrs.get("attribution", ""))
    flags |= {"forced": troubles} if troubles else {}
    labels = xarray.DataArray(data[0], place.coords, place.dims, "land_cover", flags)
    if not kinds:
        return labels
    made, at = labels.to_dataset(), 1
    for kind in kinds:
        facts = {"long_name": _MEANT[kind], "units": "1", "_FillValue": np.uint8(NODATA)}
        if kind == "probabilities":
            names = list(options.of(chosen.card.legend, classes=asked.classes).names(chosen.card.legend))
            made = made.assign_coords({"class": names})
            made[kind] = (("class", *place.dims), data[at : at + len(names)], facts)
            at += len(names)
        else:
            made[kind] = (place.dims, data[at], facts)
            at += 1
    return made


# ------------------------------------------------------------------------------------- maps of arrays


def _opened(scene: xarray.DataArray, origin: scenes.Origin, models: Sequence[Model]) -> imagery.Scene:
    """The files that an array's pixels come from, with the models' bands."""
    card = models[0].card
    there = tuple(map(str, np.atleast_1d(scene["band"].values)))
    return imagery.open(origin.imagery.select(there, "the array").select(card.bands, f"model {card.name!r}"))


def _seen(found: cube.Cube, models: Sequence[Model]) -> radiometry.Seen:
    """What is looked at of an array's values."""
    bands = models[0].card.bands
    numbers = tuple((band, dtype, "the array") for band, dtype in zip(bands, found.numbers) if dtype is not None)

    def values() -> np.ndarray:
        squares = radiometry.spread(found.place.window, lambda _: True)
        parts = dask.compute(*(found.pixels[(slice(None), *each.within(found.place.window))] for each in squares))
        return radiometry.whole(list(parts), len(bands))

    return radiometry.Seen("the array", numbers, values, radiometry.IN_ARRAY)


def _forced(
    models: Sequence[Model], grid: Grid, window: Window, seen: radiometry.Seen, asked: Inference, *, force: bool
) -> list[str]:
    """What is wrong with an array for some models, where the user goes on all the same."""
    values = force or asked.any_values
    return [
        each
        for model in models
        for each in contract.forced(model.card, grid, window, seen, ground=force, values=values, how="force=True")
    ]


def _of_files(
    opened: imagery.Scene,
    origin: scenes.Origin,
    place: cube.Georeference,
    models: Sequence[Model],
    asked: Inference,
    kinds: tuple[str, ...],
) -> dask.array.Array:
    """(layer, row, col): each chunk reads its own pixels and context from the files."""
    layer, card = opened.imagery, models[0].card
    wanted = Outputs(**dict.fromkeys(kinds, True))
    ready = resolve.predictor_of(asked, models, partial(imagery.statistics, opened), wanted.also)
    extent = origin.grid.window_of(place.grid.geobox(place.window))
    assert extent is not None
    layout = _layout(extent, ready)
    spec = JobSpec(imagery=layer.name, model=tuple(each.card.name for each in models), inference=asked, outputs=wanted)
    plan = Plan(spec, opened, origin.grid, layout, card.legend, origin.region, ready)
    like = np.empty((plan.layers, 0, 0), np.uint8)
    name = f"geoseg-map-{digest_of({'map': plan.digest, 'chunk': layout.block})[:16]}"
    return chunks.lazy(_label_files, plan, extent, layout.block, like, name)


def _of_pixels(found: cube.Cube, models: Sequence[Model], asked: Inference, kinds: tuple[str, ...]) -> dask.array.Array:
    """(layer, row, col): each chunk is given the array's pixels in its reading window."""
    window = found.place.window

    def statistics(percentiles: Collection[float]) -> Statistics:
        squares = sample(window, lambda _: True)
        parts = dask.compute(*(found.pixels[(slice(None), *each.within(window))] for each in squares))
        return measured(parts, "the array", percentiles, sum(each.pixels for each in squares))

    ready = resolve.predictor_of(asked, models, statistics, Outputs(**dict.fromkeys(kinds, True)).also)
    layout = _layout(window, ready)
    mapper = _Mapper(ready, models[0].card.legend, layout, kinds)
    facts = {"pixels": found.pixels.name, "model": ready.facts, "window": repr(window), "chunk": layout.block}
    return chunks.lazy_from(
        found.pixels,
        lambda chunk: layout.tile(chunk).read,
        _label_pixels,
        mapper,
        window,
        layout.block,
        np.empty((_layers(ready, kinds), 0, 0), np.uint8),
        f"geoseg-map-{digest_of({**facts, 'kinds': list(kinds)})[:16]}",
    )


def _layout(extent: Window, ready: Predictor) -> Layout:
    return Layout(extent, ready.core, ready.margin, ready.core * max(1, chunks.EDGE // ready.core))


# --------------------------------------------------------------------------------------- on a worker


def _label_files(plan: Plan, window: Window) -> np.ndarray:
    assert plan.predictor is not None
    wanted = plan.spec.outputs
    kinds = (*(("confidence",) if wanted.confidence else ()), *wanted.also)
    return _stacked(job_block.label(plan, plan.predictor, window), window, plan.predictor, kinds)


def _label_pixels(mapper: _Mapper, window: Window, parts: list[np.ndarray], places: list[Window]) -> np.ndarray:
    tile = mapper.layout.tile(window)
    pixels = np.full((len(mapper.predictor.model.card.bands), *tile.read.shape), np.nan, np.float32)
    for part, place in zip(parts, places):
        pixels[(slice(None), *place.within(tile.read))] = part
    made = job_block.label_pixels(mapper.predictor, mapper.legend, pixels, tile)
    return _stacked(made, window, mapper.predictor, mapper.kinds)


def _stacked(made: Labelled, window: Window, predictor: Predictor, kinds: tuple[str, ...]) -> np.ndarray:
    """(layer, row, col): labels, then each kind."""
    if made.labels is None:
        return np.full((_layers(predictor, kinds), *window.shape), NODATA, np.uint8)
    held = {**made.also, "confidence": made.confidence}
    arrays = [made.labels, *(held[kind] for kind in kinds)]
    return np.concatenate([each.reshape(-1, *window.shape) for each in arrays if each is not None])


def _layers(predictor: Predictor, kinds: tuple[str, ...]) -> int:
    return 1 + sum(len(predictor.predicted) if kind == "probabilities" else 1 for kind in kinds)


# ------------------------------------------------------------------------------------------ the parts


def _model(model: scenes.PathText, known: Catalog) -> Model:
    return read_model(Path(model)) if (Path(model) / "card.yaml").is_file() else known.model(os.fspath(model))


def _flags(legend: Legend, models: Sequence[Model], attribution: str) -> dict[str, Any]:
    """CF's attributes of a map of classes."""
    return {
        "long_name": "land cover",
        "flag_values": np.array(legend.ids, np.uint8),
        "flag_meanings": " ".join("_".join(each.split()) for each in legend.names),
        "legend": legend.name,
        "class_names": list(legend.names),
        "flag_colors": " ".join(each.colour for each in legend.classes),
        "_FillValue": np.uint8(NODATA),
        "model": " + ".join(each.card.name for each in models),
        "model_sha256": " + ".join(each.card.weights.sha256 for each in models),
        "attribution": attribution,
    }
