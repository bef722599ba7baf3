"""Store: a job's folder, on a file system or in an object store; whole files go in and come out under names.

A file that exists is whole: on a file system it is written under a temporary name, flushed to the disk and renamed;
in an object store it is put in one piece. Names are relative to the folder and never leave it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from geoseg.errors import LedgerError
from geoseg.storage import s3

T = TypeVar("T")
UNFINISHED = ".new-"
"""How the names of files and folders begin that are being written."""

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

    def place(self, name: str) -> str:
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
        """Where `name` lies in a folder on a file system; raises as `place`."""
        assert not self.remote, "an object has no path; see bring and send"
        return Path(self.place(name))

    def folder(self, name: str) -> Path:
        """A folder on a file system under that name, made where it is missing, for programs that write by path.

        Raises
        ------
        LedgerError
            As `place`, also where the name itself is a link out of the folder; or if it cannot be made.
        """
        path = self.path(f"{name}/inside").parent
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        return path

    def put(self, name: str, data: bytes) -> str:
        """Write a file, whole or not at all, replacing an older one.

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
            return s3.put(self.place(name), data)
        _write(self.path(name), data, os.replace)
        return ""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there yet; False, and nothing written, where it is. Of many callers one succeeds.

        Raises
        ------
        LedgerError
            As `put`.
        """
        if self.remote:
            return s3.create(self.place(name), data)
        try:
            _write(self.path(name), data, _link)
        except FileExistsError:
            return False
        return True

    def swap(self, name: str, old: bytes, new: bytes) -> bool:
        """Put `new` where `old` still stands; False where another stands, or none. Of many callers one succeeds.

        Raises
        ------
        LedgerError
            As `put`.
        """
        if self.remote:
            return s3.swap(self.place(name), old, new)
        path = self.path(name)
        aside = path.with_name(f".aside-{os.urandom(8).hex()}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        try:
            if aside.read_bytes() == old:
                return self.create(name, new)
            with suppress(FileExistsError):  # someone was quicker: give it back
                _link(aside, path)
            return False
        finally:
            aside.unlink(missing_ok=True)

    def renew(self, name: str, data: bytes) -> bool:
        """Make a file that still holds `data` young again; False where it holds something else, or is gone."""
        if self.remote:
            return s3.swap(self.place(name), data, data)
        try:
            if self.get(name) != data:
                return False
            os.utime(self.path(name))
        except FileNotFoundError:
            return False
        return True

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
            If the object store cannot be reached.
        """
        if awaited:
            return patiently(lambda: self.get(name))
        return s3.get(self.place(name)) if self.remote else self.path(name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self.stamp(name) is not None

    def stamp(self, name: str) -> list[int | str] | None:
        """What changes when the file does: size and time of change, or size and ETag; None where there is no file."""
        if self.remote:
            return s3.stamp(self.place(name))
        path = self.path(name)
        if not path.is_file():
            return None
        facts = path.stat()
        return [facts.st_size, facts.st_mtime_ns]

    def age(self, name: str) -> float | None:
        """Seconds since the file was written, by the clock of the machine that keeps it; None where there is none."""
        if self.remote:
            return s3.age(self.place(name))
        path = self.path(name)
        try:
            written = path.stat().st_mtime
        except FileNotFoundError:
            return None
        return _clock(path.parent) - written

    def drop(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.remote:
            s3.drop(self.place(name))
        else:
            self.path(name).unlink(missing_ok=True)

    def sweep(self, before: float) -> None:
        """Remove what crashed writers left unfinished before a time, in seconds since 1970."""
        for folder, folders, files in os.walk(self.root) if not self.remote else ():
            for name in [each for each in (*folders, *files) if each.startswith(UNFINISHED)]:
                path = Path(folder, name)
                with suppress(OSError):
                    if path.lstat().st_mtime < before:
                        shutil.rmtree(path) if name in folders else path.unlink()

    def names(self, folder: str = "") -> Iterator[str]:
        """Names of the files directly in a folder, temporary ones left out, in no order."""
        place = self.place(folder) if folder else self.root
        for name in (name for name, _ in s3.listing(place)) if self.remote else _files(Path(place)):
            if not name.startswith("."):
                yield f"{folder}/{name}" if folder else name

    def tags(self, folder: str) -> dict[str, str]:
        """Name and ETag of each object directly in a folder, at the cost of a listing; empty on a file system."""
        return {f"{folder}/{name}": tag for name, tag in s3.listing(self.place(folder))} if self.remote else {}

    def bring(self, name: str, folder: Path) -> Path:
        """A file as one that any program can open: the file itself, or a copy of the object in a local `folder`.

        Raises
        ------
        FileNotFoundError
            Where there is none, after waiting for it.
        """
        if not self.remote:
            return self.path(name)
        target = Store(str(folder)).path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        patiently(lambda: s3.download(self.place(name), target))
        return target

    def send(self, path: Path, name: str) -> None:
        """Put a local file into the store; nothing to do where it lies there already.

        Raises
        ------
        LedgerError
            As `put`.
        """
        if self.remote:
            s3.upload(path, self.place(name))
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


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # some network file systems and Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> LedgerError:
    """One sentence for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LedgerError(
            f"no space left to write {path}; what was finished is kept, so free some space "
            "and run the same command again"
        )
    return LedgerError(f"{path} cannot be written ({error.strerror or error}); check the folder and its permissions")


def _write(path: Path, data: bytes, settle: Callable[[Path, Path], object]) -> None:
    """Write under a temporary name, then settle it under its own; FileExistsError where `settle` says so."""
    taken = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                settle(temporary, path)
            except FileExistsError as error:
                taken = error
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    if taken is not None:
        raise taken


def _link(source: Path, target: Path) -> None:
    """Give a file a second name that is free; FileExistsError where it is taken, also on network file systems."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        # No links on this file system. The name is taken first and filled then; a reader may see it empty.
        with target.open("xb") as file:
            file.write(source.read_bytes())


def _files(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name


def _clock(folder: Path) -> float:
    """The time by the clock that stamps the files of a folder, which on a network may be another machine's."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".clock-", dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:  # a folder that can only be read
        return time.time()
