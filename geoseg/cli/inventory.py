"""Inventory: what a catalog holds, and whether each thing in it can be opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geoseg import catalog, imagery
from geoseg.accuracy import references
from geoseg.catalog import Catalog
from geoseg.catalog.regions import read_region
from geoseg.errors import GeosegError
from geoseg.models import trial
from geoseg.quantities import counted, plain


@dataclass(frozen=True, slots=True)
class Row:
    """One entry."""

    name: str
    what: str
    trouble: str = ""
    """Why it cannot be used, one sentence."""
    checked: bool = False


def listing(file: Path | str, *, check: bool = True, shipped: bool = False) -> Iterator[tuple[str, list[Row]]]:
    """Each kind of entry with its rows.

    Parameters
    ----------
    file : path
        A data_catalog.yaml.
    check : bool
        Whether to open rasters, vectors and weights.
    shipped : bool
        Whether to list what geoseg ships after the user's own.

    Raises
    ------
    CatalogError
        If the catalog itself cannot be read.
    """
    known = catalog.read(file)
    looks: dict[str, Callable[[Catalog, str, bool], str]] = {
        "imagery": _imagery,
        "references": _reference,
        "models": _model,
        "regions": _region,
        "legends": _legend,
        "crosswalks": _crosswalk,
    }
    for kind, look in looks.items():
        names = known.names(kind) if shipped else tuple(getattr(known.spec, kind))
        if names:
            yield kind, [_row(look, known, name, check) for name in names]


def _row(look: Callable[[Catalog, str, bool], str], known: Catalog, name: str, check: bool) -> Row:
    try:
        return Row(name, look(known, name, check), checked=check)
    except GeosegError as error:
        return Row(name, "", str(error))


def _imagery(known: Catalog, name: str, check: bool) -> str:
    layer = known.imagery(name)
    bands = ", ".join(band.name for band in layer.bands)
    if not check:
        return bands
    scene = imagery.open(layer)
    count = len(imagery.identity(scene))
    files = f"{counted(count, 'file')}, " if count > 1 else ""
    return f"{bands}; {files}{scene.window.height} x {scene.window.width} px, {scene.grid.crs.splitlines()[0][:40]}"


def _reference(known: Catalog, name: str, check: bool) -> str:
    reference = known.reference(name)
    if check:
        references.check(reference)
    return f"{Path(reference.file).name}; legend {reference.legend.name}"


def _model(known: Catalog, name: str, check: bool) -> str:
    model = known.model(name)
    if check:
        trial.check(model)
    count = counted(len(model.card.classes), "class", "classes")
    return f"bands {', '.join(model.card.bands)}; {count}; {model.card.title}"


def _region(known: Catalog, name: str, check: bool) -> str:
    spec = known.region(name)
    if spec.bounds is not None:
        return f"bounds {', '.join(plain(edge, 12) for edge in spec.bounds)} in {spec.crs}"
    assert spec.file is not None
    if check:
        read_region(spec.file, spec.layer, spec.where, crs=spec.crs)
    return spec.file


def _legend(known: Catalog, name: str, check: bool) -> str:
    return counted(len(known.legend(name)), "class", "classes")


def _crosswalk(known: Catalog, name: str, check: bool) -> str:
    crosswalk = known.crosswalk(name)
    lossy = f", {len(crosswalk.lossy)} of them lossy" if crosswalk.lossy else ""
    count = counted(len(crosswalk.pairs), "class", "classes")
    return f"{crosswalk.source.name} to {crosswalk.target.name}: {count}{lossy}"
