"""Files: whole files on a file system, by their paths. One that exists under its name is whole.

A file is written under a temporary name beside its own, flushed to the disk and renamed; its permissions are those of
the umask. Only plain files are read: a folder, a pipe, a device or a link is refused, never waited for.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from geoseg.errors import LedgerError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
UNFINISHED = ".new-"
"""How the names of files and folders begin that are being written, or are of use for a moment only."""
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""Neither waits for a pipe's writer nor follows a link; Windows has none of these flags."""


def put(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, replacing an older one; the folders in between are made.

    Parameters
    ----------
    path : Path
        Of the file.
    data : bytes
        All of it.

    Raises
    ------
    LedgerError
        If the disk is full or the folder cannot be written; nothing is left behind.
    """
    _write(path, data, os.replace)


def create(path: Path, data: bytes) -> bool:
    """Write a file where there is none; False where there is one. Of many callers one succeeds. As `put` otherwise.

    Parameters
    ----------
    path, data
        As `put`.
    """
    try:
        _write(path, data, _link)
    except FileExistsError:
        return False
    return True


def swap(path: Path, old: bytes, new: bytes) -> bool:
    """Put `new` where `old` still stands; False where another stands, or none. Of many callers one succeeds.

    Parameters
    ----------
    path : Path
        Of the file, which is missing for a moment.
    old, new : bytes
        Whole files.

    Raises
    ------
    LedgerError
        As `put`, and as `get`.
    """
    aside, fresh = _beside(path), _beside(path)
    try:
        if get(path) != old:
            return False
        _fill(fresh, new)
        path.rename(aside)
        held = get(aside) == old  # else someone was quicker: give it back
        _link(fresh if held else aside, path)
        sync_folder(path.parent)
    except (FileNotFoundError, FileExistsError):
        return False
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        _discard(fresh)
        _discard(aside)
    return held


def renew(path: Path, data: bytes) -> bool:
    """Make a file that still holds `data` young again; False where it holds something else, or is gone.

    Parameters
    ----------
    path, data
        As `put`.
    """
    try:
        if get(path) != data:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def get(path: Path) -> bytes:
    """The bytes of a plain file.

    Raises
    ------
    FileNotFoundError
        Where there is nothing.
    LedgerError
        Where there is something else, or it cannot be read.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _OPEN)) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    raise _unreadable(path)


def stamp(path: Path) -> list[int | str] | None:
    """Size and time of change in nanoseconds, which change when the file does; None where there is no plain file.

    Raises
    ------
    LedgerError
        If the folder may not be looked into.
    """
    facts = _facts(path)
    return [facts.st_size, facts.st_mtime_ns] if facts else None


def age(path: Path) -> float | None:
    """Seconds since a file was written, by the clock of the machine that keeps it; None where there is none."""
    facts = _facts(path)
    return _clock(path.parent) - facts.st_mtime if facts else None


def drop(path: Path) -> None:
    """Remove a file if it is there.

    Raises
    ------
    LedgerError
        If it cannot be removed, such as a folder.
    """
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise LedgerError(f"{path} cannot be removed ({error.strerror or error}); remove it yourself") from error


def listing(folder: Path) -> Iterator[str]:
    """Names of the plain files directly in a folder, in no order; none where there is no folder. Raises as `get`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unreadable(folder, error, stat.S_IFDIR) from error


def sweep(folder: Path, before: float) -> None:
    """Remove what crashed writers left unfinished in a folder and those below.

    Parameters
    ----------
    folder : Path
        Where to begin.
    before : float
        Seconds since 1970, by this machine's clock; what is younger may still be in use.
    """
    before += _clock(folder) - time.time()  # by the clock that stamps the files
    for parent, folders, files in os.walk(folder):
        for name in [each for each in (*folders, *files) if each.startswith(UNFINISHED)]:
            path = Path(parent, name)
            with suppress(OSError):
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path) if name in folders else path.unlink()


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A folder for what is not finished, on the file system of `out`, gone at the end; what a crash left goes first.

    Folders that a living process of this machine holds for the same file stay.

    Parameters
    ----------
    out : Path
        Its folder is made if it is not there.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    prefix = f"{UNFINISHED}{out.name[:60]}-"
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in [each for each in out.parent.iterdir() if each.name.startswith(prefix)]:
        with suppress(OSError), _held(old):
            shutil.rmtree(old)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks, or it was swept in this moment
            stack.enter_context(_held(made))
        made.mkdir(exist_ok=True)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder; OSError where another process does, or nobody can."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(folder))
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
    """One sentence for a failed write.

    Parameters
    ----------
    path : Path
        What was to be written.
    error : OSError
        What the system answered.
    """
    if isinstance(error, LedgerError):
        return error
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and (odd := _in_the_way(path)):
        return LedgerError(f"{path} cannot be written: {odd}; move that elsewhere, and run the same command again")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LedgerError(
            f"no space left to write {path}; what was finished is kept, so free some space "
            "and run the same command again"
        )
    if error.errno == errno.ENOENT:  # another run sweeps away what it finds unfinished
        return LedgerError(
            f"{path} cannot be written, since its folder or its unfinished file is gone, as when another geoseg took "
            "the folder over; see that just one runs there, then run the same command again"
        )
    return LedgerError(f"{path} cannot be written ({error.strerror or error}); check the folder and its permissions")


def _in_the_way(path: Path) -> str:
    """What is a folder in place of a file, or a file in place of a folder; '' where nothing is."""
    if path.is_dir():
        return "a folder has its name"
    files = [each for each in path.parents if each.exists() and not each.is_dir()]
    return f"{files[0]} is no folder" if files else ""


def _write(path: Path, data: bytes, settle: Callable[[Path, Path], object]) -> None:
    """Write under a temporary name, then settle it under its own; FileExistsError where `settle` says so."""
    taken = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            _fill(temporary, data)
            try:
                settle(temporary, path)
            except FileExistsError as error:
                taken = error
        finally:
            _discard(temporary)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    if taken is not None:
        raise taken


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb") as file:  # not by tempfile, whose files no one else may read, whatever the umask
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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


def _facts(path: Path) -> os.stat_result | None:
    """Of a plain file; None where there is none."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return facts if stat.S_ISREG(facts.st_mode) else None


def _unreadable(path: Path, error: OSError | None = None, wanted: int = stat.S_IFREG) -> LedgerError:
    """One sentence for a failed read; its errno is kept for those who wait for a file server."""
    kinds = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    why = (error and error.strerror) or "it changed meanwhile"
    sentence = f"{path} cannot be read ({why}); check the folder and its permissions"
    with suppress(OSError):
        kind = stat.S_IFMT(path.lstat().st_mode)
        if kind != wanted:
            kind_name = kinds.get(kind, "device")
            sentence = f"{path} is a {kind_name} and no plain file; remove it, and run the same command again"
    trouble = LedgerError(sentence)
    trouble.errno = error.errno if error else None
    return trouble


def _clock(folder: Path) -> float:
    """The time by the clock that stamps the files of a folder, which on a network may be another machine's."""
    probe = _beside(folder / "clock")
    try:
        with probe.open("xb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # a folder that can only be read
        return time.time()
    finally:
        _discard(probe)


def _discard(path: Path) -> None:
    with suppress(OSError):  # what stays is swept by a later run
        path.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f"{UNFINISHED}{os.urandom(8).hex()}")
