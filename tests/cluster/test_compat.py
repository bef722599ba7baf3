"""What geoseg uses of distributed beyond its documented interface is still there and does what it did.

Each sentence says what is gone or has changed, and so what in `geoseg/cluster/compat.py` needs another way.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest
from clusters import Processes, client_of, wait_until
from distributed import Client, LocalCluster, Nanny, Scheduler, Status, Worker, get_client, get_worker, worker_client
from distributed.utils import thread_state

from geoseg.cluster import compat
from geoseg.cluster.worker import BlockWorker

ANSWER_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A scheduler and a worker in this process."""
    quiet = {
        "protocol": "tcp://",
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **quiet) as made:
        yield made


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as made:
        yield made


def worker_of(cluster: LocalCluster) -> Worker:
    """The first worker of a cluster in this process."""
    worker: Worker = next(iter(cluster.workers.values()))
    return worker


def in_loop(client: Client, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in the loop of scheduler and worker, and wait for it."""
    return asyncio.run_coroutine_threadsafe(coroutine, compat.event_loop(client)).result(ANSWER_S)


def test_the_version_that_was_checked_is_not_newer_than_the_installed_one() -> None:
    def numbers(version: str) -> list[int]:
        return [int(each) for each in version.split(".")[:3]]

    assert numbers(distributed.__version__.partition("+")[0]) >= numbers(compat.CHECKED), (
        "an older distributed is installed than compat was checked on; raise the floor in pyproject.toml or check again"
    )


# ---------------------------------------------------------------------------------------------- client


@pytest.mark.slow
def test_event_loop_of_a_client(client: Client) -> None:
    assert hasattr(client.loop, "asyncio_loop"), "Client.loop.asyncio_loop is gone: results cannot be awaited"
    loop = compat.event_loop(client)
    assert isinstance(loop, asyncio.AbstractEventLoop), "Client.loop.asyncio_loop is no event loop of asyncio any more"
    assert loop.is_running(), "the client's loop does not run in a thread of its own any more"


@pytest.mark.parametrize(
    ("handler", "arguments"),
    [
        ("ncores", {}),
        ("ncores_running", {}),
        ("events", {"topic": "all"}),
        ("identity", {"n_workers": -1}),
        ("unregister_worker_plugin", {"name": "nobody"}),
        ("retire_workers", {"workers": [], "close_workers": False, "remove": True, "stimulus_id": "test"}),
    ],
)
def test_handlers_of_the_scheduler(handler: str, arguments: dict[str, Any], cluster: LocalCluster) -> None:
    known = cluster.scheduler.handlers
    assert handler in known, f"the scheduler's handler {handler!r} is gone"
    takes = inspect.signature(known[handler]).parameters
    loose = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    missing = [each for each in arguments if each not in takes and not loose]
    assert not missing, f"the scheduler's handler {handler!r} takes no {missing} any more"


def test_threads_of_workers_by_address(client: Client, cluster: LocalCluster) -> None:
    address = worker_of(cluster).address
    all_of_them, running = compat.thread_counts(client, ANSWER_S)
    assert all_of_them == running == {address: 2}, "ncores and ncores_running no longer give threads by address"


def test_questions_to_a_client_have_a_time_limit(client: Client) -> None:
    assert "callback_timeout" in inspect.signature(client.sync).parameters, "Client.sync knows no callback_timeout"
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        client.sync(asyncio.sleep, 60, callback_timeout=0.1)
    assert time.monotonic() - begin < 5, "callback_timeout of Client.sync does not limit the time any more"


def test_paused_workers_with_their_memory(client: Client, cluster: LocalCluster) -> None:
    worker = worker_of(cluster)
    assert compat.paused(client, ANSWER_S) == {}
    worker.memory_manager.memory_pause_fraction = False
    worker.status = Status.paused
    try:
        found = wait_until(lambda: compat.paused(client, ANSWER_S), 10)
        assert compat.thread_counts(client, ANSWER_S)[1] == {}, "ncores_running counts paused workers"
    finally:
        worker.status = Status.running
    used, limit = found[worker.address]
    assert limit == worker.memory_manager.memory_limit, "identity has no memory_limit in bytes any more"
    assert 0 < used < 1e12, "identity has no metrics.memory in bytes any more"
    wait_until(lambda: compat.thread_counts(client, ANSWER_S)[1], 10)


def test_events_say_how_a_worker_left(client: Client, cluster: LocalCluster) -> None:
    async def join_and_retire() -> str:
        async with Worker(cluster.scheduler_address, nthreads=1, host="127.0.0.1") as worker:
            address: str = worker.address
            await cluster.scheduler.retire_workers([address], close_workers=False)
        return address

    address = in_loop(client, join_and_retire())
    actions = [each.get("action") for each in compat.events(client, address, ANSWER_S)]
    assert actions[0] == compat.JOINED, f"a worker that joins is no longer logged as {compat.JOINED!r}: {actions}"
    assert compat.LEAVING[1] in actions, f"a retired worker is no longer logged as {compat.LEAVING[1]!r}: {actions}"
    assert compat.events(client, "nothing of this name", ANSWER_S) == []


def test_events_say_that_a_worker_closes(client: Client, cluster: LocalCluster) -> None:
    async def join_and_close() -> str:
        worker = await Worker(cluster.scheduler_address, nthreads=1, host="127.0.0.1")
        address: str = worker.address
        await worker.close()
        return address

    address = in_loop(client, join_and_close())
    wait_until(
        lambda: compat.LEAVING[0] in [each.get("action") for each in compat.events(client, address, ANSWER_S)], 10
    )


@pytest.mark.slow
def test_nannies_log_whom_they_killed_for_memory() -> None:
    from distributed import worker_memory

    source = inspect.getsource(worker_memory.NannyMemoryManager)
    assert f'"{compat.OUT_OF_MEMORY}"' in source, f"nannies log nothing under {compat.OUT_OF_MEMORY!r} any more"
    assert '"worker"' in source, "nannies no longer name the worker that they killed"


def test_cancelling_takes_also_what_others_wait_for(client: Client, cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as other:
        mine = client.submit(time.sleep, 0.05, key="wanted by two", pure=False)
        theirs = other.submit(time.sleep, 0.05, key="wanted by two", pure=False)
        compat.cancel(client, [mine], ANSWER_S)
        wait_until(lambda: theirs.status == "cancelled", 10)


def test_workers_send_heartbeats_and_the_scheduler_tells_when(client: Client) -> None:
    before = compat.heartbeats(client, ANSWER_S)
    assert before.keys() == client.nthreads().keys()
    wait_until(lambda: all(at > before[each] for each, at in compat.heartbeats(client, ANSWER_S).items()), 10)


def test_a_function_runs_in_the_scheduler_within_a_time_limit(client: Client) -> None:
    def tasks_there(more: int, dask_scheduler: Any = None) -> int:
        return len(dask_scheduler.workers) + more

    assert compat.run_on_scheduler(client, tasks_there, ANSWER_S, more=5) == len(client.nthreads()) + 5
    with pytest.raises(TimeoutError):
        compat.run_on_scheduler(client, slow_answer, 0.2)


async def slow_answer(dask_scheduler: Any = None) -> None:
    await asyncio.sleep(2)


def test_a_scheduler_plugin_is_there_once_it_is_registered(client: Client, cluster: LocalCluster) -> None:
    class Plugin(distributed.SchedulerPlugin):  # type: ignore[misc]
        """One that does nothing."""

        name = "does nothing"
        idempotent = True

    for _ in range(2):
        compat.add_scheduler_plugin(client, Plugin(), ANSWER_S)
    assert "does nothing" in cluster.scheduler.plugins


def key_of_sender() -> tuple[Any, Any, Any]:
    """The key that a task's thread sends as its own: before, inside and after."""
    before = thread_state.key
    with worker_client(), compat.as_a_client():
        inside = getattr(thread_state, "key", "absent")
    return before, inside, thread_state.key


def test_a_task_can_send_work_as_a_client_does(client: Client) -> None:
    future = client.submit(key_of_sender, key="sender", pure=False)
    assert future.result(ANSWER_S) == ("sender", None, "sender"), "set_thread_state does not hide a task's key any more"


# ------------------------------------------------------------------------------------------- scheduler


def test_losses_that_the_scheduler_counts_can_be_forgiven(client: Client, cluster: LocalCluster) -> None:
    futures = [client.submit(abs, 1, key=key, pure=False) for key in ("ours-1", "theirs")]
    assert client.gather(futures) == [1, 1]
    tasks = cluster.scheduler.tasks
    assert hasattr(tasks["ours-1"], "suspicious"), "TaskState.suspicious is gone: how are lost workers counted?"
    for each in futures:
        tasks[each.key].suspicious = 2
    compat.forgive(cluster.scheduler, "ours-")
    assert [tasks[each.key].suspicious for each in futures] == [0, 2]


def test_losses_are_counted_where_we_forgive_them() -> None:
    source = inspect.getsource(Scheduler.remove_worker)
    assert "suspicious" in source, "Scheduler.remove_worker no longer counts lost workers in TaskState.suspicious"
    assert "allowed_failures" in source, "the scheduler's limit is no longer called allowed_failures"


def test_whether_a_task_is_under_way(client: Client, cluster: LocalCluster) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    event = distributed.Event("go", client=client)
    waiting = client.submit(lambda: distributed.Event("go").wait(ANSWER_S), key="waiting", pure=False)
    wait_until(lambda: compat.is_under_way(cluster.scheduler, "waiting"), 10)
    event.set()
    waiting.result(ANSWER_S)
    failed = client.submit(fail, key="failed", pure=False)
    distributed.wait(failed)
    for key in ("waiting", "failed", "never heard of"):
        assert not compat.is_under_way(cluster.scheduler, key), f"the state of the task {key!r} is not known any more"


# ---------------------------------------------------------------------------------------------- worker


def parameters(function: Any) -> list[tuple[str, Any]]:
    """Names and defaults."""
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("method", ["close", "close_gracefully"])
def test_block_worker_overrides_what_is_there(method: str) -> None:
    theirs, ours = getattr(Worker, method), getattr(BlockWorker, method)
    assert parameters(theirs) == parameters(ours), f"Worker.{method} has other parameters or defaults now"
    assert inspect.iscoroutinefunction(theirs), f"Worker.{method} is no coroutine any more"


def test_lifetimes_end_in_close_gracefully() -> None:
    source = inspect.getsource(Worker.__init__)
    assert "self.close_gracefully" in source, "a worker's lifetime no longer ends in Worker.close_gracefully"


def test_executing_tasks_are_counted_without_those_that_seceded(client: Client, cluster: LocalCluster) -> None:
    worker = worker_of(cluster)
    assert hasattr(worker.state, "executing_count"), "Worker.state.executing_count is gone"

    def count() -> int:
        before = compat.executing(get_worker())
        with worker_client():
            wait_until(lambda: compat.executing(get_worker()) == 0, 10)
        return before

    assert client.submit(count, pure=False).result(ANSWER_S) == 1, "executing_count counts something else now"
    assert compat.executing(worker) == 0


def test_a_worker_can_be_told_to_take_no_more_and_retires(client: Client, cluster: LocalCluster) -> None:
    async def through_all() -> tuple[bool, bool, bool, bool]:
        scheduler = cluster.scheduler
        worker = await Worker(cluster.scheduler_address, nthreads=1, host="127.0.0.1")
        restarts, at_work = compat.restarts(worker), compat.is_at_work(worker)
        compat.takes_no_more(worker)
        leaving = compat.is_at_work(worker)
        for _ in range(200):
            if scheduler.workers[worker.address].status == Status.closing_gracefully:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the scheduler no longer hears of a worker's closing_gracefully")
        await compat.retire(worker, ANSWER_S)
        there = worker.address in scheduler.workers
        await worker.close()
        return restarts, at_work, leaving, there

    restarts, at_work, leaving, there = in_loop(client, through_all())
    assert not restarts, "Worker.lifetime_restart is not False by default any more"
    assert at_work, "a worker that just started is not Status.running any more"
    assert not leaving, "a worker that is closing gracefully counts as one at work"
    assert not there, "retire_workers no longer takes a worker off the scheduler's list"


def test_the_memory_of_this_machine() -> None:
    limit = compat.memory_limit()
    assert isinstance(limit, int), "distributed.system.MEMORY_LIMIT is no int any more"
    assert 10**8 < limit < 10**14, "distributed.system.MEMORY_LIMIT is not in bytes any more"


class Recording(Worker):  # type: ignore[misc]
    """A worker that notes how it is closed."""

    async def close(self, timeout: float = 30, executor_wait: bool = True, nanny: bool = True, reason: str = "") -> str:
        """Close as always."""
        if not Path(self.name).exists():  # it is closed once more by itself
            Path(self.name).write_text(f"{timeout} {compat.is_signal(reason)}")
        return str(await super().close(timeout=timeout, executor_wait=executor_wait, nanny=nanny, reason=reason))


@pytest.mark.slow
def test_a_nanny_hands_time_and_reason_to_its_worker(tmp_path: Path) -> None:
    note = tmp_path / "closed"

    async def start_and_close() -> None:
        async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
            nanny = await Nanny(
                scheduler.address, nthreads=1, host="127.0.0.1", name=str(note), worker_class=Recording, dashboard=False
            )
            await compat.close_as_by_signal(nanny, 12.0)

    asyncio.run(asyncio.wait_for(start_and_close(), 60))
    assert note.exists(), "Nanny.close no longer calls Worker.close"
    timeout, by_signal = note.read_text().split()
    assert float(timeout) == pytest.approx(12.0), "Nanny.close no longer hands 0.8 of its time to Worker.close"
    assert by_signal == "True", "Nanny.close no longer hands its reason to Worker.close"


def test_clients_inside_tasks_are_found(client: Client) -> None:
    assert client.submit(lambda: get_client().id, pure=False).result(ANSWER_S)


@pytest.mark.slow
def test_a_process_that_only_looks_on_sees_the_same(tmp_path: Path) -> None:
    """What the questions give does not depend on scheduler and client sharing a process."""
    processes = Processes(tmp_path, warm=True)
    try:
        processes.scheduler()
        processes.workers(1)
        with client_of(processes, 1) as client:
            (address,) = client.nthreads()
            wait_until(lambda: compat.thread_counts(client, ANSWER_S) == ({address: 1}, {address: 1}))
            assert compat.events(client, address, ANSWER_S)[0]["action"] == compat.JOINED
            assert compat.paused(client, ANSWER_S) == {}
    finally:
        processes.end()
