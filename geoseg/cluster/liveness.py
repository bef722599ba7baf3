"""Liveness: whether a map still gets on, that is, whether something is finished now and then and workers are there."""

from __future__ import annotations

from collections.abc import Callable

from geoseg.errors import ClusterError
from geoseg.quantities import counted

_ROUNDS = 2
"""How often what is in flight is sent again before the map is given up."""
_NOTE_S = 60.0
"""Seconds between two notes that there is no worker."""


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
    """

    def __init__(self, stall_s: float, patience_s: float, note: Callable[[str], None], now_s: float) -> None:
        self._stall_s = stall_s
        self._patience_s = patience_s
        self._note = note
        self._stalls = 0
        self._last = now_s
        self._without_since: float | None = None
        self._note_after = now_s

    def stalled(
        self, now_s: float, *, finished: bool, workers: int, paused: int = 0, in_flight: int = 0, mean_s: float = 0.0
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

        Raises
        ------
        ClusterError
            If sending again did not help, or no worker came.
        """
        if finished:
            self._stalls, self._last = 0, now_s
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
                f"no block was finished in {(_ROUNDS + 1) * limit:.0f} s by {counted(workers, 'worker')}, "
                f"{paused} of them paused; look at their logs, then run the same command again"
            )
        self._note(f"no block was finished in {limit:.0f} s; sending {in_flight} again")
        return True

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
