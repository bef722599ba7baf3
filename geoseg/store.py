"""Store: a job's folder; whole files go in and come out under names relative to it.

A file that exists is whole: it is written under a temporary name, flushed to the disk and renamed.
Names never leave the folder.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of whole files."""

    root: str
    """Absolute path."""

    @classmethod
    def at(cls, folder: Path | str) -> Store:
        """The store at a path, which may be relative to the working folder."""
        return cls(str(Path(folder).absolute()))

    def path(self, name: str) -> Path:
        """Where `name` lies.

        Raises
        ------
        LedgerError
            If the name is empty, absolute, has a NUL or '..', or leads out of the folder through a link.
        """
        parts = Path(name).parts
        if not parts or "\0" in name or Path(name).is_absolute() or ".." in parts:
            raise LedgerError(f"{name!r} is no name inside {self.root}; use a plain relative name")
        path = Path(self.root, name)
        if path.parent != Path(self.root) and path.parent.exists():
            inside = path.parent.resolve()
            if not inside.is_relative_to(Path(self.root).resolve()):
                raise LedgerError(f"{name!r} leads out of {self.root} through a link to {inside}; remove the link")
        return path

    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, replacing an older one.

        Raises
        ------
        LedgerError
            If the disk is full or the folder cannot be written; nothing is left behind.
        """
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".new-{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error

    def get(self, name: str) -> bytes:
        """Read a file; FileNotFoundError where there is none."""
        return self.path(name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self.path(name).is_file()

    def drop(self, name: str) -> None:
        """Remove a file if it is there."""
        self.path(name).unlink(missing_ok=True)

    def names(self, folder: str = "") -> Iterator[str]:
        """Names of the files directly in a folder, temporary ones left out, in no order."""
        place = self.path(folder) if folder else Path(self.root)
        if not place.is_dir():
            return
        with os.scandir(place) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    yield f"{folder}/{entry.name}" if folder else entry.name


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
