"""Sheet: one sheet of a raster as a task, made on a worker of the cluster from the blocks that it holds a part of.

What a sheet is made of stands in an order, plain data in the job's folder `sheets`; its hash is the sheet's key. A
worker makes the sheet under that key beside the order and notes the hashes of its files, so a sheet that was made is
known again whoever made it, and one whose blocks changed since has another key. Only the run itself, which holds the
folder, takes sheets from there into the map; what is left there in the end it removes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.catalog.legend import NODATA, LandClass, Legend
from geoseg.errors import DamagedBlocksError, LedgerError, RasterError
from geoseg.grid import Grid, Window
from geoseg.jobs.engines import Elsewhere
from geoseg.maps.blocks import BlockFile
from geoseg.maps.files import sidecar_of, writing
from geoseg.maps.sheets import Make, Sheet, make_sheet
from geoseg.process import keep_freed_memory, kept
from geoseg.storage import staging
from geoseg.storage.digests import digest_of, sha256
from geoseg.storage.files import sweep, unwritable
from geoseg.storage.record import SHEETS, Record
from geoseg.storage.staging import Staging
from geoseg.storage.store import Store, patiently

_OWN = re.compile(r"[0-9a-f]{64}\.(order\.json|json|tif|tif\.aux\.xml)")
"""Names of files that are ours."""
_ROUNDS = 3
"""How often sheets are made whose files are not what was noted, before the run ends."""
_CHECKED = 16
"""Sheets whose files are read at once."""
_SLOWEST = 250_000
"""Pixels a second; a sheet that takes longer counts as stalled."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a sheet."""

    key: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    """sha256 of its files by their endings."""
    counts: Mapping[int, int] = field(default_factory=dict)
    """Pixels of each value; nothing for a map of values."""
    damaged: tuple[Window, ...] = ()
    """Blocks that are not what was written, where it could not be made for that."""
    error: str = ""
    """Why it could not be made, one sentence."""


def order(digest: str, kind: str, sheet: Sheet, grid: Grid, legend: Legend | None, said: Mapping[str, Any]) -> bytes:
    """All that a sheet is made from, as plain data.

    Parameters
    ----------
    digest : str
        Of the job.
    kind : str
        Of block file: 'labels', 'confidence', ...
    sheet : Sheet
        Its window, and blocks whose hashes are known.
    grid, legend
        As in `cog.assemble`.
    said : mapping
        `tags`, `band_names` and `scale` of `cog.assemble`.
    """
    facts = {
        "version": __version__,
        "digest": digest,
        "kind": kind,
        "window": _listed(sheet.window),
        "grid": asdict(grid),
        "legend": None if legend is None else asdict(legend),
        "said": said,
        "blocks": [[*_listed(block.window), block.sha256] for block in sheet.blocks],
    }
    return json.dumps(facts, sort_keys=True).encode()


def make(root: str, at_once: int, key: str) -> Made:
    """Make a sheet in the job folder from its order there.

    Parameters
    ----------
    root : str
        The job folder.
    at_once : int
        Sheets that this process may make at a time; others wait.
    key : str
        Of the sheet.

    Returns
    -------
    Made
        Also where blocks are damaged.

    Raises
    ------
    LedgerError
        If there is no such order (any more), or the folder cannot be written.
    RasterError
        As `cog.assemble`.
    """
    keep_freed_memory()
    store = Store(root)
    facts = _order(store, key)
    kind, found = facts["kind"], Made(key)
    records = [Record(Window(*where), "done", facts["digest"], {kind: sha}) for *where, sha in facts["blocks"]]

    def written() -> Sequence[Path]:
        nonlocal found
        out = Store(str(staged.folder.absolute())).folder(SHEETS) / f"{key}.tif"
        paths = staged.blocks(records, kind, forget=False)
        blocks = [BlockFile(window, path, each.hashes[kind]) for each, (window, path) in zip(records, paths)]
        sheet = Sheet(Window(*facts["window"]), out, blocks)
        counts = make_sheet(sheet, _grid(facts["grid"]), _legend(facts["legend"]), **facts["said"])[:NODATA]
        files = [out, *(path for path in [sidecar_of(out)] if path.exists())]
        note = out.with_name(f"{key}.json")
        with writing(out):  # another run may have swept the folder away
            hashes = {path.name.removeprefix(key): _sha256(path) for path in files}
            found = Made(key, hashes, {int(value): int(counts[value]) for value in np.flatnonzero(counts)})
            note.write_bytes(_to_json(found))
        return [*files, note]

    with kept(_Room).of(at_once), staging.opened(store, lambda: _check_wanted(store, key), SHEETS) as staged:
        try:
            staged.publish(written)
        except DamagedBlocksError as error:
            return Made(key, damaged=tuple(error.windows), error=str(error))
    return found


