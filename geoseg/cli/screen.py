"""Screen: what the commands print, and how a refusal becomes one sentence and an exit status."""

from __future__ import annotations

import functools
import json
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click
import platformdirs
import typer
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console

from geoseg.errors import CancelledError, ClusterError, GeosegError
from geoseg.quantities import counted

if TYPE_CHECKING:
    from geoseg.jobs.run import Progress, Summary

_NO_MEMORY = re.compile("failed to map segment|annot allocate memory|can't allocate memory|can't start new thread")
"""How libraries say it that raise no MemoryError."""
BAD_INPUT, BLOCKS_FAILED, UNEXPECTED, CLUSTER_LOST, INTERRUPTED = 2, 3, 70, 75, 130

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # names and messages stay as they are
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

P = ParamSpec("P")
R = TypeVar("R")


def refusing(command: Callable[P, R]) -> Callable[P, R]:
    """Turn refusals into one sentence on stderr and an exit status."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            return command(*args, **kwargs)
        except ClusterError as error:
            say(error)
            err.print(f"go on with: {same_command()}", markup=False)
            raise typer.Exit(CLUSTER_LOST) from None
        except CancelledError as error:
            say(error)
            err.print(f"go on with: {same_command()}", markup=False)
            raise typer.Exit(INTERRUPTED) from None
        except GeosegError as error:
            refuse(error)
        except KeyboardInterrupt:
            err.print(f"\nstopped; what was finished is kept. Go on with: {same_command()}", markup=False)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, click.ClickException, BrokenPipeError):
            raise
        except Exception as error:
            unexpected(error)

    return wrapped


def unexpected(error: Exception) -> NoReturn:
    """One sentence for what nobody foresaw, and exit status 70; its traceback is kept, and the sentence says where."""
    notes = [each for each in getattr(error, "__notes__", ()) if each.startswith("geoseg logs ")]
    where = f"'{notes[0]}' shows" if notes else f"{_noted(error)} holds"
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        said = "no memory is left; give this process more, or the job a smaller memory_per_worker or inference.block"
    else:
        said = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}; please report it"
    err.print(f"{said} ({where} the details)", markup=False)
    raise typer.Exit(UNEXPECTED)


def _noted(error: Exception) -> Path:
    """Add a traceback to the account's log of errors; its path."""
    path = platformdirs.user_log_path("geoseg") / "errors.log"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {same_command()}\n")
            file.writelines(traceback.format_exception(error))
    return path


def refuse(error: GeosegError) -> NoReturn:
    """One sentence on stderr, and exit status 2."""
    say(error)
    raise typer.Exit(BAD_INPUT)


def say(error: GeosegError) -> None:
    """Print an error as 'KindError: sentence'."""
    public = next(kind for kind in type(error).__mro__ if not kind.__name__.startswith("_"))
    err.print(f"{public.__name__}: {error}", markup=False)


def note(*sentences: str) -> None:
    """Print what the user should know on stderr."""
    for sentence in sentences:
        err.print(f"note: {sentence}", markup=False)


def same_command() -> str:
    """The command line as it was typed."""
    return shlex.join(["geoseg", *sys.argv[1:]])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def drawn() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    )
    with Bar(*columns, console=err, transient=not err.is_terminal) as bar:
        task = bar.add_task("blocks", total=None, rate="", failed="")

        def show(now: Progress) -> None:
            bar.update(
                task,
                description=now.step,
                total=now.total,
                completed=now.reused + now.finished + now.failed,
                rate=f"{now.rate:.2f} Mpx/s" if now.pixels else "",
                failed=f"{now.failed} failed" if now.failed else "",
            )

        yield show


