"""Guess: what a catalog would say of some files: their bands, their nodata, and what that was told from."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.catalog import products
from geoseg.errors import CatalogError, RasterError
from geoseg.imagery import sensors, sentinel2
from geoseg.quantities import counted
from geoseg.rasters import checks, datasets
from geoseg.rasters.environment import environment

_ENDINGS = (".tif", ".tiff", ".jp2", ".vrt")
_ZERO_IS_VOID = ("Landsat 8 or 9", "Landsat 4 to 7", "Sentinel-2", "PlanetScope")
"""Products in which 0 means no data, whether or not the file says so."""
_RANK = [band for codes in sensors.CODES.values() for band in codes.values()]


@dataclass(frozen=True, slots=True)
class Guessed:
    """Imagery as it seems to be."""

    name: str
    bands: Mapping[str, tuple[tuple[str, ...], int | str]]
    """Files and the band's number in each, or its code in a Sentinel-2 product, by the band's name."""
    source: str
    """What the bands were told from, as the end of 'guessed from'."""
    sure: bool
    nodata: float | None = None
    """Where the files do not say it themselves."""
    crs: bool = True
    """Whether each file says its CRS."""


@dataclass(frozen=True, slots=True)
class _Facts:
    path: str
    count: int
    dtype: str
    descriptions: tuple[str | None, ...]
    kinds: tuple[str, ...]
    nodata: float | None
    crs: bool
    side: float
    """Of a pixel, in units of its CRS."""

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]


def look(scene: Sequence[str], names: Sequence[str] = ()) -> Guessed:
    """Open the files of a scene and say what its bands are.

    Parameters
    ----------
    scene : sequence of str
        Files, folders, or patterns of files.
    names : sequence of str
        The names of the bands, in the order of the bands of one file, or of files of one band each. Default: guessed.

    Returns
    -------
    Guessed

    Raises
    ------
    RasterError
        If there is no such raster, or one cannot be opened.
    CatalogError
        If nothing says what the bands are, or the files do not belong together.
    """
    if any(map(products.is_product, scene)):
        return _product(scene, names)
    files = [_facts(path) for path in dict.fromkeys(path for each in scene for path in _found(each))]
    title = _title(scene, files)
    if names:
        return _stated(title, files, names)
    return _single_bands(title, files) or _stacked(title, files)


def _product(scene: Sequence[str], names: Sequence[str]) -> Guessed:
    """Sentinel-2 products, which say themselves what their bands are."""
    if names or not all(map(products.is_product, scene)):
        raise CatalogError("a Sentinel-2 product says what its bands are; give products alone, and no names of bands")
    held = [sentinel2.read(path).images for path in scene]
    bands = {name: (tuple(scene), code) for name, code in products.listed().items() if all(code in h for h in held)}
    first = Path(scene[0]) if Path(scene[0]).suffix.lower() != ".xml" else Path(scene[0]).resolve().parent
    return Guessed(first.stem, bands, "the metadata of the Sentinel-2 product", True)


def _found(text: str) -> list[str]:
    if "://" in text or text.startswith("/vsi"):
        return [text]
    path = Path(text)
    if path.is_dir():
        found = _rasters(path.iterdir()) or _rasters(path.rglob("*"))
        if not found:
            raise RasterError(f"{path} holds no GeoTIFF, JPEG 2000 or VRT; name the files of the scene")
        return found
    if path.exists():
        return [text]
    if found := _rasters(map(Path, glob.glob(text, recursive=True))):  # noqa: PTH207  the pattern may be absolute
        return found
    raise RasterError(
        f"{text} does not exist; name files of the scene, their folder, or a pattern such as 'scene/*.tif'"
    )


def _rasters(paths: Iterable[Path]) -> list[str]:
    return sorted(str(path) for path in paths if path.suffix.lower() in _ENDINGS and path.is_file())


def _facts(path: str) -> _Facts:
    driver = checks.driver_of(path)
    try:
        with environment(path), datasets.opened(path, driver) as file:
            kinds = tuple(kind.name for kind in file.colorinterp)
            a, b, _, d, e, _ = tuple(file.transform)[:6]
            side = math.sqrt(abs(a * e - b * d))
            facts = file.count, file.dtypes[0], tuple(file.descriptions), kinds, file.nodata, file.crs is not None, side
    except RasterError:  # of what lies beside it
        raise
    except checks.FOREIGN as error:
        raise RasterError(f"{path} cannot be opened ({checks.gdal_message(error)}); give a GeoTIFF") from error
    return _Facts(path, *facts)


def _title(scene: Sequence[str], files: Sequence[_Facts]) -> str:
    if len(scene) == 1 and Path(scene[0]).is_dir():
        stem = Path(scene[0]).resolve().name
    else:
        stem = os.path.commonprefix([file.name.rsplit(".", 1)[0] for file in files])  # noqa: RUF071  names, not paths
        if len(files) > 1 or sensors.by_file_name(files[0].name):
            stem = re.sub(r"[_\-. ]*(SR_?|sr_?)?([Bb](and)?_?\d{0,2}[Aa]?(_\d{2}m)?)?$", "", stem)
    return re.sub(r"[^\w.-]+", "_", stem).strip("_.-") or "scene"


def _stated(title: str, files: Sequence[_Facts], names: Sequence[str]) -> Guessed:
    """Bands as the user names them."""
    singles = len(files) == len(names) and all(file.count == 1 for file in files)
    if not singles and any(file.count < len(names) for file in files):
        few = min(files, key=lambda file: file.count)
        raise CatalogError(
            f"{counted(len(names), 'band')} were named and {few.path} has {few.count}; "
            "name the bands of one file in order, or give as many files of one band as there are names"
        )
    paths = tuple(file.path for file in files)
    bands = {
        name: ((files[at].path,), 1) if singles else (paths, at + 1) for at, name in enumerate(map(str.strip, names))
    }
    return Guessed(title, bands, "what you said", True, None, all(file.crs for file in files))


def _single_bands(title: str, files: Sequence[_Facts]) -> Guessed | None:
    """Files of one band each, by their names; others that lie beside them (quality, masks, maps) are left out."""
    by_band: dict[str, dict[str, _Facts]] = {}
    found = {file.path: sensors.by_file_name(file.name) for file in files if file.count == 1}
    if not any(found.values()):
        return None
    for file in files:
        told = found.get(file.path)
        if told is not None:
            product = re.sub(r"_\d{2}m(?=\.)", "", file.name)
            same = by_band.setdefault(told[1], {})
            if product not in same or file.side < same[product].side:
                same[product] = file
    taken = [file for same in by_band.values() for file in same.values()]
    sensor = next(each[0] for each in found.values() if each)
    order = sorted(by_band, key=lambda band: (min(file.side for file in by_band[band].values()), _RANK.index(band)))
    bands = {band: (tuple(file.path for file in by_band[band].values()), 1) for band in order}
    sure = all(sensors.names_sensor(file.name) for file in taken)
    source = f"the names of the files, as {sensor} numbers its bands"
    return Guessed(title, bands, source, sure, _void(taken, sensor if sure else ""), all(file.crs for file in taken))


def _stacked(title: str, files: Sequence[_Facts]) -> Guessed:
    """Files that hold all bands."""
    first = files[0]
    for other in files[1:]:
        if other.count != first.count:
            raise CatalogError(
                f"{first.path} has {counted(first.count, 'band')} and {other.path} {other.count}; "
                "give files of one kind, or say what the bands are: --bands blue,green,red,nir"
            )
    named = (
        sensors.by_descriptions(first.descriptions, first.name)
        or sensors.by_product(first.name, first.count)
        or sensors.by_interpretation(first.kinds)
        or sensors.by_count(first.count, first.dtype, first.name)
    )
    if named is None:
        raise CatalogError(
            f"nothing says which bands the {counted(first.count, 'band')} of {first.path} are: they have no names, no "
            "colours, and the file's name is of no product known here; say it: --bands blue,green,red,nir"
        )
    paths = tuple(file.path for file in files)
    bands = {name: (paths, number) for name, number in named.bands.items()}
    crs = all(file.crs for file in files)
    return Guessed(title, bands, named.source, named.sure, _void(files, named.sensor), crs)


def _void(files: Sequence[_Facts], sensor: str) -> float | None:
    counts = all(file.dtype in ("uint16", "int16") and file.nodata is None for file in files)
    return 0 if sensor in _ZERO_IS_VOID and counts else None
