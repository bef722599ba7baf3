"""Identity: what tells a raster's files from others of the same names, so that a change is noticed.

It covers all that is read for a path: the file, what lies beside it (see `sidecars`), and for a VRT its sources, to
the bottom. Contents are not read: a file is known by its size and the time of its last change, an object by its ETag,
and a file on a web server by its ETag or Last-Modified, where the server gives one.
"""

from __future__ import annotations

import stat
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

from geoseg.errors import LedgerError, RasterError
from geoseg.process import remembered
from geoseg.rasters import sidecars
from geoseg.rasters.checks import is_local
from geoseg.storage import s3
from geoseg.storage.digests import digest_of

_DEEPEST = 8
"""VRTs within VRTs; more are refused elsewhere."""
_MOST_BYTES = 64_000_000
"""Of a VRT; longer ones are refused elsewhere."""
_TIMEOUT_S = 10.0


def stamp(path: str) -> tuple[int, str]:
    """Size of a raster's file in bytes, and a word that another change of any of its files makes another.

    What is neither a local file nor an object, nor on a server that says when it changed, has (0, ''): whether it
    changed cannot be seen.

    Raises
    ------
    RasterError
        If there is no such file or object, or its store cannot be reached.
    """
    missing = f"{path} does not exist or cannot be reached; check the path in data_catalog.yaml"
    if path.startswith(("s3://", "/vsis3/")):
        try:
            found = s3.stamp(path.replace("/vsis3/", "s3://", 1))
        except LedgerError as error:
            raise RasterError(str(error)) from error
        if found is None:
            raise RasterError(missing)
        return int(found[0]), str(found[1])
    if not is_local(path):
        return _on_the_web(path.replace("/vsicurl/", "", 1))
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise RasterError(missing) from error
    return facts.st_size, of(path)


def of(path: str) -> str:
    """A word for what the local files of a raster are now; another one once any of them has changed."""
    return digest_of(dict(_files(Path(path), 0, set())))[:24]


def check_same(files: Mapping[str, tuple[int, str]]) -> None:
    """Refuse files that are not those of another process, or of a moment ago.

    Parameters
    ----------
    files : mapping of str to (int, str)
        By absolute path, what `stamp` said of each there or then.

    Raises
    ------
    RasterError
        If one cannot be seen here, or is another one.
    """
    for path, known in files.items():
        if is_local(path) and not Path(path).exists():
            raise RasterError(f"{path} does not exist there; keep it where every worker sees it at this path")
        if stamp(path) != known:
            raise RasterError(
                f"{path}, or a file beside it, is not the one that the command began with, by size and time of change; "
                "let all see one file, and leave it as it is while it is read"
            )


def _files(file: Path, depth: int, seen: set[tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each file that is read, by its path, with its size and time of change in nanoseconds."""
    for each in (file, *(sidecars.names(file) if depth == 0 else ())):
        try:
            facts = each.stat()
        except (OSError, ValueError):
            continue
        yield str(each), (facts.st_size, facts.st_mtime_ns)
        plain = stat.S_ISREG(facts.st_mode) and facts.st_size <= _MOST_BYTES  # to read a pipe would wait for a writer
        if each is file and file.suffix.lower() == ".vrt" and depth < _DEEPEST and plain:
            key = (facts.st_dev, facts.st_ino, file.parent.stat().st_ino)
            if key in seen:  # VRTs that name each other, by whatever paths, would be walked again and again
                continue
            seen.add(key)
            for source in _sources(str(file), facts.st_size, facts.st_mtime_ns):
                yield from _files(Path(source), depth + 1, seen)


@remembered(256)
def _sources(file: str, size: int, changed_ns: int) -> tuple[str, ...]:
    """Local files that a VRT of this size and time of change names; none if it cannot be read."""
    try:
        root = ET.fromstring(Path(file).read_bytes())
    except (OSError, ET.ParseError, LookupError, ValueError, RecursionError):
        return ()
    named = [each for each in root.iter() if str(each.tag).lower() in ("sourcefilename", "sourcedataset")]
    folder, found = Path(file).parent, []
    for each in named:
        relative = any(key.lower() == "relativetovrt" and value == "1" for key, value in each.attrib.items())
        if each.text and is_local(each.text):
            found.append(str(folder / each.text if relative else Path(each.text)))
    return tuple(dict.fromkeys(found))


def _on_the_web(url: str) -> tuple[int, str]:
    if not url.startswith(("http://", "https://")):
        return 0, ""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S) as answer:
            headers = answer.headers
    except (urllib.error.URLError, OSError, ValueError):  # whether it can be read at all, GDAL says
        return 0, ""
    changed = headers.get("ETag") or headers.get("Last-Modified") or ""
    length = headers.get("Content-Length") or "0"
    return (int(length) if changed and length.isdecimal() else 0), changed
