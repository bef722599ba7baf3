"""Process: one object keeps what a process keeps; threads share it, forks and tests begin anew."""

import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import threading
import time

import pytest

from geoseg import process


class Things(list):
    made = 0

    def __init__(self):
        time.sleep(0.05)
        Things.made += 1
        super().__init__()


def test_a_thing_is_made_once_whichever_thread_asks_first():
    process.renew()
    Things.made = 0
    threads = [threading.Thread(target=lambda: process.kept(Things).append(1)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert Things.made == 1
    assert process.kept(Things) == [1] * 8


def test_renewing_forgets_things_and_results():
    asked = []

    @process.remembered(4)
    def double(number):
        asked.append(number)
        return 2 * number

    process.kept(Things).append(1)
    assert [double(3), double(3), double(4)] == [6, 6, 8]
    assert asked == [3, 4]
    process.renew()
    assert process.kept(Things) == []
    assert double(3) == 6
    assert asked == [3, 4, 3]


def test_only_so_many_results_are_kept():
    asked = []

    @process.remembered(2)
    def same(number):
        asked.append(number)
        return number

    for number in (1, 2, 3, 1):
        same(number)
    assert asked == [1, 2, 3, 1]


def test_a_forked_process_begins_with_nothing():
    process.renew()
    process.kept(Things).append("parent's")
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=lambda: there.send(list(process.kept(Things))))
    child.start()
    assert here.recv() == []
    child.join()
    assert process.kept(Things) == ["parent's"]


FAULTS = """
import resource
import torch
import pytest

from geoseg import process
{before}
network = torch.nn.Conv2d(4, 24, 3, padding=1)
with torch.inference_mode():
    network(torch.zeros(1, 4, 256, 256))
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        network(torch.zeros(1, 4, 256, 256))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_layers_find_the_memory_that_the_last_ones_freed():
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}  # as Dask starts its workers

    def faults(before):
        command = [sys.executable, "-c", FAULTS.format(before=before)]
        return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)

    pages = 50 * 24 * 256 * 256 * 4 // resource.getpagesize()
    assert faults("") > pages
    assert faults("process.keep_freed_memory()") < pages / 10
