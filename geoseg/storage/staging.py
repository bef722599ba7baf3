"""Staging: the local folder in which a job's outputs are made.

For a job on a file system it is the job folder itself. For one in an object store it is a temporary folder: blocks
are copied in with their hashes checked, and what was made is put into the store.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import LedgerError
from geoseg.grid import Window
from geoseg.storage import ledger
from geoseg.storage.record import BLOCKS, Record, block_name
from geoseg.storage.store import Store, patiently

_COPIES = 16
"""Objects copied at once."""


@dataclass(frozen=True, slots=True)
class Staging:
    """A local folder and the store whose outputs are made there."""

    store: Store
    folder: Path

    def blocks(self, records: Iterable[Record], kind: str) -> list[tuple[Window, Path]]:
        """The files of finished blocks, where any program can open them; those that show late are waited for.

        Parameters
        ----------
        records : iterable of Record
            Blocks; those without such a file are passed over.
        kind : str
            'labels' or 'confidence'.

        Raises
        ------
        LedgerError
            If one is missing, or an object's bytes are not those that its record names.
        """
        wanted = [each for each in records if kind in each.hashes]
        names = [block_name(each.window, kind) for each in wanted]
        if self.store.remote:
            local = Store(str(self.folder))

            def copy(record: Record, name: str) -> None:
                local.put(name, ledger.block(self.store, record, kind))

            with ThreadPoolExecutor(_COPIES) as pool:
                list(pool.map(copy, wanted, names))
            paths = [local.path(name) for name in names]
        else:
            paths = [self.store.path(name) for name in names]
            _wait_for(paths)
        return [(record.window, path) for record, path in zip(wanted, paths)]

    def clear_blocks(self) -> None:
        """Remove the copies of blocks, which the map now holds."""
        if self.store.remote:
            shutil.rmtree(self.folder / BLOCKS, ignore_errors=True)

    def fetch(self, names: Iterable[str]) -> None:
        """Have files that an earlier step or run made at hand, such as the map.

        Raises
        ------
        LedgerError
            If one is missing.
        """
        for name in names:
            if not (self.folder / name).exists():
                try:
                    self.store.fetch(name, self.folder)
                except FileNotFoundError:
                    raise LedgerError(f"{self.store.location(name)} is missing; run the same command again") from None

    def publish(self, make: Callable[[], Sequence[Path]]) -> list[str]:
        """Make files and put them into the store, companions such as a shapefile's .dbf first.

        Returns
        -------
        list of str
            Names of the files that `make` returned.
        """
        before = self._files() if self.store.remote else {}
        names = [path.absolute().relative_to(self.folder.absolute()).as_posix() for path in make()]
        if self.store.remote:
            made = [name for name, stamp in self._files().items() if before.get(name) != stamp]
            for name in [*(each for each in made if each not in names), *names]:
                self.store.upload(self.folder / name, name)
        return names

    def _files(self) -> Mapping[str, tuple[int, int]]:
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        found = {path.relative_to(self.folder).as_posix(): path.stat() for path in paths}
        return {
            name: (facts.st_size, facts.st_mtime_ns)
            for name, facts in found.items()
            if not name.startswith(f"{BLOCKS}/")
        }


@contextmanager
def opened(store: Store) -> Iterator[Staging]:
    """Staging for a store; a temporary folder is removed at the end."""
    if not store.remote:
        yield Staging(store, Path(store.root))
        return
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        yield Staging(store, Path(folder))


def _wait_for(paths: Sequence[Path]) -> None:
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
        raise LedgerError(f"{missing[0]} is missing; run the same command again to make it anew") from None
