"""Sidecars: small files beside a local raster that say what its own format may lack.

They are a mask (`.msk`), a world file (`.tfw`, `.wld`, ...) and GDAL's `.aux.xml`. GDAL is kept from looking for them
(see `environment`): it would open a mask by any driver and so whatever a VRT names, and wait for pipes. Here they are
read as plain files, with a limit on their size. All others (`.ovr`, `.rpb`, `.imd`, `.tab`, ...) are not read at all.
"""

from __future__ import annotations

import math
import os
import stat
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from affine import Affine

from geoseg.errors import RasterError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF begin."""
_MOST_WORLD = 10_000
_MOST_XML = 10_000_000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What an `.aux.xml` says of a raster, as far as it is heeded."""

    crs: str = ""
    """WKT or another text that PROJ knows; '' where it says none."""
    transform: Affine | None = None
    nodata: Mapping[int, float] = field(default_factory=dict)
    """By the number of the band, from 1."""


def names(path: Path) -> Iterator[Path]:
    """The files beside a raster that may be read, whether or not they are there."""
    yield mask_of(path)
    yield xml_of(path)
    yield from _worlds(path)


def mask_of(path: Path) -> Path:
    """Where the mask of a raster lies, if it has one beside it."""
    return path.with_name(path.name + ".msk")


def xml_of(path: Path) -> Path:
    """Where GDAL keeps what a raster's own format cannot hold."""
    return path.with_name(path.name + ".aux.xml")


def mask(path: Path) -> Path | None:
    """The mask beside a raster, or None where there is none.

    Raises
    ------
    RasterError
        If it is no plain file, or no TIFF by its first bytes.
    """
    file = mask_of(path)
    start = plain(file, 4, whole=False)
    if start is not None and start not in _TIFF:
        raise RasterError(f"{file} is no TIFF; a mask must be one: make it one with gdal_translate, or take it away")
    return None if start is None else file


def world(path: Path) -> Affine | None:
    """Where the pixels lie by the world file beside a raster, or None where there is none.

    Raises
    ------
    RasterError
        If it is no plain file below 10 kB of six numbers that can be inverted.
    """
    for file in _worlds(path):
        text = plain(file, _MOST_WORLD)
        if text is not None:
            return _transform(file, text)
    return None


def stated(path: Path) -> Stated:
    """What the `.aux.xml` beside a raster says: its CRS, transform and nodata; the rest is not heeded.

    Raises
    ------
    RasterError
        If it is no plain file, no XML, or what it says of these cannot be.
    """
    root = xml(xml_of(path))
    if root is None or root.tag.lower() != "pamdataset":
        return Stated()
    crs, transform, nodata = "", None, {}
    try:
        for child in root:
            match child.tag.lower():
                case "srs":
                    crs = (child.text or "").strip()
                case "geotransform":
                    c, a, b, f, d, e = (float(each) for each in (child.text or "").split(","))
                    transform = _checked(Affine(a, b, c, d, e, f))
                case "pamrasterband":
                    value = next((each.text or "" for each in child if each.tag.lower() == "nodatavalue"), None)
                    if value is not None:
                        nodata[int(child.attrib["band"])] = float(value)
    except (ValueError, KeyError) as error:
        raise RasterError(f"{xml_of(path)} cannot be understood ({error}); correct it, or take it away") from error
    return Stated(crs, transform, nodata)


def xml(file: Path) -> ET.Element | None:
    """The outermost element of an XML file, or None where there is no such file; nothing that it may name is opened.

    Raises
    ------
    RasterError
        If it is no plain file, above 10 MB, has a document type, or is no XML.
    """
    text = plain(file, _MOST_XML)
    if text is None:
        return None
    try:
        parser = ET.XMLParser(target=_Plain())
        parser.feed(text)
        return parser.close()
    except (ValueError, LookupError, RecursionError, ET.ParseError) as error:
        raise RasterError(f"{file} cannot be read as XML ({error}); correct it, or take it away") from error


def plain(file: Path, most: int, *, whole: bool = True) -> bytes | None:
    """The bytes of a plain file, or None where there is none; no pipe or device is opened.

    Parameters
    ----------
    file : Path
        Links are followed.
    most : int
        Bytes that are read.
    whole : bool
        Whether a file with more bytes is refused.

    Raises
    ------
    RasterError
        If it is no plain file, too large, or cannot be read.
    """
    try:
        kind = file.stat().st_mode
        if not stat.S_ISREG(kind):
            raise RasterError(f"{file} is no plain file, but a folder, pipe or device; take it away")
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # were it a pipe by now, this would not wait
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise RasterError(f"{file} is no plain file, but a folder, pipe or device; take it away")
            text = opened.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RasterError(f"{file} cannot be read ({error.strerror or error}); correct it, or take it away") from error
    if whole and len(text) > most:
        raise RasterError(f"{file} has more than {most} bytes; correct it, or take it away")
    return text[:most]


class _Plain(ET.TreeBuilder):
    """Elements of XML without a document type, which could name files or fill the memory."""

    def doctype(self, *declared: object) -> None:
        """Called by the parser before it reads the declaration."""
        raise ValueError("it has a document type")


def _worlds(path: Path) -> Iterator[Path]:
    """World files in the order in which GDAL would look for them: .tfw, .tifw and .wld of a .tif, in any one case."""
    ending = path.suffix[1:].lower()
    for each in (f"{ending[0]}{ending[-1]}w", f"{ending}w", "wld") if ending else ("wld",):
        yield path.with_suffix(f".{each}")
        yield path.with_suffix(f".{each.upper()}")


def _transform(file: Path, text: bytes) -> Affine:
    try:
        a, d, b, e, x, y = (float(each.replace(",", ".")) for each in text.decode().split())
        return _checked(Affine(a, b, x - (a + b) / 2, d, e, y - (d + e) / 2))  # (x, y) is the middle of a pixel
    except ValueError as error:
        raise RasterError(
            f"{file} is no world file, which has six numbers ({error}); correct it, or take it away"
        ) from error


def _checked(transform: Affine) -> Affine:
    if not all(math.isfinite(each) for each in tuple(transform)[:6]) or transform.is_degenerate:
        raise ValueError(f"the transform {tuple(transform)[:6]} cannot be inverted")
    return transform
