"""Store: a job's folder, on a file system or in an object store; whole files go in and come out under names.

A file that exists is whole: on a file system it is written under a temporary name, flushed to the disk and renamed;
in an object store it is put in one piece. Names are relative to the folder and never leave it. Only plain files are
read: a folder, a pipe, a device or a link under a file's name is refused, never waited for.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from geoseg.errors import LedgerError
from geoseg.storage import files, s3

T = TypeVar("T")
PATIENCE_S = 8.0
"""How long a file that must be there is waited for; network file systems and some object stores show files late."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of whole files."""

    root: str
    """Absolute path, or a URL s3://bucket/prefix without a slash at its end."""

    @classmethod
    def at(cls, folder: Path | str) -> Store:
        """The store at a path, which may be relative to the working folder, or at an s3:// URL.

        Raises
        ------
        LedgerError
            If the URL is not of an object store that geoseg knows, or malformed, or the path is none of a folder.
        """
        text = os.fspath(folder)
        if "\0" in text or text.startswith("/vsi"):
            raise LedgerError(f"{text!r} is no folder on a file system; give one, or s3://bucket/prefix")
        return cls(s3.checked(text) if "://" in text else str(Path(text).absolute()))

    @property
    def remote(self) -> bool:
        """Whether the files are objects, which no other program can open by a path."""
        return "://" in self.root

    def location(self, name: str) -> str:
        """Path or URL of `name`.

        Raises
        ------
        LedgerError
            If the name is empty, absolute, has a NUL or '..', or leads out of the folder through a link.
        """
        pure = PurePosixPath(name)
        if not pure.parts or "\0" in name or pure.is_absolute() or Path(name).is_absolute() or ".." in pure.parts:
            raise LedgerError(f"{name!r} is no name inside {self.root}; use a plain relative name")
        return f"{self.root}/{pure}" if self.remote else self._inside(f"{self.root.rstrip('/')}/{pure}")

    def path(self, name: str) -> Path:
        """Where `name` lies in a folder on a file system; raises as `location`."""
        assert not self.remote, "an object has no path; see fetch and upload"
        return Path(self.location(name))

    def folder(self, name: str) -> Path:
        """A folder on a file system under that name, made where it is missing, for programs that write by path.

        Raises
        ------
        LedgerError
            As `location`, also where the name itself is a link out of the folder; or if it cannot be made.
        """
        path = self.path(f"{name}/inside").parent
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.unwritable(path, error) from error
        return path

    def put(self, name: str, data: bytes) -> str:
        """Write a file, whole or not at all, replacing an older one.

        Parameters
        ----------
        name : str
            Relative to the folder; folders in between are made.
        data : bytes
            The whole file. Its permissions are those of the umask.

        Returns
        -------
        str
            The object's ETag; '' on a file system, which has none.

        Raises
        ------
        LedgerError
            If the disk is full or the folder cannot be written; nothing is left behind.
        """
        if self.remote:
            return s3.put(self.location(name), data)
        files.put(self.path(name), data)
        return ""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; False, and nothing written, where it is. Of many callers one succeeds.

        Parameters
        ----------
        name, data
            As `put`.

        Raises
        ------
        LedgerError
            As `put`.
        """
        if self.remote:
            return s3.create(self.location(name), data)
        return files.create(self.path(name), data)

    def swap(self, name: str, old: bytes, new: bytes) -> bool:
        """Put `new` where `old` still stands; False where another stands, or none. Of many callers one succeeds.

        Parameters
        ----------
        name : str
            As `put`.
        old, new : bytes
            Whole files.

        Raises
        ------
        LedgerError
            As `put`, and as `get`.
        """
        if self.remote:
            return s3.swap(self.location(name), old, new)
        return files.swap(self.path(name), old, new)

    def renew(self, name: str, data: bytes) -> bool:
        """Make a file that still holds `data` young again; False where it holds something else, or is gone.

        Parameters
        ----------
        name, data
            As `put`.
        """
        if self.remote:
            return s3.swap(self.location(name), data, data)
        return files.renew(self.path(name), data)

    def get(self, name: str, *, awaited: bool = False) -> bytes:
        """Read a file.

        Parameters
        ----------
        name : str
            Of the file.
        awaited : bool
            Whether the file must be there, because a record names it; it is then waited for.

        Raises
        ------
        FileNotFoundError
            Where there is none.
        LedgerError
            If the object store cannot be reached, or the name is that of a folder, a pipe, a device or a link.
        """
        if awaited:
            return patiently(lambda: self.get(name))
        return s3.get(self.location(name)) if self.remote else files.get(self.path(name))

    def exists(self, name: str) -> bool:
        """Whether the file is there; what is no plain file does not count."""
        return self.stamp(name) is not None

    def stamp(self, name: str) -> list[int | str] | None:
        """What changes when the file does: size and time of change, or size and ETag; None where there is no file."""
        return s3.stamp(self.location(name)) if self.remote else files.stamp(self.path(name))

    def age(self, name: str) -> float | None:
        """Seconds since the file was written, by the clock of the machine that keeps it; None where there is none."""
        return s3.age(self.location(name)) if self.remote else files.age(self.path(name))

    def drop(self, name: str) -> None:
        """Remove a file if it is there.

        Raises
        ------
        LedgerError
            If it cannot be removed, as a folder of that name.
        """
        return s3.drop(self.location(name)) if self.remote else files.drop(self.path(name))

    def sweep(self, before: float) -> None:
        """Remove what crashed writers left unfinished before a time, in seconds since 1970."""
        if not self.remote:
            files.sweep(Path(self.root), before)

    def names(self, folder: str = "") -> Iterator[str]:
        """Names of the files directly in a folder, temporary ones left out, in no order."""
        location = self.location(folder) if folder else self.root
        for name in (name for name, _ in s3.listing(location)) if self.remote else files.listing(Path(location)):
            if not name.startswith("."):
                yield f"{folder}/{name}" if folder else name

    def tags(self, folder: str) -> dict[str, str]:
        """Name and ETag of each object directly in a folder, at the cost of a listing; empty on a file system."""
        return {f"{folder}/{name}": tag for name, tag in s3.listing(self.location(folder))} if self.remote else {}

    def fetch(self, name: str, folder: Path) -> Path:
        """A file as one that any program can open: the file itself, or a copy of the object in a local folder.

        Parameters
        ----------
        name : str
            Of the file.
        folder : Path
            Where a copy goes, under the same name; unused on a file system.

        Raises
        ------
        FileNotFoundError
            Where there is none, after waiting for it.
        """
        if not self.remote:
            path = self.path(name)
            patiently(path.stat)
            return path
        target = Store(str(folder)).path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        patiently(lambda: s3.download(self.location(name), target))
        return target

    def upload(self, path: Path, name: str) -> None:
        """Put a local file into the store; nothing to do where it lies there already.

        Parameters
        ----------
        path : Path
            Of the local file; in a store on a file system, that of `name`.
        name : str
            In the store.

        Raises
        ------
        LedgerError
            As `put`.
        """
        if self.remote:
            s3.upload(path, self.location(name))
        else:
            assert path.absolute() == self.path(name).absolute()

    def _inside(self, path: str) -> str:
        folder = path.rpartition("/")[0]  # a resume asks this 20,000 times; pathlib would take a second for it
        if folder != self.root:
            inside, root = os.path.realpath(folder), os.path.realpath(self.root)
            if inside != root and not inside.startswith(root + os.sep):
                raise LedgerError(f"{path} leads out of {self.root} through a link to {inside}; remove the link")
        return path


def patiently(read: Callable[[], T], good: Callable[[T], bool] = lambda _: True, patience_s: float | None = None) -> T:
    """Read something that must be there, again and again while it is missing or not yet as it must be.

    Parameters
    ----------
    read : callable
        Raises FileNotFoundError while there is nothing.
    good : callable
        Whether what was read is what must be there.
    patience_s : float, optional
        How long to go on; default: `PATIENCE_S`.

    Returns
    -------
    object
        What was read; at the end of patience, even if it is not good.

    Raises
    ------
    FileNotFoundError
        At the end of patience.
    """
    end, wait = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s), 0.05
    while True:
        over = time.monotonic() + wait > end
        try:
            found = read()
            if over or good(found):
                return found
        except OSError as error:
            if over or not (isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE):
                raise
        time.sleep(wait)
        wait = min(2 * wait, 1.0)
