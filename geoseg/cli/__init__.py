"""The `geoseg` command: parse, call one function, print. The only place that prints or picks an exit status.

Exit status: 0 done; 2 bad input, nothing damaged; 3 finished, but some blocks failed and are nodata; 70 something
unexpected, whose details are kept; 75 the cluster was lost, run the same command again; 130 stopped by Ctrl-C. Modules
are imported inside the commands, so that `geoseg --help` loads neither torch, dask nor rasterio.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from geoseg.cli import limits
from geoseg.cli.options import Folder, Force, JobFile, app
from geoseg.cli.screen import drawn, err, findings, note, out, print_table, refuse, refusing, report, score_table
from geoseg.cli.workers import TlsCa, TlsCert, TlsKey, mapped, worker
from geoseg.errors import CatalogError, LedgerError

if TYPE_CHECKING:
    from geoseg.jobs.plan import Plan


def main() -> None:
    """Run the command line."""
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger().handlers[0].setLevel(logging.ERROR)  # the journal hears warnings all the same
    app()


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from geoseg import __version__

        out.print(f"geoseg {__version__}")
        raise typer.Exit


@app.command()
@refusing
def catalog(
    file: Annotated[Path, typer.Argument(help="The catalog.")] = Path("data_catalog.yaml"),
    check: Annotated[bool, typer.Option(help="Open every imagery, reference and model.")] = True,
    shipped: Annotated[bool, typer.Option("--all", help="List what geoseg ships, too.")] = False,
) -> None:
    """List what a catalog holds, and check that all of it can be opened."""
    from geoseg.cli import inventory

    troubles = 0
    for title, rows in inventory.listing(file, check=check, shipped=shipped):
        table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
        for column in ("name", "what", "state"):
            table.add_column(column, overflow="fold")
        for row in rows:
            state = Text(row.trouble, "red") if row.trouble else Text("ok" if row.checked else "", "green")
            table.add_row(row.name, row.what, state)
            troubles += bool(row.trouble)
        out.print(table, "")
    if not shipped:
        err.print("legends, crosswalks and models that geoseg ships: geoseg catalog --all", markup=False)
    if troubles:
        refuse(CatalogError(f"{troubles} of the entries of {file} cannot be used; see the list"))


@app.command()
@refusing
def plan(
    job: JobFile,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes to estimate for.")] = 1,
    probe: Annotated[bool, typer.Option(help="Time one block to estimate minutes.")] = True,
    force: Force = False,
) -> None:
    """Say what a job will do, and refuse the impossible, before anything runs."""
    resolved = resolved_job(job, force=force)
    from geoseg.jobs import estimate

    table = Table(show_header=False, show_edge=False, pad_edge=False)
    for name, value in estimate.lines(resolved, workers=workers, probe=probe):
        table.add_row(name, value)
    out.print(table)
    note(*resolved.notes)


@app.command()
@refusing
def run(
    job: JobFile,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes on this machine; 0: none, in this process.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    folder: Folder = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force-new", help="Start over, replacing another job in the folder.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first block that fails.")] = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    force: Force = False,
) -> None:
    """Map a region: run a job, or go on with one that was stopped."""
    resolved = resolved_job(job, force=force)
    from geoseg.jobs import run as job_run

    certificates = tls_ca, tls_cert, tls_key
    with mapped(resolved, workers, scheduler, certificates) as (mapper, threads), drawn() as progress:
        summary = job_run.run(
            resolved,
            folder or job.with_suffix("").name,
            mapper=mapper,
            threads=threads,
            overwrite=overwrite,
            strict=strict,
            progress=progress,
        )
    report(summary)


@app.command()
@refusing
def verify(
    job: JobFile,
    folder: Folder = None,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks to make again.")] = 4,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 verifies in this process only.")] = 2,
) -> None:
    """Make a sample of blocks again in other ways and say whether the pixels are identical."""
    from geoseg.jobs import block, verify
    from geoseg.storage import job_file
    from geoseg.storage.store import Store

    store = Store.at(folder or job.with_suffix("").name)
    held = block.load_plan(store.root, job_file.read_job(store)["digest"])
    asked = resolved_job(job, force=True)  # whether it should be run was decided when it was
    if asked.digest != held.digest:
        refuse(LedgerError(f"{store.root} was made by another job; run {job} first or give --out"))
    windows = verify.sample(store, held, blocks)
    found = [*verify.verify(store.root, held, windows)]
    if workers:
        with mapped(held, workers, None) as (mapper, _):
            again = verify.verify(store.root, held, windows, mapper)
            found += [verify.renamed(each, f"{workers} worker processes, {each.way}") for each in again]
    findings(found)


@app.command()
@refusing
def train(
    spec: Annotated[Path, typer.Argument(help="Training spec, a YAML file.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Model folder to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that the folder holds.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files too.")] = False,
) -> None:
    """Train a network on your own labels and write a model folder."""
    from rich.progress import Progress as Bar

    from geoseg.training import fit, processes, recipe, results

    asked = recipe.read(spec)
    with Bar(console=err, transient=not err.is_terminal, disable=processes.rank() > 0) as bar:
        task = bar.add_task("training", total=None)

        def show(done: int, total: int, row: dict[str, float] | None) -> None:
            bar.update(task, total=total, completed=done)
            if row is not None:
                bar.console.print(results.line(row, asked.epochs), markup=False)

        model = fit.train(asked, folder, overwrite=overwrite, progress=show, tensorboard=tensorboard)
    if processes.rank() > 0:  # of those that torchrun started, one tells
        return
    head, rows, warnings = results.table(model.card)
    print_table(head, rows)
    note(*warnings)
    out.print(f"wrote {model.folder}", markup=False)


labels = typer.Typer(help="Labels to learn from: check.", no_args_is_help=True)
app.add_typer(labels, name="labels")


@labels.command("check")
@refusing
def check_labels(
    spec: Annotated[Path, typer.Argument(help="Training spec, a YAML file.")],
    picture: Annotated[Path | None, typer.Option("--out", help="Draw where labels are, a .png.")] = None,
) -> None:
    """Say what the labels of a training spec can teach and judge, and what looks wrong with them."""
    from geoseg.report.divisions import divisions
    from geoseg.training import checking, recipe

    found = checking.check(recipe.read(spec))
    print_table(*checking.table(found))
    note(*found.notes)
    if picture is not None:
        divisions(found.drawn, found.legend, picture)
        out.print(f"wrote {picture}", markup=False)


@app.command()
@refusing
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the demo.")] = Path("demo"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over.")] = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Only fetch the scene, for a demo without network.")] = False,
) -> None:
    """Map, score and vectorise a real Landsat scene of Raleigh, North Carolina."""
    from geoseg import demo as raleigh
    from geoseg.accuracy import tables

    if fetch:
        out.print(f"the demo's scene is in {raleigh.fetch()}", markup=False)
        return
    with drawn() as progress:
        made = raleigh.run(folder, mapped=lambda plan: mapped(plan, None, None), fresh=fresh, progress=progress)
    report(made.summary)
    for path in made.files:
        out.print(f"  {path.absolute()}", markup=False)
    out.print("\nagreement with the reference in the eastern half, which training never saw:", markup=False)
    score_table(tables.plain(made.accuracy))
    out.print(f"\nthe report, for any browser: {made.report.absolute()}", markup=False)


def resolved_job(file: Path, *, force: bool) -> Plan:
    """The plan of a job file; bad input is refused here.

    Parameters
    ----------
    file : Path
        The job.
    force : bool
        Go on though its model was made for other imagery.
    """
    limits.allow_memory()
    limits.allow(limits.needed(files=limits.HANDLES, blocks=0))
    from geoseg.jobs import resolve
    from geoseg.jobs import spec as job_spec

    return resolve.resolve(job_spec.read(file, force=force))


app.command()(worker)

from geoseg.cli import change, init, jobs, maps, models, vectors  # noqa: E402  their commands hang themselves onto `app`

__all__ = ["app", "change", "init", "jobs", "main", "maps", "models", "vectors"]
