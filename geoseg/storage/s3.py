"""Objects: whole files in an S3-compatible object store, by their s3:// URLs.

Where the store is and who may use it is read from the environment and files that all AWS tools share
(AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws ...). One client serves a process. Nothing is cached.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any

from geoseg import process
from geoseg.errors import LedgerError

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>[^\0-\x1f\x7f?#\\]*))?")
_CLASH = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")
"""How servers answer a write whose condition does not hold."""
_BROKEN = ("ClientPayloadError", "AioReadTimeoutError")
"""What aiohttp and aiobotocore raise when a connection breaks inside an answer."""
_TRIES = 5
"""Attempts at each request, some 10 s in all; a store that throttles or restarts is waited for."""


def checked(url: str) -> str:
    """The URL of a folder of objects without a slash at its end.

    Raises
    ------
    LedgerError
        If it is not s3://bucket/prefix, or the prefix could be read in two ways.
    """
    found = _URL.fullmatch(url)
    if not found:
        raise LedgerError(f"{url!r} is no job folder; give a path, or s3://bucket/prefix")
    parts = [part for part in (found["key"] or "").split("/") if part]
    if not parts or {".", ".."} & set(parts):
        raise LedgerError(f"{url!r} needs a prefix inside the bucket, without '.' and '..'; give s3://bucket/prefix")
    return f"s3://{found['bucket']}/{'/'.join(parts)}"


def endpoint() -> str:
    """URL of the store where it is not Amazon's, as other AWS tools or GDAL name it; '' for Amazon's."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT"):
        address = os.environ.get(name, "").rstrip("/")
        if address:
            plain = os.environ.get("AWS_HTTPS", "").upper() in ("NO", "FALSE", "OFF", "0")
            return address if "://" in address else f"{'http' if plain else 'https'}://{address}"
    return ""


def put(url: str, data: bytes) -> str:
    """Put an object, whole or not at all, replacing an older one.

    Parameters
    ----------
    url : str
        s3://bucket/key.
    data : bytes
        All of it.

    Returns
    -------
    str
        Its ETag, which another write changes.

    Raises
    ------
    LedgerError
        If the store cannot be reached or does not allow it.
    """
    with _one_sentence(url), _bucket_needed(url):
        answer = _client().pipe_file(url, data) or _head(url)  # nothing is answered where it went in parts
    return str(answer["ETag"]).strip('"')


def create(url: str, data: bytes) -> bool:
    """Put an object where there is none; False where there is one. Raises as `put`.

    Parameters
    ----------
    url, data
        As `put`.
    """
    with _one_sentence(url), _bucket_needed(url):
        return _put_if(url, data, IfNoneMatch="*")


def swap(url: str, old: bytes, new: bytes) -> bool:
    """Put `new` where `old` still stands; False where another stands, or none. Raises as `put`.

    Parameters
    ----------
    url : str
        As `put`.
    old, new : bytes
        Whole objects.
    """
    with _one_sentence(url):
        try:
            tag = _head(url)["ETag"]  # before the bytes, so that a change in between is noticed
            return get(url) == old and _put_if(url, new, IfMatch=tag)
        except FileNotFoundError:
            return False


def get(url: str) -> bytes:
    """Read an object; FileNotFoundError where there is none, otherwise raises as `put`."""
    with _one_sentence(url):  # more than one connection would ask for its size first
        return bytes(_unbroken(lambda: _client().cat_file(url, max_concurrency=1)))


def stamp(url: str) -> list[int | str] | None:
    """Size and ETag; None where there is no object. Raises as `put`."""
    with _one_sentence(url):
        try:
            facts = _head(url)
        except FileNotFoundError:
            return None
    return [int(facts["ContentLength"]), str(facts["ETag"]).strip('"')]


