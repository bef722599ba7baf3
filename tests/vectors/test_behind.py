"""Writers behind: batches are written in order by another thread, and its troubles are the caller's."""

import threading

import pytest

from geoseg.vectors.behind import Behind


class Recorder:
    """A writer that notes what is asked of it, and fails at one batch."""

    def __init__(self, fails_at=None):
        self.fails_at, self.added, self.threads, self.closed = fails_at, [], set(), None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.closed = kind

    def add(self, batch):
        self.threads.add(threading.current_thread())
        self.added.append(batch)
        if batch == self.fails_at:
            raise OSError("no space")


def write(writer, batches):
    with Behind(writer) as behind:
        for batch in batches:
            behind.add(batch)


def test_batches_come_in_order_in_another_thread():
    writer = Recorder()
    write(writer, range(50))
    assert writer.added == list(range(50))
    assert threading.current_thread() not in writer.threads
    assert writer.closed is None


@pytest.mark.parametrize("fails_at", [0, 3, 49])
def test_a_trouble_is_raised_and_nothing_is_written_after_it(fails_at):
    writer = Recorder(fails_at)
    with pytest.raises(OSError, match="no space"):
        write(writer, range(50))
    assert writer.added == list(range(fails_at + 1))
    assert writer.closed is OSError  # so that it does not pass for whole


def test_the_callers_trouble_stays_the_callers():
    writer = Recorder(fails_at=1)
    with pytest.raises(ZeroDivisionError):
        write(writer, (1 // each for each in (1, 0)))
    assert writer.closed is ZeroDivisionError
