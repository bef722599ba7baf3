"""Behind: a writer of polygons that works in a thread of its own, a few batches behind those who trace them."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Any

from geoseg.vectors.features import Features

_MOST_WAITING = 2


class Behind:
    """A writer, with `add` and as a context, whose work overlaps with that of its caller.

    What goes wrong there is raised by the next `add`, or at the end.
    """

    def __init__(self, writer: Any) -> None:
        """Take over a writer.

        Parameters
        ----------
        writer : a ShapefileWriter or ParquetWriter
            Used by the thread alone until the end.
        """
        self.writer = writer
        self.error: BaseException | None = None
        self.waiting: queue.Queue[Features | None] = queue.Queue(_MOST_WAITING)
        self.thread = threading.Thread(target=self._write)

    def __enter__(self) -> Behind:
        """Begin."""
        self.writer.__enter__()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is written, and close the writer."""
        self.waiting.put(None)
        self.thread.join()
        failed = error or self.error
        self.writer.__exit__(None if failed is None else type(failed), failed, trace)
        if kind is None and self.error is not None:
            raise self.error

    def add(self, features: Features) -> None:
        """Have polygons written."""
        if self.error is not None:
            raise self.error
        self.waiting.put(features)

    def _write(self) -> None:
        while (features := self.waiting.get()) is not None:
            if self.error is None:
                try:
                    self.writer.add(features)
                except BaseException as error:  # raised where the caller is
                    self.error = error
