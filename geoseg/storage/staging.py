"""Staging: the local folder in which a job's outputs are made before they get their names in the job's folder.

For a job on a file system it lies inside the job folder, under the name of something unfinished, and publishing is
renaming. Whoever takes the folder over removes what is unfinished there first; so a coordinator that stood still, made
its files before it lost the folder and goes on when its successor has published, has nothing left to publish.
For a job in an object store it is a temporary folder: blocks are copied in with their hashes checked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import DamagedBlocksError, LedgerError
from geoseg.grid import Window
from geoseg.storage import files, ledger
from geoseg.storage.files import UNFINISHED, sync_folder, unwritable
from geoseg.storage.record import BLOCKS, Record, block_name
from geoseg.storage.store import Store, patiently

_COPIES = 16
"""Objects copied at once."""


_NAMING = (".vrt", ".shp")
"""Files that name others, or that others belong to: they go first and come last."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A local folder and the store whose outputs are made there."""

    store: Store
    folder: Path
    """Empty of outputs on a file system once they are published."""
    check_held: Callable[[], None] = lambda: None
    """Called when files are made and before they get their names; raises where the job's folder is another's now."""

    def blocks(self, records: Iterable[Record], kind: str, *, forget: bool = True) -> list[tuple[Window, Path]]:
        """The files of finished blocks, where any program can open them; those that show late are waited for.

        Parameters
        ----------
        records : iterable of Record
            Blocks; those without such a file are passed over.
        kind : str
            'labels' or 'confidence'.
        forget : bool
            As in `ledger.block`, for objects.

        Raises
        ------
        DamagedBlocksError
            If some are missing, or the bytes of objects are not those that their records name.
        """
        wanted = [each for each in records if kind in each.hashes]
        names = [block_name(each.window, kind) for each in wanted]
        if self.store.remote:
            local = Store(str(self.folder))

            def copy(record: Record, name: str) -> DamagedBlocksError | None:
                try:
                    local.put(name, ledger.block(self.store, record, kind, forget=forget))
                except DamagedBlocksError as error:
                    return error
                return None

            with ThreadPoolExecutor(_COPIES) as pool:
                damaged = [error for error in pool.map(copy, wanted, names) if error is not None]
            if damaged:
                windows = [window for error in damaged for window in error.windows]
                raise DamagedBlocksError(str(damaged[0]), windows) from damaged[0]
            paths = [local.path(name) for name in names]
        else:
            paths = [self.store.path(name) for name in names]
            _wait_for(dict(zip(paths, (each.window for each in wanted))))
        return [(record.window, path) for record, path in zip(wanted, paths)]

    def clear_blocks(self) -> None:
        """Remove the copies of blocks, which the map now holds."""
        if self.store.remote:
            shutil.rmtree(self.folder / BLOCKS, ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where a published output can be opened by any program, once it was fetched."""
        return self.folder / name if self.store.remote else self.store.path(name)

    def fetch(self, names: Iterable[str]) -> None:
        """Have files that an earlier step or run published at hand, such as the map.

        Raises
        ------
        LedgerError
            If one is missing.
        """
        for name in names:
            if not self.path(name).exists():
                try:
                    self.store.fetch(name, self.folder)
                except FileNotFoundError:
                    raise LedgerError(f"{self.store.location(name)} is missing; run the same command again") from None

    def publish(self, make: Callable[[], Sequence[Path]], stale: Iterable[str] = ()) -> list[str]:
        """Make files and give them their names in the store, companions such as a shapefile's .dbf first.

        Parameters
        ----------
        make : callable
            Writes files in `folder` and returns the paths of those that count.
        stale : iterable of str
            Names of files of the store that are no longer true beside the new ones; they go just before these come.

        Returns
        -------
        list of str
            Names of the files that `make` returned.

        Raises
        ------
        LedgerError
            If they cannot be put there, or the folder is another's now; then nothing of the store has changed.
        """
        before = self._files()
        names = [path.absolute().relative_to(self.folder.absolute()).as_posix() for path in make()]
        made = [name for name, stamp in self._files().items() if before.get(name) != stamp]
        order = [*(each for each in made if each not in names), *names]
        self.remove(stale)
        if self.store.remote:
            for name in order:
                self.store.upload(self.folder / name, name)
        else:
            self._rename(order)
        return names

    def put(self, name: str, data: bytes) -> None:
        """Write a small file of the store, such as the note of what was published; as `publish` otherwise.

        Parameters
        ----------
        name : str
            Of the file.
        data : bytes
            All of it.
        """
        self.check_held()
        if self.store.remote:
            self.store.put(name, data)
            return
        files.put(self.folder / name, data)
        self._rename([name])

    def remove(self, names: Iterable[str]) -> None:
        """Take files out of the store, where they are there.

        A name that leads out of the job's folder is passed over: it was not published from here.

        Raises
        ------
        LedgerError
            If the folder is another's now; then nothing of the store has changed.
        """
        self.check_held()
        for name in names:
            try:
                location = self.store.location(name)
            except LedgerError:
                continue
            if self.store.remote:
                self.store.drop(name)
            else:
                self._set_aside(Path(location))

    def _rename(self, names: Sequence[str]) -> None:
        for name in names:
            if name.endswith(_NAMING):
                self._set_aside(self.store.path(name))
        for name in sorted(names, key=lambda each: (each.endswith(_NAMING), each.endswith(".aux.xml"))):
            target = self.store.path(name)
            # A map's names file never stands beside another map: at worst a map is without for a moment.
            self._set_aside(self.store.path(f"{name}.aux.xml"))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).replace(target)
                sync_folder(target.parent)
            except OSError as error:
                raise unwritable(target, error) from error

    def _set_aside(self, path: Path) -> None:
        """Remove a file by moving it here, which fails where this folder was swept away: then it is another's file."""
        try:
            if files.stamp(path) is not None:
                path.replace(self.folder / f"{UNFINISHED}{uuid.uuid4().hex[:12]}")
        except OSError as error:
            if path.exists():
                raise unwritable(path, error) from error

    def _files(self) -> Mapping[str, tuple[int, int]]:
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        found = {path.relative_to(self.folder).as_posix(): path.stat() for path in paths}
        return {
            name: (facts.st_size, facts.st_mtime_ns)
            for name, facts in found.items()
            if not name.startswith(f"{BLOCKS}/")
        }


@contextmanager
def opened(store: Store, check_held: Callable[[], None] = lambda: None, within: str = "") -> Iterator[Staging]:
    """Staging for a store; its folder is removed at the end.

    Parameters
    ----------
    store : Store
        The job folder.
    check_held : callable
        Raises where the folder is another's by now.
    within : str
        Folder of the store in which it is made, for a store on a file system; it must be there.

    Raises
    ------
    LedgerError
        If no folder can be made.
    """
    parent = None if store.remote else store.path(f"{within}/staging").parent if within else store.root
    try:
        if parent is None:
            folder = Path(tempfile.mkdtemp(prefix="geoseg-"))
        else:  # not by tempfile, whose folders no one else may enter, whatever the umask
            folder = Path(parent, f"{UNFINISHED}{os.urandom(8).hex()}")
            folder.mkdir(parents=not within)
    except OSError as error:
        raise unwritable(Path(parent or tempfile.gettempdir()), error) from error
    try:
        yield Staging(store, folder, check_held)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(paths: Mapping[Path, Window]) -> None:
    missing = list(paths)

    def look() -> None:
        missing[:] = [path for path in missing if not path.is_file()]
        if missing:
            for folder in {path.parent for path in missing}:  # listing makes a network file system look anew
                list(folder.glob("*.none"))
            raise FileNotFoundError(missing[0])

    try:
        patiently(look)
    except FileNotFoundError:
        raise DamagedBlocksError(
            f"{missing[0]} is missing; run the same command again to make it anew", [paths[each] for each in missing]
        ) from None
