"""Sentinel-2: which files of a product hold which bands, and what their numbers mean, from the product's metadata.

Stored numbers become reflectance x 10,000, which is what level 2A stored before processing baseline 04.00 (January
2022): since then 1000 is added, and the metadata say so. Nothing but the metadata is opened here.
Source: Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD 14.9, sections 4.6 and 4.9.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geoseg.catalog.products import BANDS
from geoseg.errors import RasterError
from geoseg.rasters import sidecars
from geoseg.rasters.checks import is_local

_UNIT = 10_000.0
"""What a reflectance of 1 is here."""
_METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
_QUANTIFICATION = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
_OFFSET = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_IMAGE = ("IMAGE_FILE", "IMAGE_FILE_2A")


@dataclass(frozen=True, slots=True)
class Stored:
    """A raster file, and what the product that it is of says of its numbers."""

    path: str
    scale: float = 1.0
    """Value = stored number x scale + offset."""
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Product:
    """What the metadata say."""

    images: Mapping[str, Path]
    """File with the finest pixels, by code: 'B02', 'SCL', ..."""
    scale: float
    offsets: Mapping[str, float]
    """By code; in units of the result."""


def file_of(path: str, code: str) -> Stored:
    """The file of a band of a product.

    Parameters
    ----------
    path : str
        The SAFE folder, or its MTD_MSIL1C.xml or MTD_MSIL2A.xml.
    code : str
        'B01' to 'B12', 'B8A', or 'SCL'.

    Raises
    ------
    RasterError
        If there are no such metadata, they cannot be understood, or the product lacks the band.
    """
    product = read(path)
    if code not in product.images:
        raise RasterError(f"{path} has no {code}; it has {', '.join(sorted(product.images)) or 'no image at all'}")
    if code not in BANDS:
        return Stored(str(product.images[code]))
    return Stored(str(product.images[code]), product.scale, product.offsets[code])


def read(path: str) -> Product:
    """The metadata of a product.

    Raises
    ------
    RasterError
        If they are not there, no plain file, no XML, or lack what is needed.
    """
    if not is_local(path):
        raise RasterError(f"{path} is elsewhere; a Sentinel-2 product is read from a folder, or name its files")
    found = Path(path)
    files = [found] if found.suffix.lower() == ".xml" else [found / name for name in _METADATA]
    for file in files:
        root = sidecars.xml(file)
        if root is not None:
            return _product(file, root)
    raise RasterError(f"{path} has no {' or '.join(_METADATA)}, or does not exist; unpack the whole product")


def _product(file: Path, root: ET.Element) -> Product:
    images: dict[str, tuple[int, Path]] = {}
    for element in _all(root, _IMAGE):
        name = (element.text or "").strip()
        named = re.search(r"_(B\d[0-9A]|SCL)(?:_(\d\d)m)?$", name)
        if named is None:
            continue
        image = file.parent / f"{name}.jp2"
        if Path(name).is_absolute() or not image.resolve().is_relative_to(file.parent.resolve()):
            raise RasterError(f"{file} names {name[:200]!r}, which does not lie below it; unpack the whole product")
        fineness = int(named[2] or 0)
        if named[1] not in images or fineness < images[named[1]][0]:
            images[named[1]] = fineness, image
    if not images:
        raise RasterError(f"{file} names no images as products since December 2016 do; name the files themselves")
    try:
        quantification = [float(each.text or "") for each in _all(root, _QUANTIFICATION)]
        offsets = {int(each.attrib["band_id"]): float(each.text or "") for each in _all(root, _OFFSET)}
        scale = _UNIT / quantification[0]
        if not math.isfinite(scale) or scale <= 0 or not all(map(math.isfinite, offsets.values())):
            raise ValueError("numbers that cannot be")
        by_code = {code: offsets[number] * scale if offsets else 0.0 for number, code in enumerate(BANDS)}
    except (ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise RasterError(
            f"{file} does not say what its numbers mean as Sentinel-2 products do ({error}); unpack the product anew, "
            "or name the files themselves, with 'scale' and 'offset'"
        ) from error
    return Product({code: image for code, (_, image) in images.items()}, scale, by_code)


def _all(root: ET.Element, names: tuple[str, ...]) -> list[ET.Element]:
    """Elements by their name without namespace."""
    return [each for each in root.iter() if str(each.tag).rpartition("}")[2] in names]
