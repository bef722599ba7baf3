"""Identity: what tells a raster's files from others of the same names, so that a change is noticed.

It covers all that GDAL would read for a path: the file, the sidecars beside it, and for a VRT its sources, to the
bottom. Contents are not read: a file is known by its size and the time of its last change, an object by its ETag.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from geoseg.rasters.checks import is_local
from geoseg.storage import s3
from geoseg.storage.digests import digest_of

SIDECARS = (".aux.xml", ".msk", ".ovr", ".ige", ".rrd")
"""Endings that are added to a file's name."""
WORLD_FILES = (".tfw", ".tifw", ".wld", ".jgw", ".j2w", ".prj", ".aux", ".imd", ".rpb", ".met")
"""Endings that take the place of a file's own."""
_MOST_SOURCES = 100_000


def of(path: str) -> str:
    """A hash of what the files of a raster are now; another one once any of them has changed.

    For a file that is neither local nor an s3:// object, whether it changed cannot be seen: the hash is of its name.
    """
    return digest_of(dict(_stamps(path)))


def _stamps(path: str) -> Iterator[tuple[str, list[int | str]]]:
    if path.startswith("s3://"):
        yield path, s3.stamp(path) or []
        return
    if not is_local(path):
        yield path, []
        return
    waiting, seen = [Path(path)], set[Path]()
    while waiting and len(seen) < _MOST_SOURCES:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        beside = [file.with_name(file.name + ending) for ending in SIDECARS]
        beside += [file.with_suffix(each) for ending in WORLD_FILES for each in (ending, ending.upper())]
        for each in (file, *beside):
            try:
                facts = each.stat()
            except OSError:
                continue
            yield str(each), [facts.st_size, facts.st_mtime_ns]
        if file.suffix.lower() == ".vrt":
            waiting += _sources(file)


def _sources(file: Path) -> list[Path]:
    """Local files that a VRT names; none where it cannot be read, which is refused elsewhere."""
    try:
        root = ET.fromstring(file.read_bytes())
    except (OSError, ET.ParseError, LookupError, ValueError):
        return []
    named = [each for each in root.iter() if str(each.tag).lower() in ("sourcefilename", "sourcedataset")]
    paths = [(each.text or "", each.get("relativeToVRT") == "1") for each in named]
    return [file.parent / text if relative else Path(text) for text, relative in paths if text and is_local(text)]
