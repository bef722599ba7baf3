"""Limits: open files are counted before anything is done; a limit too low is one sentence, one that may rise rises."""

import json
import re
import subprocess
import sys

import pytest
from small_jobs import Answer, SmallJob

from geoseg.cli import limits

resource = pytest.importorskip("resource")

START = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
sys.argv[0] = "geoseg"
from geoseg.cli import app
try:
    app()
finally:
    print("limits", json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)), file=sys.stderr)
"""


def limited(soft: int, hard: int, *words: object) -> tuple[Answer, list[int]]:
    """A command in a process that may hold so many files open; the limits at its end."""
    code = START.format(soft=soft, hard=hard)
    found = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120)
    *said, last = found.stderr.splitlines()
    return Answer(found.returncode, found.stdout, "\n".join(said)), json.loads(last.removeprefix("limits "))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return SmallJob.write(tmp_path_factory.mktemp("limits"))


@pytest.mark.slow
def test_a_soft_limit_is_raised_to_what_is_needed_and_the_run_succeeds(job):
    said, (soft, hard) = limited(20, 4096, "run", job.folder / "job.yaml", "--out", job.folder / "raised")
    assert said.code == 0, said
    assert 100 < soft < hard == 4096


def test_a_hard_limit_that_is_too_low_is_one_sentence_before_any_work(job):
    said, _ = limited(40, 40, "run", job.folder / "job.yaml", "--out", job.folder / "refused")
    assert "files open at once, and 'ulimit -Hn' allows 40; raise that" in said.refusal("JobError")
    assert not (job.folder / "refused").exists()


@pytest.mark.slow
def test_workers_need_more(job):
    options = "run", job.folder / "job.yaml", "--out", job.folder / "many", "--workers", 300
    said, _ = limited(2048, 2048, *options)
    assert "'ulimit -Hn' allows 2048; raise that, or use fewer --workers" in said.refusal("JobError")
    assert not (job.folder / "many").exists()


def test_a_worker_and_a_submission_say_it_before_they_connect(job):
    where = "tcp://127.0.0.1:9"  # nobody listens there
    submit = "submit", job.folder / "job.yaml", "--scheduler", where, "--out", job.folder / "sent"
    for command in (("worker", where), submit):
        said, _ = limited(60, 60, *command)
        assert "files open at once, and 'ulimit -Hn' allows 60; raise that" in said.refusal("JobError")
    assert not (job.folder / "sent").exists()


def test_what_is_needed_grows_with_files_workers_threads_and_blocks_up_to_what_is_held_open():
    least = limits.needed(files=1, blocks=1)
    assert limits.needed(files=1000, blocks=1) == limits.needed(files=limits.HANDLES, blocks=1) > least
    assert (
        limits.needed(files=1, blocks=10**6)
        == limits.needed(files=1, blocks=1, mosaics=True)
        == least + limits.POOL - 1
    )
    assert limits.needed(files=1, blocks=1, workers=10) == least + 10 * limits.WORKER
    assert limits.needed(files=4, blocks=1, threads=4) == limits.needed(files=4, blocks=1) + 8


def test_a_limit_that_suffices_is_left_alone():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits.allow(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


STARVED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({bytes}, {bytes}))
sys.argv[0] = "geoseg"
from geoseg.cli import main
main()
"""


def starved(size: int, *words: object) -> Answer:
    """A command in a process of so many bytes of address space, as after 'ulimit -v'."""
    command = [sys.executable, "-c", STARVED.format(bytes=size), *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Answer(found.returncode, found.stdout, found.stderr)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("megabytes", [60, 1000, 3900])
@pytest.mark.sampled(3)
def test_too_little_memory_for_the_libraries_is_one_sentence_before_any_work(job, command, megabytes):
    options = ("--workers", 0, "--out", job.folder / "starved") if command == "run" else ()
    said = starved(megabytes * 1_000_000, command, job.folder / "job.yaml", *options)
    assert re.search(
        r"'ulimit -v' allows \d\.\d GB of address space, and torch and GDAL alone", said.refusal("JobError")
    )
    assert not (job.folder / "starved").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "vectorize", "catalog"])
@pytest.mark.parametrize("megabytes", [300, 400])
def test_memory_that_ends_while_a_library_is_loaded_is_one_sentence(job, command, megabytes):
    words = {"status": job.folder, "vectorize": job.folder / "scene.tif", "catalog": job.folder / "data_catalog.yaml"}
    said = starved(megabytes * 1_000_000, command, words[command])
    assert said.code in (0, 2, 70), said
    assert "Traceback" not in said.err
    if said.code == 70:
        assert "no memory is left; give this process more" in said.err