@contextmanager
def bar(counted: str = "") -> Iterator[Callable[[str, int, int, int], None]]:
    """A bar on stderr: what is done, blocks of all, what came of them, time left. Where it is no terminal, nothing.

    Parameters
    ----------
    counted
        What comes of the blocks, in the plural.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    if not err.is_terminal:
        yield lambda step, done, total, made: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("blocks {task.fields[made]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=err, transient=True) as shown:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, total: int, made: int) -> None:
            if step not in tasks:
                for each in tasks.values():
                    shown.remove_task(each)
                tasks.clear()
                tasks[step] = shown.add_task(step, total=total, made="")
            shown.update(tasks[step], total=total, completed=done, made=f"{made:,} {counted}" if made else "")

        yield show


def report(summary: Summary) -> None:
    """Say what a run did, and how its map scores where it was compared; exit 3 if blocks failed."""
    from geoseg.jobs import performance

    now = summary.progress
    note(*summary.notes)
    resumed = f", {now.reused} of them finished before" if now.reused else ""
    speed = f" in {now.seconds:.1f} s" if now.pixels else ""
    out.print(f"{counted(now.total, 'block')}{resumed}{speed}", markup=False)
    if now.reused and not now.finished and not now.failed:
        out.print("resumed: every block was finished already, nothing was labelled again", markup=False)
    if summary.performance is not None:
        for line in performance.lines(summary.performance.facts):
            out.print(line, markup=False)
    for name in summary.outputs:
        again = " (kept)" if name in summary.kept else ""
        out.print(f"  {summary.folder}/{name}{again}", markup=False)
    if "accuracy.json" in summary.outputs:
        _scores_of(summary.folder)
    if summary.failed:
        err.print(
            f"{counted(len(summary.failed), 'block')} failed, nodata in the map; see failed.geojson", markup=False
        )
        for record in summary.failed[:5]:
            err.print(f"  row {record.window.row}, column {record.window.col}: {record.error}", markup=False)
        err.print(f"try just those again with: {same_command()}", markup=False)
        raise typer.Exit(BLOCKS_FAILED)


def _scores_of(folder: str) -> None:
    from geoseg.storage.store import Store

    try:
        scores = json.loads(Store.at(folder).get("accuracy.json"))
        out.print(f"\nagreement with reference {scores['reference']['name']!r}:", markup=False)
        score_table(scores)
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        note(f"{folder}/accuracy.json cannot be read; remove it and run the same command again")


def score_table(scores: Mapping[str, Any]) -> None:
    """Print scores, a row for each class: a table on a terminal, elsewhere values separated by tabs.

    Where it is no terminal that reads them, numbers are bare, missing ones empty, and what is said below the rows
    begins with '# '.

    Parameters
    ----------
    scores
        As `tables.plain` gives them, or read from accuracy.json.
    """
    from geoseg.accuracy import tables

    print_table(*tables.table(scores))


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str | float | int | None]], feet: Sequence[str] = ()
) -> None:
    """Print a table as `score_table` does.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        A name, then shares as float and counts as int; None where there is no value.
    feet
        Lines below.
    """
    if not out.is_terminal:
        for row in (head, *rows):
            out.file.write("\t".join(_bare(value) for value in row) + "\n")  # rich makes spaces of tabs
        feet = [f"# {foot}" for foot in feet]
    else:
        for line in fitted(head, [tuple(map(_shown, row)) for row in rows], out.width):
            out.print(line, markup=False)
    for foot in feet:
        out.print(foot, markup=False)


def fitted(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lines of a table: the first column is folded to what is left of the width, numbers are never cut.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        A text for each column.
    width
        Of the terminal, in characters; lines are longer only where the numbers alone need more.
    """
    numbers = [max(len(row[at]) for row in (head, *rows)) for at in range(1, len(head))]
    names = max(cell_len(row[0]) for row in (head, *rows))
    between = 2 if names + sum(numbers) + 2 * len(numbers) <= width else 1
    names = min(names, max(9, width - sum(numbers) - between * len(numbers)))
    for at, row in enumerate((head, *rows)):
        cells = [text.rjust(size + between) for text, size in zip(row[1:], numbers)]
        first, *more = _folded(row[0], names)
        yield (set_cell_size(first, names) + "".join(cells)).rstrip()
        yield from (f" {line}" for line in more)
        if at == 0:
            yield "-" * (names + sum(numbers) + between * len(numbers))


def _folded(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` cells, the later ones one shorter, broken between words where possible."""
    lines = [""]
    for word in text.split():
        room = width - (len(lines) > 1)
        joined = f"{lines[-1]} {word}".lstrip()
        if cell_len(joined) <= room:
            lines[-1] = joined
            continue
        lines += chop_cells(word, width - 1)
    return [line for line in lines if line] or [""]


def _shown(value: str | float | int | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _bare(value: str | float | int | None) -> str:
    return "" if value is None else f"{value:.6f}" if isinstance(value, float) else str(value)


def findings(found: list[Any]) -> None:
    """Say for each way whether the pixels are identical; exit 1 if they are not."""
    bad = [each for each in found if each.differing]
    for way in dict.fromkeys(each.way for each in found):
        mine = [each for each in found if each.way == way]
        wrong = sum(each.differing for each in mine)
        pixels = counted(sum(each.window.pixels for each in mine), "pixel")
        state = "identical" if not wrong else f"differing in {counted(wrong, 'pixel')}"
        out.print(f"{way}: {counted(len(mine), 'block')}, {pixels}, {state}", markup=False)
    for each in bad[:10]:
        differing = counted(each.differing, "pixel")
        err.print(f"  {each.way}: {differing} not the same, the first at row, column {each.first}", markup=False)
    if bad:
        raise typer.Exit(1)
