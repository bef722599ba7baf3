"""Watchdog: sees that something is finished now and then, and that there is somebody to do it."""

from __future__ import annotations

import time
from collections.abc import Callable

from geoseg.cluster.workers import Roster
from geoseg.errors import ClusterError

_SAY_S = 60.0


class Watchdog:
    """Sees that something is finished now and then."""

    def __init__(self, stall_s: float, patience_s: float, note: Callable[[str], None]) -> None:
        self._stall_s = stall_s
        self._patience_s = patience_s
        self._note = note
        self._stalls = 0
        self._last = time.monotonic()
        self._alone_since: float | None = None
        self._say_after = 0.0

    def barks(self, roster: Roster, out: int, mean_s: float, *, landed: bool) -> bool:
        """Whether what is out should be sent again.

        Parameters
        ----------
        roster : Roster
            Who is there.
        out : int
            Items that are being worked on.
        mean_s : float
            What an item takes.
        landed : bool
            Whether anything was finished since the last call.

        Raises
        ------
        ClusterError
            If that did not help, or no worker came.
        """
        now = time.monotonic()
        if not roster.present:
            self._await_workers(now)
        else:
            self._alone_since = None
        if landed or not roster.present:
            self._stalls, self._last = (0 if landed else self._stalls), now
            return False
        limit = max(self._stall_s, 20 * mean_s)
        if now - self._last < limit:
            return False
        self._stalls, self._last = self._stalls + 1, now
        if self._stalls > 2:
            raise ClusterError(
                f"no block was finished in {3 * limit:.0f} s by {roster.present} workers, "
                f"{len(roster.paused_since)} of them paused; look at their logs, then run the same command again"
            )
        self._note(f"no block was finished in {limit:.0f} s; sending {out} again")
        return True

    def _await_workers(self, now: float) -> None:
        if self._alone_since is None:
            self._alone_since, self._say_after = now, now
        waited = now - self._alone_since
        if waited > self._patience_s:
            raise ClusterError(
                f"no worker joined the cluster in {waited:.0f} s; start some (geoseg worker ADDRESS), "
                "then run the same command again"
            )
        if now >= self._say_after:
            self._say_after = now + _SAY_S
            self._note(f"no worker in the cluster; waiting for one since {waited:.0f} s")
