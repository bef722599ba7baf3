"""Page: what the report of a finished job is made from, as plain data, and the report itself.

Facts come from the plan and the blocks' records alone, so that they can be compared before anything is read.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.crs import CRS

from geoseg import __version__, imagery
from geoseg.catalog.legend import NODATA
from geoseg.errors import GeosegError, RasterError
from geoseg.grid import Grid, Window
from geoseg.jobs import performance, seams
from geoseg.jobs.plan import Plan, ground_resolution
from geoseg.maps import view
from geoseg.quantities import counted, length
from geoseg.storage.record import Record
from geoseg.storage.store import Store

NAME = "report.html"
_SIDES = (1024, 512)
"""Longest sides in pixels of the finest tiles; the first of which all tiles are small enough is taken."""
_MOST_PIXELS = 250_000_000
"""Of a map beside which its imagery is shown: all of it is read for that."""
_CHARACTERS = 3_400_000
"""Of all tiles of a page."""
_OUTLINED = 2000
"""Blocks outlined at most."""
_FILES = 200
"""Files listed at most."""
_WINDOW = 2048
"""Pixels of the map on each side that are read of the imagery at once."""


def facts(plan: Plan, records: Iterable[Record], counts: Mapping[int, int]) -> dict[str, Any]:
    """All that a report says, but for the pictures and the scores, as plain data.

    Parameters
    ----------
    plan : Plan
        The job.
    records : iterable of Record
        One for each block; gone through several times.
    counts : mapping
        Pixels of each class in all of them.
    """
    extent, spec = plan.layout.extent, plan.spec
    side_m = ground_resolution(plan.grid, extent)
    geographic = bool(CRS(plan.grid.crs).geographic)
    pixel_m2 = side_m**2
    total = sum(counts.values())
    models = () if plan.predictor is None else plan.predictor.cards
    title = f"Land cover of {plan.scene.imagery.name}" + (f" by {plan.predictor.name}" if plan.predictor else "")
    classes = [
        {
            "id": each.id,
            "name": each.name,
            "colour": each.colour,
            "pixels": counts.get(each.id, 0),
            "share": counts.get(each.id, 0) / total if total else None,
            "area_m2": counts.get(each.id, 0) * pixel_m2,
        }
        for each in plan.legend.classes
    ]
    bands = _shown([band.name for band in plan.scene.imagery.bands])
    cited = f"{title}. Map {plan.digest[:16]}, made with geoseg {__version__}"
    cited += "".join(f", model {each.name} (weights sha256 {each.weights.sha256[:16]})" for each in models)
    attribution = plan.scene.imagery.attribution
    how = (
        "exact for the map's plane" if not geographic else "approximate: the pixel's size at the map's middle latitude"
    )
    return {
        "title": title,
        "attribution": attribution,
        "size_text": f"{extent.height:,} × {extent.width:,} pixels (rows × columns)",
        "pixel_text": f"pixel {length(side_m)}",
        "land_text": f"{total:,} classified pixels",
        "notes": list(plan.notes),
        "classes": classes,
        "area_text": f"Areas are counted pixels times {pixel_m2:,.2f} m² a pixel ({how}), not corrected for the "
        "map's errors.",
        "imagery_text": f"{plan.scene.imagery.name}, bands {', '.join(bands)}, each stretched from its 2nd to its 98th "
        "percentile",
        "blocks": _blocks(plan, records),
        "speed": _speed(plan, records),
        "provenance": _provenance(plan),
        "files": sorted([Path(path).name, word] for path, word in imagery.identity(plan.scene).items())[:_FILES],
        "spec": json.dumps(_named(spec.model_dump(mode="json", by_alias=True)), indent=1, ensure_ascii=False),
        "cite": f"{cited}." + (f" Imagery: {attribution}." if attribution else ""),
    }


def write(
    plan: Plan, facts: Mapping[str, Any], map_path: Path, scores: Mapping[str, Any] | None, out: Path
) -> Sequence[Path]:
    """Write the report.

    Parameters
    ----------
    plan : Plan
        The job.
    facts : mapping
        From `facts`.
    map_path : Path
        The map, at hand.
    scores : mapping or None
        What accuracy.json holds, of this map.
    out : Path
        File to write.

    Returns
    -------
    sequence of Path
        The file.
    """
    Store(str(out.parent)).put(out.name, made(plan, facts, map_path, scores))
    return [out]


def made(plan: Plan, facts: Mapping[str, Any], map_path: Path, scores: Mapping[str, Any] | None) -> bytes:
    """The report as HTML; arguments as those of `write`.

    Where the imagery cannot be read by now, as when it was moved away, the map is shown alone and the page says so.

    Parameters
    ----------
    plan, facts, map_path, scores
        See `write`.
    """
    from geoseg.report import page, stretch, tiles  # they draw, and many runs make no page

    extent, notes = plan.layout.extent, list(facts["notes"])
    pixels: dict[int, np.ndarray | None] = {}
    for longest in _SIDES:
        step = max(1, math.ceil(max(extent.shape) / longest))
        if step not in pixels:
            try:
                if extent.pixels > _MOST_PIXELS:
                    raise RasterError(f"it covers more than {_MOST_PIXELS / 1e6:,.0f} million pixels")
                pixels[step] = stretch.stretched(_imagery(plan, step))
            except GeosegError as error:
                pixels[step] = None
                sentence = f"The imagery is not shown, since it could not be read when this page was made: {error}"
                notes += [sentence] if sentence not in notes else []
        image = pixels[step]
        found: dict[str, list[Any]] = {"imagery": [], "map": []}
        while True:
            labels = view.overview(map_path, math.ceil(max(extent.shape) / step))
            scale = extent.height / labels.shape[0], extent.width / labels.shape[1]
            found["map"].append(tiles.level(labels, plan.legend, scale))
            if image is not None:
                found["imagery"].append(tiles.level(image, None, (step, step)))
                image_small, image = image, tiles.halved(image)
            if max(labels.shape) <= tiles.EDGE:
                break
            step *= 2
        characters = sum(len(url) for levels in found.values() for level in levels for url in level["tiles"])
        if characters <= _CHARACTERS:
            break
    viewer = {
        **found,
        "size": list(extent.shape),
        "map_still": tiles.mapped(view.overview(map_path, 512), plan.legend),
        "imagery_still": tiles.pictured(image_small) if found["imagery"] else None,
    }
    return page.render({**facts, "notes": notes}, scores, viewer)


def extras(
    facts: Mapping[str, Any], scores: Mapping[str, Any] | None, *, tables: Path | None, figures: Path | None
) -> Iterator[tuple[Path, Mapping[str, bytes]]]:
    """What a report shows as files of its own: a folder, and the files for it by name.

    Parameters
    ----------
    facts, scores
        See `write`.
    tables, figures : Path or None
        Folders; None: not wanted.
    """
    from geoseg.report import charts, texts

    if tables is not None:
        yield tables, texts.tables(facts, scores)
    if figures is not None:
        yield figures, charts.charts(facts, scores)


def scores_in(data: bytes) -> dict[str, Any]:
    """What accuracy.json holds.

    Parameters
    ----------
    data : bytes
        Of the file.

    Raises
    ------
    RasterError
        If it is damaged.
    """
    try:
        found = json.loads(data)
        for key in ("classes", "confusion", "reference", "pixels", "mean_iou", "notes"):
            found[key]
        return dict(found)
    except (ValueError, KeyError, TypeError) as error:
        raise RasterError("accuracy.json is damaged; remove it and run the same command again") from error


def _named(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without the folders of this machine."""
    return {**spec, "catalog": Path(spec["catalog"]).name if spec["catalog"] else None}