def lost(key: str, why: str) -> Made:
    """The result of a sheet whose work killed its workers.

    Parameters
    ----------
    key : str
        Of the sheet.
    why : str
        What befell them.
    """
    return Made(
        key,
        error=f"a sheet of the map could not be made, since its workers died ({why}); give workers more memory, set "
        "outputs.sheet_pixels lower, or run the same command with --workers 0",
    )


def elsewhere(
    mapper: Elsewhere,
    staged: Staging,
    at_once: int,
    ordered: Callable[[Sheet], bytes],
    look_again: Callable[[Collection[Window]], None],
) -> Make:
    """Makes sheets on the workers of a cluster; those that an earlier run made of the same blocks are kept.

    Parameters
    ----------
    mapper : Elsewhere
        Over the cluster.
    staged : Staging
        Of the run, which holds the job folder; there the sheets go in the end.
    at_once : int
        Sheets that a worker may make at a time.
    ordered : callable
        The `order` of a sheet.
    look_again : callable
        Looks at blocks which a worker found damaged, and raises DamagedBlocksError where they are.
    """
    store = staged.store

    def make_all(todo: Sequence[Sheet]) -> np.ndarray:
        orders = {digest: (sheet, data) for sheet in todo if (digest := sha256(data := ordered(sheet)))}
        there = set(store.names(SHEETS))
        made = {key: known for key in orders if f"{SHEETS}/{key}.json" in there and (known := _known(store, key))}
        whole = _whole(staged, made.values(), awaited=False)
        for _ in range(_ROUNDS):
            missing = [key for key in orders if key not in whole]
            if not missing:
                return _taken(staged, {key: sheet.path for key, (sheet, _) in orders.items()}, made)
            if not store.remote:
                store.folder(SHEETS)
            stall_s = max(orders[key][0].window.pixels for key in missing) / _SLOWEST
            spread = mapper.of("sheet", lost, stall_s)
            found = spread(partial(make, store.root, at_once), _sent(store, missing, orders))
            fresh = _gathered(staged, found, look_again)
            made |= fresh
            whole |= _whole(staged, fresh.values(), awaited=True)
        raise RasterError(
            f"{store.location(SHEETS)}: sheets of the map are not what workers wrote, {_ROUNDS} times in turn; see "
            "whether this machine and the workers see the same folder, then run the same command again"
        )

    return make_all


def clear(staged: Staging) -> None:
    """Remove sheets and orders that no map needs any more, and what workers left unfinished there.

    Parameters
    ----------
    staged : Staging
        Of the run that holds the job folder.
    """
    staged.remove([name for name in staged.store.names(SHEETS) if _OWN.fullmatch(name.removeprefix(f"{SHEETS}/"))])
    if not staged.store.remote and (folder := staged.store.path(SHEETS)).is_dir() and not folder.is_symlink():
        sweep(folder, math.inf)
        with suppress(OSError):  # a user keeps something there
            folder.rmdir()


class _Room:
    """How many sheets this process makes now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0

    @contextmanager
    def of(self, at_once: int) -> Iterator[None]:
        """Wait until there are fewer than so many, and count as one."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < at_once)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()


def _sent(store: Store, keys: Iterable[str], orders: Mapping[str, tuple[Sheet, bytes]]) -> Iterator[str]:
    """Keys, each once its order is there."""
    for key in keys:
        store.put(f"{SHEETS}/{key}.order.json", orders[key][1])
        yield key


