"""Commands for jobs that run on a cluster by themselves: submit, status, logs, cancel, resume; and their reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from geoseg.cli import limits
from geoseg.cli.options import Folder, Force, JobFile, app
from geoseg.cli.screen import BLOCKS_FAILED, INTERRUPTED, drawn, err, note, out, refuse, refusing, report
from geoseg.cli.workers import TlsCa, TlsCert, TlsKey, mapped
from geoseg.errors import GeosegError, JobError
from geoseg.quantities import counted

if TYPE_CHECKING:
    from geoseg.jobs.status import JobHandle
    from geoseg.storage.journal import Status

Which = Annotated[str, typer.Argument(metavar="ID|FOLDER", help="Name of a submitted job, or a job folder.")]
Scheduler = Annotated[str, typer.Option(help="Address of a running Dask scheduler.")]
Watch = Annotated[bool, typer.Option("--watch", help="Stay and show progress until the job has ended.")]


@app.command()
@refusing
def submit(
    job: JobFile,
    scheduler: Scheduler,
    name: Annotated[str | None, typer.Option(help="Name to ask for it by.")] = None,
    folder: Folder = None,
    priority: Annotated[int, typer.Option(help="Higher goes first where jobs share the cluster.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force-new", help="Start over, replacing another job in the folder.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first block that fails.")] = False,
    watch: Watch = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    force: Force = False,
) -> None:
    """Hand a job to a running cluster and come back; it goes on without you."""
    limits.allow_memory()
    limits.allow(limits.needed(files=limits.HANDLES, blocks=0))
    from geoseg.cluster import kinds, tls
    from geoseg.jobs import resolve, submit
    from geoseg.jobs import spec as job_spec

    plan = resolve.resolve(job_spec.read(job, force=force))
    note(*plan.notes)
    with kinds.running(scheduler, security=tls.certificates(tls_ca, tls_cert, tls_key), note=note) as client:
        handle = submit.submit(
            plan,
            client,
            folder=folder or job.with_suffix("").name,
            name=name,
            priority=priority,
            overwrite=overwrite,
            strict=strict,
        )
    out.print(handle.id, markup=False)
    if watch:
        _watch(handle)
    else:
        err.print(f"follow it with: geoseg status {handle.id}", markup=False)


@app.command()
@refusing
def status(
    which: Annotated[str | None, typer.Argument(metavar="[ID|FOLDER]", help="Default: all that you submitted.")] = None,
    watch: Watch = False,
) -> None:
    """Say where a job stands, from its folder alone, whether or not the cluster still runs."""
    from geoseg.jobs import performance
    from geoseg.jobs import status as following

    handles = following.submitted() if which is None else [following.find(which)]
    if watch and which is not None:
        _watch(handles[0])
        return
    table = Table(show_edge=False, pad_edge=False)
    for column in ("job", "state", "blocks", "failed", "Mpx/s", "left", "folder"):
        table.add_column(column, overflow="fold")
    standing = [(handle, handle.status() if which is not None else _tried(handle)) for handle in handles]
    for handle, now in standing:
        table.add_row(handle.id, *_facts(now), handle.folder)
    out.print(table)
    for handle, now in standing:
        if which is not None and now.performance:
            out.print("\n".join(performance.lines(now.performance)), markup=False)
        if now.error:
            err.print(f"{handle.id}: {now.error}", markup=False)


@app.command()
@refusing
def logs(
    which: Which,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    last: Annotated[int, typer.Option("-n", min=1, help="Only the last lines.")] = 100,
) -> None:
    """Print a job's log, a JSON line for each block and event."""
    import json

    from geoseg.jobs import status as following

    for line in following.find(which).log(last, follow=follow):
        out.print(json.dumps(line), markup=False)


@app.command()
@refusing
def cancel(which: Which) -> None:
    """Ask a job to stop; what is finished is kept and `geoseg resume` goes on from there."""
    from geoseg.jobs import status as following

    handle = following.find(which)
    before = handle.status()
    if before.state in following.ENDED:
        out.print(f"{handle.id} is not running: {before.state}", markup=False)
        return
    handle.cancel()
    out.print(f"asked {handle.id} to stop; go on later with: geoseg resume {handle.id}", markup=False)


@app.command()
@refusing
def resume(
    which: Which,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes on this machine.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Submit it to this running Dask scheduler instead.")] = None,
    watch: Watch = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Go on with a job from its folder: only what is missing or failed is made."""
    from geoseg.cluster import kinds, tls
    from geoseg.jobs import run as job_run
    from geoseg.jobs import status as following
    from geoseg.jobs import submit

    handle = following.find(which)
    plan = submit.resume(handle.folder)
    if scheduler is not None:
        if workers is not None:
            refuse(JobError("--workers and --scheduler exclude each other; give one of them"))
        with kinds.running(scheduler, security=tls.certificates(tls_ca, tls_cert, tls_key), note=note) as client:
            handle = submit.submit(plan, client, folder=handle.folder, name=handle.id)
        out.print(handle.id, markup=False)
        if watch:
            _watch(handle)
        return
    with mapped(plan, workers, None) as (mapper, threads), drawn() as progress:
        summary = job_run.run(plan, handle.folder, mapper=mapper, threads=threads, progress=progress)
    report(summary)


@app.command("report")
@refusing
def report_page(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A job folder, also s3://bucket/prefix.")],
    file: Annotated[Path | None, typer.Option("--out", help="Default: report.html in the job folder.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder for its tables: CSV, Markdown, LaTeX.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for its figures: PNG, SVG.")] = None,
) -> None:
    """Write a finished job's report: one HTML page with map, imagery, areas, scores and provenance."""
    from geoseg.jobs import report as job_report

    out.print(job_report.write(folder, file, tables=tables, figures=figures), markup=False)


def _tried(handle: JobHandle) -> Status:
    """Where one of many jobs stands; one that cannot be looked at must not hide the others."""
    from geoseg.storage.journal import Status

    try:
        return handle.status()
    except GeosegError as error:
        return Status("unreachable", error=str(error))


def _facts(now: Status) -> tuple[str, ...]:
    left = "" if now.eta_s is None else f"{now.eta_s / 60:.1f} min"
    state = f"{now.state}: {now.step}" if now.step else now.state
    return state, f"{now.done}/{now.total}", str(now.failed), f"{now.rate:.2f}", left


def _watch(handle: JobHandle) -> None:
    """Show progress until the job has ended; Ctrl-C leaves it running."""
    from geoseg.jobs import run as job_run
    from geoseg.jobs import status as following

    with drawn() as progress:

        def show(now: Status) -> None:
            seconds = now.eta_s or 0.0
            step = "blocks" if now.state == "running" else now.step or now.state
            progress(job_run.Progress(now.total, 0, now.done, now.failed, 0, seconds, step))

        try:
            ended = following.follow(handle, show)
        except KeyboardInterrupt:
            err.print(f"the job goes on; look again with: geoseg status {handle.id}", markup=False)
            raise typer.Exit(0) from None
    out.print(
        f"{handle.id}: {ended.state}, {ended.done}/{counted(ended.total, 'block')}, in {handle.folder}", markup=False
    )
    _exit_by(ended)


def _exit_by(ended: Status) -> None:
    if ended.state == "failed blocks":
        err.print(f"{counted(ended.failed, 'block')} failed, nodata in the map; see failed.geojson", markup=False)
        raise typer.Exit(BLOCKS_FAILED)
    if ended.state == "stopped":
        refuse(GeosegError(ended.error or "the job stopped"))
    if ended.state == "cancelled":
        raise typer.Exit(INTERRUPTED)