def _shown(names: Sequence[str]) -> tuple[str, ...]:
    """Three bands to show as red, green and blue; one that is shown in grey."""
    for wanted in (("red", "green", "blue"), ("nir", "red", "green"), ("swir1", "nir", "red")):
        if set(wanted) <= set(names):
            return wanted
    return tuple(names[:3]) if len(names) >= 3 else (names[0],)


def _imagery(plan: Plan, step: int) -> np.ndarray:
    """Three bands of the imagery, (3, row, col) float32, a pixel for every `step` of the map; NaN is no data."""
    extent, grid = plan.layout.extent, plan.grid
    window = extent
    if step > 1:
        a, b, _, d, e, _ = grid.transform
        x, y = grid.affine @ (extent.col, extent.row)
        grid = Grid(grid.crs, (a * step, b * step, x, d * step, e * step, y))
        window = Window(0, 0, math.ceil(extent.height / step), math.ceil(extent.width / step))
    names = [band.name for band in plan.scene.imagery.bands]
    at = [names.index(name) for name in _shown(names)]
    out = np.full((3, *window.shape), np.nan, np.float32)
    edge = max(16, _WINDOW // step)
    for row in range(0, window.height, edge):
        for col in range(0, window.width, edge):
            part = Window(
                window.row + row, window.col + col, min(edge, window.height - row), min(edge, window.width - col)
            )
            out[:, row : row + part.height, col : col + part.width] = imagery.read(plan.scene, grid, part)[at]
    return out


def _blocks(plan: Plan, records: Iterable[Record]) -> dict[str, Any]:
    """How many blocks there are of each state, and where those are that hold no labels."""
    extent = plan.layout.extent
    states: Counter[str] = Counter()
    outlines: dict[str, list[dict[str, Any]]] = {"failed": [], "empty": []}
    for record in records:
        states[record.state] += 1
        if record.state != "done" and len(outlines[record.state]) < _OUTLINED:
            window = record.window
            at = {"x": window.col - extent.col, "y": window.row - extent.row}
            size = {"width": window.width, "height": window.height}
            outlines[record.state].append({"state": record.state, **at, **size, "error": record.error})
    failed, empty = counted(states["failed"], "block"), counted(states["empty"], "block")
    text = f"Dashed: {empty} without imagery. " if states["empty"] else ""
    text += f"Orange: {failed} that failed. " if states["failed"] else ""
    if max(states["failed"], states["empty"]) > _OUTLINED:
        text += f"At most {_OUTLINED} of each are outlined."
    return {
        "failed": states["failed"],
        "failed_text": failed,
        "empty_text": empty,
        "text": text,
        "outlines": outlines["empty"] + outlines["failed"],
    }


def _speed(plan: Plan, records: Iterable[Record]) -> list[list[str]]:
    """What the records say of time and size."""
    seconds: Counter[str] = Counter()
    device: Counter[str] = Counter()
    size, made, processes, smaller, held = 0, 0, set(), 0, 0
    for record in records:
        made += record.state == "done"
        size += record.bytes
        smaller += bool(record.batch)
        held = max(held, record.memory)
        seconds.update(record.seconds)
        device.update(record.device)
        if record.worker:
            processes.add(record.worker)
    lines = [["blocks made", f"{made:,}, of at most {plan.layout.block:,} pixels on each side"]]
    lines += [[f"seconds to {name}", f"{each:,.2f} s in all, waiting included"] for name, each in seconds.items()]
    lines += [["device", performance.told(device)]] if device else []
    lines.append(["blocks' files", f"{size / 1e6:,.2f} MB"])
    if held:
        lines.append(["memory used", f"at most {held / 1e6:,.0f} MB a process"])
    lines.append(["memory allowed", f"{int(plan.spec.memory_per_worker) / 1e6:,.0f} MB a process"])
    if smaller:
        lines.append(
            ["smaller batches", f"{counted(smaller, 'block')}, since the device's memory held no more windows"]
        )
    if processes:
        lines.append(["made by", counted(len(processes), "process", "processes")])
    return lines + seams.lines(plan, records)


def _provenance(plan: Plan) -> list[list[str]]:
    scene, layout, grid = plan.scene.imagery, plan.layout, plan.grid
    lines = [
        ["map", f"digest {plan.digest}"],
        ["imagery", f"{scene.name}: {counted(len(plan.files), 'file')}"],
        ["bands", ", ".join(band.name for band in scene.bands)],
        ["resampling", scene.resampling],
    ]
    if plan.predictor is not None:
        for model in plan.predictor.cards:
            lines += [["model", model.name + (f" ({model.title})" if model.title else "")]]
            lines += [["weights", f"sha256 {model.weights.sha256}"]]
            lines += [["model's licence", model.licence]] if model.licence else []
            lines += [["network", json.dumps(model.architecture, ensure_ascii=False)]]
        lines += [["precision, stitching", f"{plan.predictor.precision}, {plan.predictor.stitch}"]]
        lines += [["labels", told]] if (told := plan.predictor.told) else []
    extent = layout.extent
    return [
        *lines,
        ["legend", f"{plan.legend.name}: {counted(len(plan.legend), 'class', 'classes')}; no data is {NODATA}"],
        ["CRS", grid.crs if len(grid.crs) < 40 else f"{CRS(grid.crs).proj.name}"],
        ["grid", "affine " + ", ".join(f"{value:.12g}" for value in grid.transform)],
        ["extent", f"row {extent.row}, column {extent.col}, {extent.height} × {extent.width} pixels of the lattice"],
        ["windows", f"core {layout.core} px, margin {layout.margin} px"],
        ["geoseg", __version__],
    ]