def _gathered(
    staged: Staging, found: Iterable[Made], look_again: Callable[[Collection[Window]], None]
) -> dict[str, Made]:
    """What workers made; where blocks are damaged, all are told at once, as without workers."""
    made, damaged, told = {}, set[Window](), ""
    for each in found:
        staged.check_held()
        if each.error and not each.damaged:
            raise RasterError(each.error)
        if each.damaged:
            damaged.update(each.damaged)
            told = told or each.error
        else:
            made[each.key] = each
    if damaged:
        look_again(damaged)
        raise DamagedBlocksError(told, sorted(damaged))
    return made


def _whole(staged: Staging, made: Iterable[Made], *, awaited: bool) -> set[str]:
    """Keys of those whose files are what was noted; objects are fetched for it."""
    listed = list(made)

    def check(each: Made) -> bool:
        try:
            return all(_is_whole(staged, each.key + end, sha, awaited) for end, sha in each.hashes.items())
        except FileNotFoundError:
            return False

    with ThreadPoolExecutor(_CHECKED) as pool:
        return {each.key for each, good in zip(listed, pool.map(check, listed)) if good}


def _is_whole(staged: Staging, name: str, sha: str, awaited: bool) -> bool:
    store, inside = staged.store, f"{SHEETS}/{name}"

    def look() -> str:
        if store.stamp(inside) is None:
            raise FileNotFoundError(inside)
        return _sha256(store.fetch(inside, staged.folder))

    return patiently(look, lambda found: found == sha, None if awaited else 0.0) == sha


def _taken(staged: Staging, paths: Mapping[str, Path], made: Mapping[str, Made]) -> np.ndarray:
    """Give sheets their names in the staging folder; the pixels of each value in all of them."""
    staged.check_held()
    total = np.zeros(256, np.int64)
    for key, path in paths.items():
        for end in made[key].hashes:
            target = path.with_name(path.name + end.removeprefix(".tif"))
            try:
                staged.path(f"{SHEETS}/{key}{end}").replace(target)
            except OSError as error:
                raise unwritable(target, error) from error
        for value, pixels in made[key].counts.items():
            total[value] += pixels
    return total


def _order(store: Store, key: str) -> dict[str, Any]:
    name = f"{SHEETS}/{key}.order.json"
    try:
        data = patiently(lambda: store.get(name), lambda found: sha256(found) == key)
    except FileNotFoundError:
        raise _unwanted(store, key) from None
    if sha256(data) != key:
        raise LedgerError(f"{store.location(name)} has changed since it was written; run the same command again")
    return dict(json.loads(data))


def _check_wanted(store: Store, key: str) -> None:
    """Nothing is put into a folder where nobody asks for it any more."""
    if not store.exists(f"{SHEETS}/{key}.order.json"):
        raise _unwanted(store, key)


def _unwanted(store: Store, key: str) -> LedgerError:
    return LedgerError(f"{store.root} asks for no sheet {key[:12]}; its job ended or became another, leave it to that")


def _known(store: Store, key: str) -> Made | None:
    """What an earlier run noted of a sheet; None where that is damaged."""
    try:
        facts = json.loads(store.get(f"{SHEETS}/{key}.json"))
        if facts.pop("check") != digest_of(facts) or facts["key"] != key or ".tif" not in facts["hashes"]:
            return None
        return Made(key, dict(facts["hashes"]), {int(value): int(n) for value, n in facts["counts"].items()})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _to_json(made: Made) -> bytes:
    counts = {str(value): pixels for value, pixels in made.counts.items()}
    facts = {"key": made.key, "hashes": dict(made.hashes), "counts": counts}
    return json.dumps(facts | {"check": digest_of(facts)}).encode()


def _grid(facts: Mapping[str, Any]) -> Grid:
    return Grid(**{**facts, "transform": tuple(facts["transform"])})


def _legend(facts: Mapping[str, Any] | None) -> Legend | None:
    return None if facts is None else Legend(facts["name"], tuple(LandClass(**each) for each in facts["classes"]))


def _listed(window: Window) -> list[int]:
    return [window.row, window.col, window.height, window.width]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
