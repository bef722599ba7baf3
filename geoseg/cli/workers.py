"""The command that starts workers for a cluster, and how the commands reach one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.cli import limits
from geoseg.cli.screen import err, note, refuse, refusing
from geoseg.errors import ClusterError, JobError
from geoseg.jobs.ahead import map_ahead
from geoseg.process import cores

if TYPE_CHECKING:
    from geoseg.jobs.plan import Plan

Scheduler = Annotated[str | None, typer.Option(help="Address of a running Dask scheduler, whose workers do it.")]
TlsCa = Annotated[Path | None, typer.Option("--tls-ca", help="TLS: the authority's certificate, PEM.")]
TlsCert = Annotated[Path | None, typer.Option("--tls-cert", help="TLS: one's own certificate, PEM.")]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="TLS: its key, PEM.")]
SMALL_PIXELS = 4_000_000
"""Jobs with fewer run in this process, unless the command line or the job says where."""
Certificates = tuple[Path | None, Path | None, Path | None]
"""Authority, certificate, key."""


@refusing
def worker(
    address: Annotated[str, typer.Argument(help="Of the Dask scheduler, tcp://host:8786 say.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes; they share cores and memory.")] = 1,
    gpu: Annotated[
        list[str] | None, typer.Option(help="CUDA device for a process of its own; repeat it, or 'all'.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Windows a process labels at once on a CPU.")] = None,
    memory: Annotated[str | None, typer.Option(help="Limit of each process, '8GB' say; default: its share.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the worker.")] = None,
    lifetime: Annotated[str | None, typer.Option(help="Leave after this long, '55 minutes' say.")] = None,
    leave: Annotated[float, typer.Option(min=0, help="Seconds a block in hand gets at SIGTERM.")] = 20.0,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Start a worker for a running Dask scheduler; SIGTERM lets it finish its block and leave."""
    limits.allow_memory()
    limits.allow(limits.needed(files=limits.HANDLES, blocks=0, workers=workers, mosaics=True))
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from geoseg.cluster import local, tls
    from geoseg.cluster import worker as cluster_worker

    try:
        limit = None if memory is None else int(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        refuse(JobError(f"--memory is {memory!r}; give bytes with a unit, '8GB' say"))
    gpus = tuple(gpu or ())
    if gpus == ("all",):
        from geoseg.models import devices

        gpus = local.devices(devices.gpus())
        if not gpus:
            refuse(JobError("--gpu all, but torch finds no CUDA device here; leave it out to run on the CPU"))
    cluster_worker.start(
        address,
        workers=workers,
        gpus=gpus,
        threads=threads,
        memory_bytes=limit,
        security=tls.certificates(tls_ca, tls_cert, tls_key),
        name=name,
        lifetime=lifetime,
        leave_s=leave,
    )


@contextmanager
def mapped(
    plan: Plan, workers: int | None, scheduler: str | None, certificates: Certificates = (None, None, None)
) -> Iterator[tuple[Any, int | None]]:
    """A mapper and the threads of each process: none, a local cluster, a running one, or what the job asks for.

    Parameters
    ----------
    plan
        Of the job.
    workers
        Processes on this machine; 0: none, in this process. None: as the job says, else none
        for a small job and one for each core for others.
    scheduler
        Address of a running scheduler; excludes `workers`.
    certificates
        For the scheduler.
    """
    from geoseg.cluster import kinds, local, tls
    from geoseg.cluster.mapper import map_over
    from geoseg.cluster.preparation import Prepare
    from geoseg.jobs import run as job_run
    from geoseg.models import devices

    check_exclusive(workers, scheduler)
    elsewhere = scheduler is not None or (workers is None and plan.spec.cluster is not None)
    if plan.predictor is not None and not elsewhere:
        device = plan.predictor.device
        if device not in ("auto", "cpu"):
            devices.available(device)  # refuses a device that is not here, before the first block does
    small = workers is None and not elsewhere and _is_small(plan)
    here = 0 if workers == 0 or small or elsewhere else workers or cores()
    limits.allow(_open_files(plan, here))
    if workers == 0 or small:
        yield _said_small if small else map_ahead, cores()
        return
    logging.getLogger("distributed").setLevel(logging.ERROR)  # Dask sets it to 'info' when it is imported
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # we say ourselves that a scheduler is lost
    threads, memory_bytes = None, int(plan.spec.memory_per_worker)
    if scheduler is not None:
        around = kinds.running(scheduler, security=tls.certificates(*certificates), note=note)
    elif workers is None and plan.spec.cluster is not None and plan.spec.cluster.kind != "local":
        around = kinds.opened(plan.spec.cluster, memory_bytes, gpus=_gpus(plan), note=note)
    else:
        asked = plan.spec.cluster.workers if plan.spec.cluster is not None else None
        count = workers or asked or cores()
        around, threads = local.cpu_cluster(count, memory_bytes), local.threads_per_worker(count)
    load = None if plan.predictor is None else plan.predictor.load
    how: dict[str, Any] = {"note": note, "prepare": Prepare(memory_bytes, load)}
    if scheduler is None and (threads or (plan.spec.cluster is not None and plan.spec.cluster.kind == "cuda")):
        how["patience_s"] = local.PATIENCE_S
    with ExitStack() as stack:

        def started() -> Any:
            client = stack.enter_context(around)
            err.print(f"dashboard: {client.dashboard_link}", markup=False)
            return map_over(client, job_run.lost(plan.digest), **how)

        yield _WhenNeeded(started), threads


@dataclass(frozen=True)
class _WhenNeeded:
    """A map over a cluster that starts with the first item: it takes seconds, and a finished job needs none."""

    start: Callable[[], Any]
    asked: tuple[Any, ...] = ()
    """What its `of` is called with, where it is for other items than blocks."""
    started: list[Any] = field(default_factory=list)
    """The map over the cluster, once it runs."""

    def __call__(self, function: Any, items: Iterable[Any]) -> Iterator[Any]:
        todo = iter(items)
        first = list(islice(todo, 1))
        if first:
            if not self.started:
                self.started.append(self.start())
            over = self.started[0].of(*self.asked) if self.asked else self.started[0]
            yield from over(function, chain(first, todo))

    def of(self, noun: str, lost: Callable[[Any, str], Any], stall_s: float) -> _WhenNeeded:
        """See `engines.Elsewhere`."""
        return replace(self, asked=(noun, lost, stall_s))


@contextmanager
def spread(
    scheduler: str, certificates: Certificates, files: Sequence[Path]
) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]]:
    """A map over the workers of a running scheduler, which read the same files as this process.

    Parameters
    ----------
    scheduler
        Its address.
    certificates
        For it.
    files
        Each worker must see these; one that does not is refused by name.
    """
    from geoseg.cluster import kinds, tls
    from geoseg.cluster.mapper import map_over
    from geoseg.cluster.origin import Named
    from geoseg.rasters import identity

    paths = [str(each.absolute()) for each in files]
    check = partial(identity.check_same, {each: identity.stamp(each) for each in paths})
    logging.getLogger("distributed").setLevel(logging.ERROR)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with kinds.running(scheduler, security=tls.certificates(*certificates), note=note, direct=True) as client:

        def over(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            how: dict[str, Any] = {"note": note, "prepare": Named(check, _nothing)}
            yield from map_over(client, _given_up, **how)(Named(function, check), items)

        yield over


def check_exclusive(workers: int | None, scheduler: str | None) -> None:
    """Refuse both threads of this process and a scheduler.

    Parameters
    ----------
    workers, scheduler
        As the options have them.
    """
    if workers is not None and scheduler is not None:
        refuse(JobError("--workers and --scheduler exclude each other; give one of them"))


def _given_up(_: Any, why: str) -> Any:
    raise ClusterError(f"a part of the map could not be done: it was given up after {why}")


def _nothing() -> None:
    """No check."""


def _said_small(function: Any, items: Iterable[Any]) -> Iterator[Any]:
    todo = list(items)
    if todo:
        err.print("small job: running in this process; --workers N for more", markup=False)
    return map_ahead(function, todo)


def _is_small(plan: Plan) -> bool:
    """Whether starting processes would take longer than they save."""
    pixels = 0
    for window in plan.blocks():
        pixels += window.pixels
        if pixels >= SMALL_PIXELS:
            return False
    return True


def _open_files(plan: Plan, workers: int) -> int:
    mosaics = any(path.lower().endswith(".vrt") for path in plan.files)
    return limits.needed(files=len(plan.files), blocks=plan.layout.blocks, workers=workers, mosaics=mosaics)


def _gpus(plan: Plan) -> int:
    if plan.spec.cluster is None or plan.spec.cluster.kind != "cuda":
        return 0
    from geoseg.models import devices

    return devices.gpus()