def age(url: str) -> float | None:
    """Seconds since an object was put, by the store's own clock; None where there is none. Raises as `put`."""
    with _one_sentence(url):
        try:
            facts = _head(url)
        except FileNotFoundError:
            return None
    now = parsedate_to_datetime(facts["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - facts["LastModified"]).total_seconds())


def drop(url: str) -> None:
    """Remove an object if it is there. Raises as `put`."""
    with _one_sentence(url):
        _call("delete_object", url)


def listing(url: str) -> Iterator[tuple[str, str]]:
    """Name and ETag of each object directly under a URL, in no order. Raises as `put`."""
    bucket, prefix = _split(url + "/")
    page: dict[str, Any] = {"IsTruncated": True}
    more: dict[str, str] = {}
    while page["IsTruncated"]:
        with _one_sentence(url):
            try:
                page = _client().call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more)
            except FileNotFoundError:  # no such bucket, which a write will say
                return
        for facts in page.get("Contents", ()):
            name = facts["Key"][len(prefix) :]
            if name:  # some tools put an empty object in place of a folder
                yield name, str(facts["ETag"]).strip('"')
        more = {"ContinuationToken": page["NextContinuationToken"]} if page["IsTruncated"] else {}


def download(url: str, path: Path) -> None:
    """Copy an object to a local file, whole or not at all. Raises as `get`.

    Parameters
    ----------
    url : str
        As `put`.
    path : Path
        Of the file; its folder must exist.
    """
    temporary = path.with_name(f".new-{uuid.uuid4().hex}")
    try:
        with _one_sentence(url):
            _unbroken(lambda: _client().get_file(url, str(temporary)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def upload(path: Path, url: str) -> None:
    """Copy a local file to an object, in parts if it is large; it appears when it is whole. Raises as `put`.

    Parameters
    ----------
    path : Path
        Of the file.
    url : str
        As `put`.
    """
    with _one_sentence(url), _bucket_needed(url):
        _client().put_file(str(path), url)


def _unbroken(read: Callable[[], Any]) -> Any:
    """Read again where a connection breaks inside an answer; before one, the client itself asks again."""
    for left in reversed(range(_TRIES)):
        try:
            return read()
        except Exception as error:
            if not left or type(error).__name__ not in _BROKEN:
                raise
    raise AssertionError


def _put_if(url: str, data: bytes, **condition: str) -> bool:
    try:
        _call("put_object", url, Body=data, **condition)
    except OSError as error:
        answer = getattr(error.__cause__, "response", {}).get("Error", {})
        if answer.get("Code") in _CLASH:
            return False
        raise
    return True


def _head(url: str) -> dict[str, Any]:
    return dict(_call("head_object", url))


def _call(method: str, url: str, **words: Any) -> Any:
    bucket, key = _split(url)
    return _client().call_s3(method, Bucket=bucket, Key=key, **words)


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _client() -> Any:
    return process.kept(_connect)


def _connect() -> Any:
    """A client; each process has one."""
    try:
        import s3fs
    except ImportError as error:
        raise LedgerError(
            f"s3:// needs the package {error.name!r}; install it with pip install 'geoseg[cloud]'"
        ) from error
    client = s3fs.S3FileSystem(
        endpoint_url=endpoint() or None,
        anon=os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"),  # as GDAL reads it
        requester_pays=os.environ.get("AWS_REQUEST_PAYER", "") == "requester",
        config_kwargs={
            "retries": {"mode": "standard", "total_max_attempts": _TRIES},
            "max_pool_connections": 32,
            "response_checksum_validation": "when_required",  # bytes are held against the hashes in their records
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    client.retries = 1  # its own, which would be multiplied by those above
    return client


@contextmanager
def _bucket_needed(url: str) -> Iterator[None]:
    """A write that finds nothing found no bucket."""
    try:
        yield
    except FileNotFoundError as error:
        bucket = PurePosixPath(url).parts[1]
        raise LedgerError(
            f"{url} cannot be written: there is no bucket {bucket!r}; create it, or check its name"
        ) from error


@contextmanager
def _one_sentence(url: str) -> Iterator[None]:
    """Trouble as one sentence; a missing object stays FileNotFoundError, for which callers have an answer."""
    try:
        yield
    except (FileNotFoundError, LedgerError):
        raise
    except Exception as error:  # clients raise what they like: OSError, botocore's and aiohttp's own
        raise LedgerError(
            f"{url} cannot be reached ({' '.join(str(error).split()) or type(error).__name__}); "
            "check the bucket, the credentials and, for a store that is not Amazon's, AWS_ENDPOINT_URL"
        ) from error
