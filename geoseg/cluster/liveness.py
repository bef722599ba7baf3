"""Liveness: whether a map still gets on: things are finished, workers are there, and which of them stand still."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from geoseg.errors import ClusterError
from geoseg.quantities import counted

_ROUNDS = 2
"""How often what is in flight is sent again before the map is given up."""
_NOTE_S = 60.0
"""Seconds between two notes that there is no worker."""


SILENT_S = 60.0
"""A worker that sends no heartbeat for this long is stopped or cut off; a busy one sends one every few seconds."""
_HOPELESS = 4
"""How many times as long the last workers that are left may be silent."""
_LOSSES = 10
"""So many workers, and three times as many as ever were there at once, may be lost in turn with nothing in hand."""


class Liveness:
    """Notices when nothing is finished any more, or nobody is there to do it.

    Parameters
    ----------
    stall_s : float
        How long nothing may be finished, or 20 times what a task takes where that is longer.
    patience_s : float
        How long to wait while there is no worker.
    note : callable
        Called with a sentence when the map stalls or waits.
    now_s : float
        When it begins, by a clock that never goes back; the one of `stalled`.
    silent_s : float
        How long a worker may send no heartbeat.
    noun : str
        What is finished, for the notes.
    """

    def __init__(
        self,
        stall_s: float,
        patience_s: float,
        note: Callable[[str], None],
        now_s: float,
        silent_s: float = SILENT_S,
        noun: str = "block",
    ) -> None:
        self._stall_s = stall_s
        self._patience_s = patience_s
        self._note = note
        self._stalls = 0
        self._last = now_s
        self._without_since: float | None = None
        self._note_after = now_s
        self._silent_s = silent_s
        self._noun = noun
        self._stuck: set[str] = set()
        self._most = 0
        self._losses = 0

    def stalled(
        self,
        now_s: float,
        *,
        finished: bool,
        workers: int,
        paused: int = 0,
        in_flight: int = 0,
        mean_s: float = 0.0,
        lost: Sequence[str] = (),
    ) -> bool:
        """Whether what is in flight should be sent again.

        Parameters
        ----------
        now_s : float
            The present.
        finished : bool
            Whether anything was finished since the last call.
        workers, paused : int
            How many are there, and how many of them take no work.
        in_flight : int
            Tasks that are being worked on.
        mean_s : float
            Seconds that a task takes from sending to result.
        lost : sequence of str
            Workers that were lost since the last call with nothing in hand.

        Raises
        ------
        ClusterError
            If sending again did not help, no worker came, or those that came died one after another.
        """
        if finished:
            self._stalls, self._last, self._losses = 0, now_s, 0
        self._most = max(self._most, workers)
        self._losses += len(lost)
        if lost and self._losses > _LOSSES + 3 * self._most:
            raise ClusterError(
                f"{self._losses} workers in turn died before they began a {self._noun}, the last of them {lost[-1]}; "
                "look at their logs (do they have the memory to load the model?), then run the same command again"
            )
        if not workers:
            self._await_workers(now_s)
            self._last = now_s
            return False
        self._without_since = None
        limit = max(self._stall_s, 20 * mean_s)
        if now_s - self._last < limit:
            return False
        self._stalls, self._last = self._stalls + 1, now_s
        if self._stalls > _ROUNDS:
            raise ClusterError(
                f"no {self._noun} was finished in {(_ROUNDS + 1) * limit:.0f} s by {counted(workers, 'worker')}, "
                f"{paused} of them paused; look at their logs, then run the same command again"
            )
        self._note(f"no {self._noun} was finished in {limit:.0f} s; sending {in_flight} again")
        return True

    def stuck(self, workers: Collection[str], silent: Mapping[str, float], preparing: Mapping[str, float]) -> set[str]:
        """Workers that stand still; each is noted once.

        Parameters
        ----------
        workers : collection of str
            All that are there.
        silent : mapping of str to float
            Seconds since the last heartbeat of some or all of them.
        preparing : mapping of str to float
            For how many seconds those that are not ready for an item have been preparing themselves.

        Raises
        ------
        ClusterError
            If there is no other worker. The last ones may be silent four times as long.
        """
        why = {
            worker: f"has not been ready for {seconds:.0f} s"
            for worker, seconds in preparing.items()
            if seconds > self._stall_s
        }
        late = dict(why)
        for worker, seconds in silent.items():
            if seconds > self._silent_s:
                late[worker] = f"has given no sign of life for {seconds:.0f} s"
                if seconds > _HOPELESS * self._silent_s:
                    why[worker] = late[worker]
        if workers and why.keys() >= set(workers):
            worker = min(workers)
            whose = "and there is no other" if len(workers) == 1 else f"like all {len(workers)} that are there"
            raise ClusterError(
                f"worker {worker} {why[worker]}, {whose}; see whether its machine is stopped, swapping or cut off from "
                "network or disks, end it or start others (geoseg worker ADDRESS), then run the same command again"
            )
        for worker in sorted(late.keys() - self._stuck):
            self._note(f"worker {worker} {late[worker]}; others get its {self._noun}s while it stands still")
        self._stuck = set(late)
        return set(late)

    def _await_workers(self, now_s: float) -> None:
        if self._without_since is None:
            self._without_since = self._note_after = now_s
        waited = now_s - self._without_since
        if waited > self._patience_s:
            raise ClusterError(
                f"no worker joined the cluster in {waited:.0f} s; start some (geoseg worker ADDRESS), "
                "then run the same command again"
            )
        if now_s >= self._note_after:
            self._note_after = now_s + _NOTE_S
            self._note(f"no worker in the cluster; waiting for one since {waited:.0f} s")
